package engine

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
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

// maxAddresses is how many addresses of a name are used: a client whose channel
// is dead costs an attempt at each.
const maxAddresses = 16

// names remembers what names resolved to. A name that does not resolve keeps
// its last addresses.
type names struct {
	resolver Resolver
	log      *slog.Logger

	mu      sync.Mutex
	known   map[string][]netip.Addr // guarded by mu; at most maxAddresses each
	crowded map[string]bool         // guarded by mu; had more when looked up last
}

func newNames(resolver Resolver, log *slog.Logger) *names {
	return &names{resolver: resolver, log: log, known: make(map[string][]netip.Addr), crowded: make(map[string]bool)}
}

// addresses returns the addresses of a host: its own, if it is an IP address, the zero
// Addr, if it is a unix socket, or the last ones known.
func (n *names) addresses(host string) []netip.Addr {
	if _, isUnix := spec.UnixPath(host); isUnix {
		return []netip.Addr{{}}
	}
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
			if n.learn(host, addrs) {
				n.log.Warn("a name has more addresses than are used", "host", host, "addresses", len(addrs), "used", maxAddresses)
			}
		})
	}
	lookups.Wait()
	return failures
}

// learn keeps the addresses of a host, and reports whether it has too many now
// and had not before.
func (n *names) learn(host string, addrs []netip.Addr) (crowded bool) {
	order := alternate(addrs)
	kept := slices.Clone(order[:min(len(order), maxAddresses)]) // the rest is let go
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.crowded[host]
	if len(addrs) > maxAddresses {
		n.crowded[host] = true
	} else {
		delete(n.crowded, host)
	}
	n.known[host] = kept
	return n.crowded[host] && !was
}

// alternate returns the addresses in the order in which they are tried: first
// that of the resolver, after it the first of the other family, and so on in
// turn, so that a family that does not work holds nobody up for long (RFC 8305,
// section 4).
func alternate(addrs []netip.Addr) []netip.Addr {
	var families [2][]netip.Addr // that of the first address first
	for _, addr := range addrs {
		addr = addr.Unmap()
		which := 0
		if addr.Is4() != addrs[0].Unmap().Is4() {
			which = 1
		}
		families[which] = append(families[which], addr)
	}
	order := make([]netip.Addr, 0, len(addrs))
	for i := range families[0] {
		order = append(order, families[0][i])
		if i < len(families[1]) {
			order = append(order, families[1][i])
		}
	}
	if n := len(families[0]); n < len(families[1]) {
		order = append(order, families[1][n:]...)
	}
	return order
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
			delete(n.crowded, host)
		}
	}
}

// Resolve looks up the names of all channels again and returns how many could
// not be resolved; those keep their last addresses.
func (e *Engine) Resolve(ctx context.Context) (failed int) {
	config := e.Config()
	if config == nil {
		return 0
	}
	failures := e.names.lookup(ctx, slices.Concat(config.ChannelNames(), config.CheckNames()))
	for host, err := range failures {
		e.log.Warn("cannot resolve", "host", host, "error", err)
	}
	e.applying.Lock()
	defer e.applying.Unlock()
	for _, l := range e.current.Load().listeners {
		for _, channel := range l.channels {
			e.point(channel)
		}
	}
	e.review()
	e.stir()
	return len(failures)
}

// refresh resolves the names from time to time, and after each Apply: that
// itself asks for new names alone, for it is not to wait.
func (e *Engine) refresh() {
	ticker := time.NewTicker(resolveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-e.life.Done():
			return
		case <-ticker.C:
		case <-e.applied:
		}
		e.Resolve(e.life)
	}
}

// point gives a channel the addresses that its host has now.
func (e *Engine) point(channel *balancer.Channel) {
	key := channel.Key()
	hosts := e.names.addresses(key.Host)
	addrs := make([]netip.AddrPort, len(hosts))
	for i, host := range hosts {
		addrs[i] = netip.AddrPortFrom(host, key.Port)
	}
	channel.SetAddresses(addrs)
}

// Lookup returns the addresses of a host, which may be one itself.
func (e *Engine) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if !spec.IsName(host) {
		return e.names.addresses(host), nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return e.names.resolver.LookupNetIP(ctx, "ip", host)
}

// CheckNames returns an error for each host name of the configuration that
// does not resolve now. A nil resolver stands for net.DefaultResolver.
func CheckNames(ctx context.Context, resolver Resolver, config *spec.Config) []error {
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	hosts := slices.Concat(config.ChannelNames(), config.CheckNames(), config.ListenNames())
	failures := newNames(resolver, slog.New(slog.DiscardHandler)).lookup(ctx, hosts)
	var errs []error
	for _, host := range hosts {
		if err := failures[host]; err != nil {
			errs = append(errs, fmt.Errorf("resolve %q: %w", host, err))
			delete(failures, host)
		}
	}
	return errs
}
