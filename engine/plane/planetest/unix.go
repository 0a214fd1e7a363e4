package planetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/preface"
	"balance/engine/socket"
)

// listenUnix has a listener with a unix socket.
func (r *rig) listenUnix(s *plane.Service) *door {
	r.Helper()
	opened, err := socket.OpenUnix(context.Background(), filepath.Join(r.TempDir(), "in"), socket.File{Mode: 0o600, Group: socket.NoGroup})
	if err != nil {
		r.Fatal(err)
	}
	d := r.take(opened, s)
	d.acceptor.Serve(d.listener)
	return d
}

// dialUnix connects a client to a unix socket.
func (d *door) dialUnix() *net.UnixConn {
	d.Helper()
	path, _ := d.socket.Unix()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func unixChannel(path string) *balancer.Channel {
	c := balancer.NewChannel(balancer.Key{Host: "unix:" + path})
	c.SetAddresses([]netip.AddrPort{{}})
	return c
}

// serveUnix starts a server at a unix socket.
func (r *rig) serveUnix(handle func(*net.UnixConn)) *balancer.Channel {
	r.Helper()
	path := filepath.Join(r.TempDir(), "out")
	listener, err := net.Listen("unix", path)
	if err != nil {
		r.Fatal(err)
	}
	r.serveConns(listener, func(conn net.Conn) { handle(conn.(*net.UnixConn)) })
	return unixChannel(path)
}

// halfCloser is either kind of connection.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// ways are those from a client to a server of which one at least is at a unix socket.
func (r *rig) ways(handle func(halfCloser)) map[string]func() halfCloser {
	unixServer := func() *balancer.Channel { return r.serveUnix(func(conn *net.UnixConn) { handle(conn) }) }
	tcpServer := func() *balancer.Channel { return r.serve(func(conn *net.TCPConn) { handle(conn) }) }
	return map[string]func() halfCloser{
		"UnixToUnix": func() halfCloser { return r.listenUnix(service(r.router(unixServer()))).dialUnix() },
		"UnixToTCP":  func() halfCloser { return r.listenUnix(service(r.router(tcpServer()))).dialUnix() },
		"TCPToUnix":  func() halfCloser { return r.listen(r.router(unixServer())).dial() },
	}
}

// Each direction ends by itself, and what is large comes whole.
func testUnix(t *testing.T, newPlane New) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	r := newRig(t, newPlane)
	for name, dial := range r.ways(func(conn halfCloser) {
		io.WriteString(conn, "hello") // before the client says anything
		all, err := io.ReadAll(struct{ io.Reader }{conn})
		if err != nil {
			t.Errorf("the server reads: %v", err)
		}
		for range 4 {
			conn.Write(all)
		}
	}) {
		client := dial()
		if _, err := io.ReadFull(client, make([]byte, 5)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found := r.relaying(1)[0]
		if wantUnix := strings.HasPrefix(name, "Unix"); found.Client.IsValid() == wantUnix || found.Peer != nil {
			t.Errorf("%s: the client is %s of %v", name, found.Client, found.Peer)
		}
		go func() {
			client.Write(content)
			client.CloseWrite()
		}()
		got, err := io.ReadAll(struct{ io.Reader }{client})
		if err != nil || !bytes.Equal(got, bytes.Repeat(content, 4)) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		client.Close()
		if end := r.end(); end.Cause != plane.ClientClosed || end.Err != nil || end.Sent != 1<<20 || end.Received != 4<<20+5 {
			t.Errorf("%s: %s, %v, %d and %d bytes", name, end.Cause.How(), end.Err, end.Sent, end.Received)
		}
	}
}

// A server that has answered and gone before anybody looked.
func testUnixAtOnce(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serveUnix(func(conn *net.UnixConn) { io.WriteString(conn, "gone") })))
	for range 100 {
		client := d.dial()
		if got := readAll(t, client); got != "gone" {
			t.Errorf("got %q", got)
		}
		client.Close()
		if end := r.end(); end.Cause != plane.ChannelClosed {
			t.Errorf("it ends: %s, %v", end.Cause.How(), end.Err)
		}
	}
}

