package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"balance/control"
	"balance/engine"
	"balance/engine/spec"
)

func TestMain(m *testing.M) {
	if os.Getenv(peerVariable) != "" {
		bePeer()
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// rig is an engine with servers behind it, and what the web shows of it.
type rig struct {
	testing.TB
	engine *engine.Engine
	daemon control.Daemon
	log    *lockedBuffer

	mu       sync.Mutex
	reload   control.Reload // guarded by mu
	stopping bool           // guarded by mu
}

func newRig(t testing.TB) *rig {
	r := &rig{TB: t, log: new(lockedBuffer)}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	var err error
	if r.engine, err = engine.New(engine.Options{Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		r.engine.Shutdown(over)
	})
	r.daemon = control.Daemon{
		Engine: r.engine, Version: "4.0.0-test", Started: time.Now().Add(-3 * time.Hour), File: "/etc/balance.toml",
		LastReload: func() control.Reload { r.mu.Lock(); defer r.mu.Unlock(); return r.reload },
		Stopping:   func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.stopping },

		MessagesLost: func() uint64 { return 12 },
	}
	return r
}

func (r *rig) reloaded(last control.Reload) { r.mu.Lock(); defer r.mu.Unlock(); r.reload = last }
func (r *rig) stop()                        { r.mu.Lock(); defer r.mu.Unlock(); r.stopping = true }
func (r *rig) logger() *slog.Logger         { return slog.New(slog.NewTextHandler(r.log, nil)) }

// listener declares a listener; apply says where it listens.
func listener(name string, groups ...spec.Group) spec.Listener {
	l := spec.Defaults()
	l.Name, l.Groups = name, groups
	return l
}

func group(channels ...spec.Channel) spec.Group { return spec.Group{Channels: channels} }

// apply puts listeners in force, each on a loopback address of its own and a
// port that the kernel picks.
func (r *rig) apply(listeners ...spec.Listener) {
	r.Helper()
	for i := range listeners {
		listeners[i].Listen = []string{fmt.Sprintf("127.0.0.%d:0", i+1)}
	}
	c := spec.DefaultConfig()
	c.Listeners = listeners
	if _, err := r.engine.Apply(context.Background(), c); err != nil {
		r.Fatal(err)
	}
}

// address returns where a listener listens.
func (r *rig) address(listener int) string {
	return r.engine.Snapshot().Listeners[listener].Addresses[0].String()
}

// echo starts a server that sends back what it gets.
func (r *rig) echo() spec.Channel {
	return r.server(func(conn net.Conn) { io.Copy(conn, conn) })
}

// server starts a server.
func (r *rig) server(serve func(net.Conn)) spec.Channel {
	r.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	r.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return channel(l.Addr())
}

// refused returns a channel that nobody listens on.
func (r *rig) refused() spec.Channel {
	r.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		r.Fatal(err)
	}
	defer l.Close()
	return channel(l.Addr())
}

func channel(addr net.Addr) spec.Channel {
	return spec.Channel{Host: "127.0.0.1", Port: uint16(addr.(*net.TCPAddr).Port)}
}

// dial connects to a listener. The connection ends with the test, before the
// engine does.
func (r *rig) dial(listener int) net.Conn {
	r.Helper()
	conn, err := net.Dial("tcp4", r.address(listener))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	return conn
}

// moved is how many bytes went to all channels and came from them.
func (r *rig) moved() (total uint64) {
	for _, l := range r.engine.Snapshot().Listeners {
		for _, g := range l.Groups {
			for _, c := range g.Channels {
				total += c.Sent + c.Received
			}
		}
	}
	return total
}

// talk sends through the connection, waits for the echo, and until both
// are counted.
func (r *rig) talk(conn net.Conn, size int) {
	r.Helper()
	before := r.moved()
	conn.SetDeadline(time.Now().Add(patience))
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(make([]byte, size))
		sent <- err
	}()
	if _, err := io.CopyN(io.Discard, conn, int64(size)); err != nil {
		r.Error(err)
	}
	if err := <-sent; err != nil {
		r.Error(err)
	}
	eventually(r, "all bytes are counted", func() bool { return r.moved() >= before+2*uint64(size) })
}

// get asks a handler as somebody on this machine would.
func (r *rig) get(handler http.Handler, target string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, target, nil)
	request.Host = "127.0.0.1:8404"
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func (r *rig) handler() http.Handler { return newHandler(&Daemon{r.daemon}, new(history), Settings{}) }

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// without skips a test for want of something that this machine lacks.
func without(t testing.TB, what string, names ...string) string {
	t.Helper()
	for _, dir := range strings.Split(os.Getenv("PATH"), ":") {
		for _, name := range names {
			path := dir + "/" + name
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				return path
			}
		}
	}
	t.Skipf("there is no %s here", what)
	return ""
}
