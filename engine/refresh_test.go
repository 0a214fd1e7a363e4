package engine_test

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine"
	"balance/engine/plane"
	"balance/engine/socket"
	"balance/engine/spec"
)

// Names are resolved every 30 seconds in the background.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := &nameService{hosts: map[string][]netip.Addr{}}
		names.set("db.example", "192.0.2.1")
		e := newEngine(t, engine.Options{
			Log:       slog.New(slog.NewTextHandler(io.Discard, nil)),
			Resolver:  names,
			DataPlane: dataPlane,
			NewPlane:  func(plane.Options) plane.Plane { return idlePlane{} },
			Open:      openNone,
		})
		defer e.Shutdown(context.Background())
		l := listener("db", "127.0.0.1:5432")
		l.Groups = []spec.Group{{Channels: []spec.Channel{{Host: "db.example", Port: 5432}}}}
		if _, err := e.Apply(context.Background(), declare(l)); err != nil {
			t.Fatal(err)
		}
		address := func() string {
			return e.Snapshot().Listeners[0].Groups[0].Channels[0].Addresses[0].String()
		}
		names.set("db.example", "192.0.2.2")
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if got := address(); got != "192.0.2.1:5432" {
			t.Errorf("after 29 seconds: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := address(); got != "192.0.2.2:5432" {
			t.Errorf("after 31 seconds: %s", got)
		}
	})
}

// idlePlane is a plane without a network.
type idlePlane struct{}

func (idlePlane) Now() int64 { return 1 }

func (idlePlane) Adopt(*socket.Socket) (plane.Acceptor, error)          { return idleAcceptor{}, nil }
func (idlePlane) SetMaxSessions(int)                                    {}
func (idlePlane) Sessions(func(plane.Session) bool)                     {}
func (idlePlane) Loops() []int                                          { return nil }
func (idlePlane) Finish(plane.Cause, func(*plane.Session) bool) (n int) { return 0 }
func (idlePlane) Abort(plane.Cause, func(*plane.Session) bool) (n int)  { return 0 }
func (idlePlane) Shutdown(context.Context)                              {}

type idleAcceptor struct{}

func (idleAcceptor) Serve(*plane.Listener)                {}
func (idleAcceptor) Empty(context.Context, time.Duration) {}
func (idleAcceptor) Stop()                                {}

// openNone stands for the network of an idlePlane.
func openNone(context.Context, netip.AddrPort, bool) (*socket.Socket, error) {
	return new(socket.Socket), nil
}

func TestLookup(t *testing.T) {
	r := newRig(t)
	r.names.set("db.example", "127.0.0.7")
	for host, want := range map[string]string{"db.example": "127.0.0.7", "::ffff:1.2.3.4": "1.2.3.4", "nowhere.example": ""} {
		addrs, err := r.Lookup(t.Context(), host)
		if want == "" {
			if err == nil {
				t.Errorf("%s resolves to %v", host, addrs)
			}
		} else if err != nil || len(addrs) != 1 || addrs[0].String() != want {
			t.Errorf("%s: %v, %v", host, addrs, err)
		}
	}
}