// A client that has asked and gone before anybody looked.
func testUnixClientAtOnce(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	heard := make(chan string, 1)
	d := r.listenUnix(service(r.router(r.serve(func(conn *net.TCPConn) { heard <- readAll(t, conn) }))))
	for range 20 {
		client := d.dialUnix()
		io.WriteString(client, "bye")
		client.Close()
		if got := await(t, heard); got != "bye" {
			t.Errorf("the server is sent %q", got)
		}
		if end := r.end(); end.Cause != plane.ClientClosed {
			t.Errorf("it ends: %s, %v", end.Cause.How(), end.Err)
		}
	}
	// Or has asked for nothing, while a channel is dialled: that is an end of stream, too.
	channel := channelTo(blackhole(t))
	s := service(r.router(channel, d.listener.Service().Router.Groups()[0].Channels[0]))
	s.ConnectTimeout = 200 * time.Millisecond
	d.listener.SetService(s)
	client := d.dialUnix()
	eventually(t, "it dials", func() bool { return channel.Active() == 1 })
	client.Close()
	if got := await(t, heard); got != "" {
		t.Errorf("the server is sent %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("it ends: %s, %v", end.Cause.How(), end.Err)
	}
}

// What there is of resets on unix sockets: who goes with bytes unread has its peer see
// one.
func testUnixResets(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listen(r.router(r.serveUnix(func(conn *net.UnixConn) {
		raw, _ := conn.SyscallConn()
		raw.Read(func(fd uintptr) bool { // there is something to read
			n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK)
			return err == nil && n == 1
		})
	})))
	client := d.dial()
	io.WriteString(client, "unread")
	if got := sees(client); got != "a reset" {
		t.Errorf("the client sees %s", got)
	}
	if end := r.end(); end.Cause != plane.ChannelFailed || !errors.Is(end.Err, syscall.ECONNRESET) {
		t.Errorf("it ends: %s, %v", end.Cause.How(), end.Err)
	}

	// The other way there is an end of stream, behind the last byte.
	heard := make(chan string, 1)
	d = r.listen(r.router(r.serveUnix(func(conn *net.UnixConn) {
		all, err := io.ReadAll(conn)
		if err != nil {
			t.Errorf("the server reads: %v", err)
		}
		heard <- string(all)
	})))
	client = d.dial()
	io.WriteString(client, "last words")
	eventually(t, "they have passed", func() bool { s := r.relayingNow(); return len(s) == 1 && s[0].Sent == 10 })
	client.SetLinger(0)
	client.Close()
	if got := await(t, heard); got != "last words" {
		t.Errorf("the server is sent %q", got)
	}
	if end := r.end(); end.Cause != plane.ClientFailed {
		t.Errorf("it ends: %s, %v", end.Cause.How(), end.Err)
	}
}

// A socket where nobody listens, one that is not there, and one whose queue is full
// are passed over, the last when the time is over.
func testUnixFailover(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	dir := t.TempDir()
	listen := func(name string, queue int) *balancer.Channel {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(dir, name)}); err != nil {
			t.Fatal(err)
		}
		if queue >= 0 {
			if err := unix.Listen(fd, queue); err != nil {
				t.Fatal(err)
			}
		}
		return unixChannel(filepath.Join(dir, name))
	}
	missing, stale, full := unixChannel(filepath.Join(dir, "missing")), listen("stale", -1), listen("full", 0)
	path, _ := full.Key().Unix()
	first, err := net.Dial("unix", path) // a queue has one place more than it says
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	s := service(r.router(missing, stale, full, r.serveUnix(func(conn *net.UnixConn) { io.WriteString(conn, "here") })))
	s.ConnectTimeout = 200 * time.Millisecond
	client := r.listenAt("127.0.0.1", s).dial()
	if got := readAll(t, client); got != "here" {
		t.Errorf("got %q", got)
	}
	for _, channel := range []*balancer.Channel{missing, stale, full} {
		if n := channel.Counters.Failures.Load(); n != 1 || channel.Active() != 0 {
			t.Errorf("%s: %d failures, %d active", channel.Key(), n, channel.Active())
		}
	}
	for _, says := range []string{"no such file", "connection refused", "too many wait to be accepted", "dial unix " + path} {
		if !strings.Contains(r.log.String(), says) {
			t.Errorf("the log does not say %q", says)
		}
	}
}

