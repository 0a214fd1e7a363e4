package engine_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/socket"
	"balance/engine/spec"
)

func mkfifo(t testing.TB, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLimitsOfASource(t *testing.T) {
	r := newRig(t)
	a, address := r.server("a"), free(t, "127.0.0.1")
	l := listener("web", address, a)
	l.Admit.MaxSessions = 2
	config := declare(l)
	config.Log.Sessions = spec.AllSessions
	r.apply(config)
	here := netip.MustParseAddr("127.0.0.1")
	one, two := dial(t, address), dial(t, address)
	for range 3 {
		if _, err := tryDial(address); err == nil {
			t.Error("one too many is let in")
		}
	}
	admission, err := r.Admission("web", here)
	if err != nil || admission.Refusal != admit.TooManySessions || admission.Limits.MaxSessions != 2 ||
		admission.Source.Sessions != 2 || admission.Source.Refused != 3 || !admission.Source.Limited || admission.Source.Since.IsZero() {
		t.Errorf("admission: %+v, %v", admission, err)
	}
	sources, err := r.Sources("web", 10)
	if err != nil || len(sources) != 1 || sources[0].Network != netip.MustParsePrefix("127.0.0.1/32") || sources[0].Sessions != 2 {
		t.Errorf("sources: %+v, %v", sources, err)
	}
	eventually(t, "the refused are counted", func() bool {
		s := r.Snapshot().Listeners[0]
		return s.Refused[admit.TooManySessions] == 3 && s.Ended[plane.Refused] == 3 && s.Active == 2 && s.Rejected == 0 && s.Sources == 1
	})
	if s := r.Snapshot().Listeners[0]; s.MostGreeting < 1 || s.Greeting != 0 {
		t.Errorf("%d of %d are greeting", s.Greeting, s.MostGreeting)
	}
	if log := r.log.String(); strings.Contains(log, "msg=session ") {
		t.Errorf("there is a record of who was refused:\n%s", log)
	} else if n := strings.Count(log, "reason=sessions"); n < 1 || n > 3 {
		t.Errorf("%d lines tell of it", n)
	}

	// A reload that changes the limit goes on counting.
	l.Admit.MaxSessions = 3
	r.apply(declare(l))
	three := dial(t, address)
	if _, err := tryDial(address); err == nil {
		t.Error("one too many is let in after the reload")
	}
	one.ends()
	eventually(t, "the place is free", func() bool {
		admission, _ := r.Admission("web", here)
		return admission.Refusal == admit.Admitted
	})
	dial(t, address).works()
	two.works()
	three.works()

	// Another listener in its place begins anew.
	other := listener("other", free(t, "127.0.0.1"), a)
	other.Admit.MaxSessions = 1
	r.apply(declare(other))
	again := listener("web", address, a)
	again.Admit.MaxSessions = 1
	r.apply(declare(other, again))
	dial(t, address).works()
	dial(t, other.Listen[0]).works()
	two.works()
}

// Who comes through a proxy counts as whom the header names, in all that is told.
func TestProxiedClient(t *testing.T) {
	r := newRig(t)
	a, address := r.server("a"), free(t, "127.0.0.1")
	l := listener("web", address, a)
	l.ProxyProtocol.Accept = []string{"127.0.0.0/8"}
	l.Admit.Deny = []string{"192.0.2.7"}
	l.Groups[0].From = []string{"192.0.2.0/24"}
	config := declare(l)
	config.Log.Sessions = spec.AllSessions
	r.apply(config)
	proxied := func(from string) (*client, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.200 4711 443\r\n", from)
		return greeted(conn)
	}
	c, err := proxied("192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	for s := range r.Sessions {
		if s.Client.String() != "192.0.2.1:4711" || s.Peer == nil || *s.Peer != netip.MustParseAddrPort(c.LocalAddr().String()) {
			t.Errorf("the session is of %s, by %v", s.Client, s.Peer)
		}
	}
	if _, err := proxied("192.0.2.7"); err == nil {
		t.Error("who is denied is let in")
	}
	if _, err := proxied("198.51.100.1"); err == nil {
		t.Error("somebody else finds a group")
	}
	c.Conn.(*net.TCPConn).CloseWrite()
	eventually(t, "the session is logged", func() bool {
		return strings.Contains(r.log.String(), "client=192.0.2.1:4711 listener=web group=0 channel="+a.addr.String()+" peer="+c.LocalAddr().String())
	})
	admission, err := r.Admission("web", netip.MustParseAddr("127.0.0.1"))
	if err != nil || !admission.Proxy || admission.ProxyRule.Network != netip.MustParsePrefix("127.0.0.0/8") {
		t.Errorf("admission of the proxy: %+v, %v", admission, err)
	}
	verdicts, err := r.Why("web", balancer.Client{Addr: netip.MustParseAddr("198.51.100.1")})
	if err != nil || len(verdicts) == 0 || verdicts[len(verdicts)-1].Reason == balancer.Chosen {
		t.Errorf("why: %v, %v", verdicts, err)
	}
}

// A header is sent to a channel from the moment that a reload says so.
func TestSendProxyIsLive(t *testing.T) {
	r := newRig(t)
	web, echo := free(t, "127.0.0.1"), listenEcho(t)
	l := listener("web", web)
	l.Groups[0].Channels = []spec.Channel{{Host: "127.0.0.1", Port: echo.Port()}}
	first := func() string {
		conn, err := net.Dial("tcp", web)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(patience))
		conn.Write([]byte("abcde"))
		got := make([]byte, 1)
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	for _, step := range []struct {
		send spec.SendProxy
		want string
	}{{spec.NoProxy, "a"}, {spec.ProxyV1, "P"}, {spec.ProxyV2, "\r"}, {spec.NoProxy, "a"}} {
		l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "127.0.0.1", Port: echo.Port(), SendProxy: step.send}}}}
		r.apply(declare(l))
		if got := first(); got != step.want {
			t.Errorf("with %q the channel gets %q first", step.send, got)
		}
	}
}

// listenEcho returns the address of a server that sends back the first byte that it gets
// from each client, and reads the rest: closed before that, it would reset it.
func listenEcho(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(patience))
			bytes := make([]byte, 1)
			conn.Read(bytes)
			conn.Write(bytes)
			io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().(*net.TCPAddr).AddrPort()
}

// Whether a client's address can be dialled from is known before the change is applied.
func TestTransparentIsChecked(t *testing.T) {
	r := newRig(t)
	l := listener("web", free(t, "127.0.0.1"), r.server("a"))
	l.Transparent = true
	can := socket.CheckTransparent()
	if _, err := r.Apply(t.Context(), declare(l)); (err == nil) != (can == nil) {
		t.Errorf("applied: %v, where a socket says %v", err, can)
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 || can != nil {
		t.Skip("skipped: there is no privilege to lose")
	}
	l.Name = "other"
	lost := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		dropCapabilities(t)
		_, err := r.Apply(t.Context(), declare(l))
		lost <- err
	}()
	if err := <-lost; !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), `listener "other": transparent: `) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("applied without the privilege: %v", err)
	}
	if got := r.Config().Listeners[0].Name; got != "web" {
		t.Errorf("%q is in force", got)
	}
}
