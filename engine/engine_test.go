package engine_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/plane/planetest"
	"balance/engine/spec"
)

const patience = 20 * time.Second

// dataPlane is the one that the tests run with at the moment.
var dataPlane spec.DataPlane

// TestMain runs all tests with each data plane; benchmarks with the default.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && flag.Lookup("test.bench").Value.String() == "" {
		dataPlane = spec.Portable
		code = m.Run()
	}
	os.Exit(code)
}

// rig is an engine with servers behind it and a name service that the test
// fills. It ends with the test.
type rig struct {
	testing.TB
	*engine.Engine
	names *nameService
	log   *logBuffer
}

func newRig(t testing.TB) *rig {
	goroutines := goleak.IgnoreCurrent()
	r := &rig{TB: t, names: &nameService{hosts: map[string][]netip.Addr{}}, log: new(logBuffer)}
	r.Engine = newEngine(t, engine.Options{
		Log:       slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Resolver:  r.names,
		DataPlane: dataPlane,
	})
	t.Cleanup(func() {
		r.Shutdown(canceled())
		goleak.VerifyNone(t, goroutines)
		if t.Failed() {
			t.Logf("log:\n%s", r.log)
		}
	})
	return r
}

func newEngine(t testing.TB, options engine.Options) *engine.Engine {
	t.Helper()
	e, err := engine.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// server is a server that greets each client with its name and then echoes.
type server struct {
	name string
	addr netip.AddrPort
}

func (r *rig) server(name string) *server {
	r.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() { greet(conn, name) })
		}
	})
	r.Cleanup(func() {
		listener.Close()
		handlers.Wait()
	})
	return &server{name: name, addr: listener.Addr().(*net.TCPAddr).AddrPort()}
}

// greet is what a server does with a client.
func greet(conn net.Conn, name string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintln(conn, name)
	io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{conn})
}

// channel declares the server as a channel.
func (s *server) channel() spec.Channel {
	return spec.Channel{Host: s.addr.Addr().String(), Port: s.addr.Port()}
}

func (s *server) key() balancer.Key {
	return balancer.Key{Host: s.addr.Addr().String(), Port: s.addr.Port()}
}

// free returns an address with a port that nobody uses now.
func free(t testing.TB, host string) string {
	t.Helper()
	addr, err := planetest.FreeAddress(host)
	if err != nil {
		t.Fatal(err)
	}
	return addr.String()
}

// declare makes a configuration with one listener for each argument.
func declare(listeners ...spec.Listener) *spec.Config {
	c := spec.DefaultConfig()
	c.DataPlane = dataPlane
	c.Listeners = listeners
	return c
}

// listener declares a listener with one group of servers.
func listener(name, address string, servers ...*server) spec.Listener {
	l := spec.Defaults()
	l.Name = name
	l.Listen = []string{address}
	l.Groups = []spec.Group{group(servers...)}
	return l
}

func group(servers ...*server) spec.Group {
	var g spec.Group
	for _, s := range servers {
		g.Channels = append(g.Channels, s.channel())
	}
	return g
}

func (r *rig) apply(c *spec.Config) spec.Changes {
	r.Helper()
	changes, err := r.Apply(context.Background(), c)
	if err != nil {
		r.Fatalf("apply: %v", err)
	}
	return changes
}

// client is connected through the engine; by is the server's name.
type client struct {
	net.Conn
	t  testing.TB
	by string
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	c, err := tryDial(address)
	if err != nil {
		t.Fatalf("dial %s: %v", address, err)
	}
	c.t = t
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDial(address string) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return greeted(conn)
}

// greeted returns the client of a connection, once it knows who serves it.
func greeted(conn net.Conn) (*client, error) {
	conn.SetDeadline(time.Now().Add(patience))
	var by strings.Builder
	b := make([]byte, 1)
	for {
		if _, err := conn.Read(b); err != nil {
			conn.Close()
			return nil, fmt.Errorf("greeting: %w", err)
		}
		if b[0] == '\n' {
			return &client{Conn: conn, by: by.String()}, nil
		}
		by.WriteByte(b[0])
	}
}

// works exchanges a message.
func (c *client) works() {
	c.t.Helper()
	message := []byte("still here?")
	got := make([]byte, len(message))
	if _, err := c.Write(message); err != nil {
		c.t.Fatalf("a session of %s: %v", c.by, err)
	}
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, message) {
		c.t.Fatalf("a session of %s: got %q, %v", c.by, got, err)
	}
}

// ends ends the session in good order. Then its bytes are counted, and its
// place is free.
func (c *client) ends() {
	c.t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		c.t.Fatalf("a session of %s: %v", c.by, err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		c.t.Fatalf("a session of %s: %v", c.by, err)
	}
	c.Close()
}