// Who finds a full queue is served once there is room in it.
func testUnixBacklog(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	path := filepath.Join(t.TempDir(), "out")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	first, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	channel := unixChannel(path)
	client := r.listen(r.router(channel)).dial()
	eventually(t, "it dials", func() bool { return channel.Active() == 1 })
	for range 2 {
		conn, _, err := unix.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		unix.Write(conn, []byte("served"))
		unix.Close(conn)
	}
	if got := readAll(t, client); got != "served" {
		t.Errorf("got %q", got)
	}
	if n := channel.Counters.Failures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
}

// A read stops short where a descriptor is passed, and what is behind it comes all the
// same.
func testUnixDescriptors(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(echo)))
	s.Edge = edged(plane.Edge{Names: true})
	client := r.listenUnix(s).dialUnix()
	// Nothing is read of what may become a ClientHello.
	for _, piece := range []struct{ bytes, rights string }{{"\x16\x03", ""}, {"\x01", string(unix.UnixRights(0))}, {"\x01\x00\x01", ""}} {
		if _, _, err := client.WriteMsgUnix([]byte(piece.bytes), []byte(piece.rights), nil); err != nil {
			t.Fatal(err)
		}
	}
	client.CloseWrite()
	if got, err := io.ReadAll(client); err != nil || string(got) != "\x16\x03\x01\x01\x00\x01" {
		t.Errorf("got %q, %v", got, err)
	}
}

// Clients of unix sockets greet, finish and are told of like others.
func testUnixEdge(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	channel, tells := r.teller()
	channel.SetSendProxy(2)
	s := service(r.router(channel))
	s.Edge = edged(plane.Edge{Names: true, Peers: proxies(), List: networks(true, "192.0.2.0/24")})
	d := r.listenUnix(s)
	client := d.dialUnix()
	d.greeting(1)
	io.WriteString(client, "Hel")
	io.WriteString(client, "lo.")
	if all, err := io.ReadAll(client); err != nil || string(all) != "ok" {
		t.Errorf("got %q, %v", all, err)
	}
	if got := await(t, tells); got.bytes != "Hello." || got.proxy.Version != 2 || got.proxy.Source.IsValid() || got.proxy.Unix != (preface.Proxy{}).Unix {
		t.Errorf("the server is told %+v", got)
	}
	client.Close()
	r.end()
	client = d.dialUnix()
	d.greeting(1)
	if n := r.plane.Finish(plane.Removed, func(*plane.Session) bool { return true }); n != 1 {
		t.Errorf("finished %d", n)
	}
	if got := sees(client); got != "the end" {
		t.Errorf("the client sees %s", got)
	}
	if end := r.end(); end.Cause != plane.Removed {
		t.Errorf("it ends: %s", end.Cause.How())
	}
}

// A unix socket is retired like another.
func testUnixRetire(t *testing.T, newPlane New) {
	r := newRig(t, newPlane)
	d := r.listenUnix(service(r.router(r.serve(echo))))
	client := d.dialUnix()
	exchange(t, client, "before")
	d.retire()
	exchange(t, client, "after")
	client.CloseWrite()
	if got := sees(client); got != "the end" {
		t.Errorf("the client sees %s", got)
	}
	if end := r.end(); end.Cause != plane.ClientClosed {
		t.Errorf("it ends: %s", end.Cause.How())
	}
}
