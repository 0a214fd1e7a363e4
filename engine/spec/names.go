package spec

import (
	"net/netip"
	"slices"
)

// IsName reports whether the host of a channel, or to listen on, has to be looked up.
func IsName(host string) bool {
	if _, ok := UnixPath(host); ok || host == "" {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

// ChannelNames returns the host names of all channels, each once, in the order of
// the file.
func (c *Config) ChannelNames() []string {
	var hosts []string
	seen := map[string]bool{}
	for i := range c.Listeners {
		for _, group := range c.Listeners[i].Groups {
			for _, channel := range group.Channels {
				if IsName(channel.Host) && !seen[channel.Host] {
					seen[channel.Host] = true
					hosts = append(hosts, channel.Host)
				}
			}
		}
	}
	return hosts
}

// CheckNames returns the host names, each once, that channels have for checks
// beside their own.
func (c *Config) CheckNames() []string {
	var hosts []string
	seen := map[string]bool{}
	for i := range c.Listeners {
		for _, group := range c.Listeners[i].Groups {
			for _, channel := range group.Channels {
				if host := channel.CheckHost; group.Check.Type != CheckNone && IsName(host) && !seen[host] {
					seen[host] = true
					hosts = append(hosts, host)
				}
			}
		}
	}
	return hosts
}

// ListenNames returns the host names to listen on.
func (c *Config) ListenNames() []string {
	var hosts []string
	for i := range c.Listeners {
		for _, key := range c.Listeners[i].ListenKeys() {
			if IsName(key.Host) && !slices.Contains(hosts, key.Host) {
				hosts = append(hosts, key.Host)
			}
		}
	}
	return hosts
}