// served lists who serves n clients one after the other.
func served(t testing.TB, address string, n int) string {
	t.Helper()
	var by []string
	for range n {
		c := dial(t, address)
		by = append(by, c.by)
		c.ends()
	}
	return strings.Join(by, " ")
}

func refused(t testing.TB, address string) {
	t.Helper()
	eventually(t, address+" is refused", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain until %s", patience, what)
		}
	}
}

// status finds a channel by the server's port, in any group.
func (r *rig) status(listener string, s *server) engine.ChannelStatus {
	r.Helper()
	for _, l := range r.Snapshot().Listeners {
		if l.Name != listener {
			continue
		}
		for _, g := range l.Groups {
			for _, c := range g.Channels {
				if c.Key.Port == s.addr.Port() {
					return c
				}
			}
		}
	}
	r.Fatalf("listener %q has no channel %s", listener, s.name)
	return engine.ChannelStatus{}
}

// nameService is a resolver whose answers the test decides.
type nameService struct {
	mu    sync.Mutex
	hosts map[string][]netip.Addr // guarded by mu
	asked []string                // guarded by mu
}

// taken returns which hosts were asked for since the last call.
func (n *nameService) taken() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	asked := n.asked
	n.asked = nil
	return asked
}

func (n *nameService) set(host string, addrs ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.hosts, host)
	for _, addr := range addrs {
		n.hosts[host] = append(n.hosts[host], netip.MustParseAddr(addr))
	}
}

func (n *nameService) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, host)
	if addrs := n.hosts[host]; addrs != nil {
		return append([]netip.Addr{}, addrs...), nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = bytes.Buffer{}
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestFirstApply(t *testing.T) {
	r := newRig(t)
	a, b := r.server("a"), r.server("b")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, a, b)))
	if got := served(t, address, 4); got != "a b a b" {
		t.Errorf("served by %q", got)
	}
	s := r.Snapshot()
	if s.Generation != 1 || len(s.Listeners) != 1 || s.Listeners[0].Accepted != 4 || s.Listeners[0].Addresses[0].String() != address {
		t.Errorf("snapshot %+v", s)
	}
	if c := r.status("web", a); c.Sessions != 2 || c.Received != 4 {
		t.Errorf("channel %+v", c)
	}
}

func TestFirstApplyThatFails(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	r := newRig(t)
	a := r.server("a")
	good := free(t, "127.0.0.1")
	withNames := func(groups ...string) spec.Listener {
		l := listener("x", good, a)
		l.Groups = nil
		for _, host := range groups {
			l.Groups = append(l.Groups, spec.Group{Channels: []spec.Channel{{Host: host, Port: 80}}})
		}
		return l
	}
	tests := []struct {
		name   string
		config *spec.Config
		is     error
	}{
		{"port in use", declare(listener("good", good, a), listener("bad", busy.Addr().String(), a)), syscall.EADDRINUSE},
		{"no name of group 0", declare(withNames("nowhere.example", "127.0.0.1")), engine.ErrUnresolved},
		{"no name to listen on", declare(listener("x", "nowhere.example:80", a)), engine.ErrUnresolved},
		{"a fault", declare(listener("", good, a)), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := r.Apply(context.Background(), test.config)
			if err == nil || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error %v, want %v", err, test.is)
			}
			refused(t, good)
			if r.Config() != nil {
				t.Error("there is a configuration in force")
			}
		})
	}
	r.apply(declare(withNames("127.0.0.1", "nowhere.example")))
	if !strings.Contains(r.log.String(), "nowhere.example") {
		t.Error("the name that does not resolve is not in the log")
	}
}

func TestNames(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	l := listener("web", address)
	named := spec.Channel{Host: "db.example", Port: a.addr.Port()}
	later := spec.Channel{Host: "later.example", Port: a.addr.Port()}
	l.Groups = []spec.Group{{Channels: []spec.Channel{named, later}}}
	r.names.set("db.example", "127.0.0.9", "127.0.0.1") // nobody listens on the first
	r.apply(declare(l))
	if got := served(t, address, 2); got != "a a" {
		t.Errorf("served by %q", got)
	}
	if c := r.Snapshot().Listeners[0].Groups[0].Channels; len(c[0].Addresses) != 2 || len(c[1].Addresses) != 0 || c[1].Sessions != 0 {
		t.Errorf("channels %+v", c)
	}
	r.names.set("db.example") // the name service loses it
	r.names.set("later.example", "127.0.0.1")
	if failed := r.Resolve(context.Background()); failed != 1 {
		t.Errorf("%d names did not resolve, want 1", failed)
	}
	served(t, address, 4)
	c := r.Snapshot().Listeners[0].Groups[0].Channels
	if len(c[0].Addresses) != 2 || c[0].Sessions != 4 || c[1].Sessions != 2 {
		t.Errorf("channels %+v", c)
	}
}

