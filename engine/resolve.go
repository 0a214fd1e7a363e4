package engine

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Resolver turns host names into addresses, in the order in which they are to
// be tried. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	resolveTimeout  = 5 * time.Second  // for all names of one round
	resolveParallel = 32               // lookups at once
	resolveEvery    = 30 * time.Second // from the end of one round to the next
)

// names remembers what names resolved to. A name that does not resolve keeps
// its last addresses.
type names struct {
	resolver Resolver

	mu    sync.Mutex
	known map[string][]netip.Addr // guarded by mu
}

func newNames(resolver Resolver) *names {
	return &names{resolver: resolver, known: make(map[string][]netip.Addr)}
}

// addresses returns the addresses of a host: its own, if it is an IP address,
// or the last ones known.
func (n *names) addresses(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.known[host]
}

// unknown returns those of the hosts that have no address yet, each once.
func (n *names) unknown(hosts []string) []string {
	missing := map[string]bool{}
	for _, host := range hosts {
		if len(n.addresses(host)) == 0 {
			missing[host] = true
		}
	}
	var list []string
	for host := range missing {
		list = append(list, host)
	}
	slices.Sort(list)
	return list
}

// lookup asks for the addresses of the hosts and returns why some of them
// could not be had.
func (n *names) lookup(ctx context.Context, hosts []string) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	failures := map[string]error{}
	var mu sync.Mutex // guards failures
	var lookups sync.WaitGroup
	room := make(chan struct{}, resolveParallel)
	for _, host := range hosts {
		room <- struct{}{}
		lookups.Go(func() {
			defer func() { <-room }()
			addrs, err := n.resolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures[host] = err
				return
			}
			for i := range addrs {
				addrs[i] = addrs[i].Unmap()
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.known[host] = addrs
		})
	}
	lookups.Wait()
	return failures
}

// retain forgets all names but the hosts.
func (n *names) retain(hosts []string) {
	keep := map[string]bool{}
	for _, host := range hosts {
		keep[host] = true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for host := range n.known {
		if !keep[host] {
			delete(n.known, host)
		}
	}
}

// isName reports whether a host has to be looked up.
func isName(host string) bool {
	if host == "" {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}

// channelNames returns the host names of all channels, each once, in the order of
// the file.
func (c *Config) channelNames() []string {
	var hosts []string
	seen := map[string]bool{}
	for i := range c.Listeners {
		for _, group := range c.Listeners[i].Groups {
			for _, channel := range group.Channels {
				if isName(channel.Host) && !seen[channel.Host] {
					seen[channel.Host] = true
					hosts = append(hosts, channel.Host)
				}
			}
		}
	}
	return hosts
}

// listenNames returns the host names to listen on.
func (c *Config) listenNames() []string {
	var hosts []string
	for i := range c.Listeners {
		for _, key := range c.Listeners[i].listenKeys() {
			if isName(key.host) && !slices.Contains(hosts, key.host) {
				hosts = append(hosts, key.host)
			}
		}
	}
	return hosts
}

// CheckNames returns an error for each host name of the configuration that
// does not resolve now. A nil resolver stands for net.DefaultResolver.
func CheckNames(ctx context.Context, resolver Resolver, config *Config) []error {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	hosts := slices.Concat(config.channelNames(), config.listenNames())
	failures := newNames(resolver).lookup(ctx, hosts)
	var errs []error
	for _, host := range hosts {
		if err := failures[host]; err != nil {
			errs = append(errs, fmt.Errorf("resolve %q: %w", host, err))
			delete(failures, host)
		}
	}
	return errs
}