// Of many addresses the first 16 are used, and that is logged once.
func TestNameWithManyAddresses(t *testing.T) {
	r := newRig(t)
	addresses := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprintf("127.0.%d.%d", i/100, i%100+1))
		}
		return list
	}
	used := func() (list []string) {
		for _, addr := range r.Snapshot().Listeners[0].Groups[0].Channels[0].Addresses {
			list = append(list, addr.Addr().String())
		}
		return list
	}
	l := listener("web", free(t, "127.0.0.1"))
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "db.example", Port: 1}}}}
	r.names.set("db.example", addresses(16)...)
	r.apply(declare(l))
	for step, c := range []struct{ addresses, used, logged int }{
		{16, 16, 0}, {17, 16, 1}, {4000, 16, 1}, {3, 3, 1}, {17, 16, 2}, {17, 16, 2},
	} {
		r.names.set("db.example", addresses(c.addresses)...)
		r.Resolve(t.Context())
		if got := used(); !slices.Equal(got, addresses(c.used)) {
			t.Errorf("%d: of %d addresses these are used: %q", step, c.addresses, got)
		}
		if n := strings.Count(r.log.String(), "more addresses than are used"); n != c.logged {
			t.Errorf("%d: logged %d times, want %d", step, n, c.logged)
		}
	}
}

// An Apply asks for new names alone, and for the others soon after it, whatever
// it changed.
func TestNamesAfterAnApply(t *testing.T) {
	r := newRig(t)
	l := listener("web", free(t, "127.0.0.1"))
	l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "db.example", Port: 1}}}}
	r.names.set("db.example", "127.0.0.1")
	r.apply(declare(l))
	r.names.set("db.example", "127.0.0.9")
	r.apply(declare(l))
	eventually(t, "the new address is known", func() bool {
		c := r.Snapshot().Listeners[0].Groups[0].Channels[0]
		return len(c.Addresses) == 1 && c.Addresses[0].String() == "127.0.0.9:1"
	})
}

// A name to listen on may have an address that this machine lacks.
func TestListenOnAName(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	r.names.set("me.example", "192.0.2.99", "127.0.0.1")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", strings.Replace(address, "127.0.0.1", "me.example", 1), a)))
	if got := served(t, address, 1); got != "a" {
		t.Errorf("served by %q", got)
	}
}

// Without a descriptor there is no event loop: whoever asks for one by name is
// told so, and whoever takes any gets the other data plane.
func TestNewWithoutEventLoop(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 0
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	options := engine.Options{Log: slog.New(slog.DiscardHandler), DataPlane: spec.EventLoop}
	_, refused := engine.New(options)
	options.DataPlane = spec.Auto
	any, err := engine.New(options)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	any.Shutdown(canceled())
	fault, ok := errors.AsType[spec.Fault](refused)
	if !ok || fault.Path != spec.KeyDataPlane.Path() || !strings.Contains(refused.Error(), `data_plane "eventloop": `) {
		t.Errorf("error %v", refused)
	}
}

func TestWhatNeedsARestart(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	web := free(t, "127.0.0.1")
	c := declare(listener("web", web, a))
	r.apply(c)
	another := declare(listener("web", web, a, a))
	another.DataPlane, another.Loops = spec.EventLoop, 7
	_, err := r.Apply(context.Background(), another)
	if err == nil || !strings.Contains(err.Error(), "change data_plane") || !strings.Contains(err.Error(), "change loops from 0 to 7") {
		t.Errorf("error %v", err)
	}
	if r.Config() != c {
		t.Error("it was applied")
	}
}

func TestSessionLog(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	c := declare(listener("web", address, a))
	c.Log.Sessions = spec.AllSessions
	r.apply(c)
	served(t, address, 1)
	for _, want := range []string{"msg=session", "listener=web", "group=0", "channel=" + a.addr.String(), "received=2", "by=client how=closed"} {
		eventually(t, "the log has "+want, func() bool { return strings.Contains(r.log.String(), want) })
	}
}

func TestShutdownLetsSessionsFinish(t *testing.T) {
	r := newRig(t)
	a := r.server("a")
	address := free(t, "127.0.0.1")
	r.apply(declare(listener("web", address, a)))
	c := dial(t, address)
	done := make(chan struct{})
	go func() { r.Shutdown(context.Background()); close(done) }()
	refused(t, address)
	c.works()
	c.Close()
	<-done
	if _, err := r.Apply(context.Background(), declare(listener("web", address, a))); !errors.Is(err, engine.ErrShutdown) {
		t.Errorf("apply after shutdown: %v", err)
	}
}

func sessions(r *rig) (n int) {
	r.Sessions(func(plane.Session) bool { n++; return true })
	return n
}
