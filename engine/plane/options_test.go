package plane

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"balance/engine/balancer"
)

func now() int64 { return time.Now().UnixNano() }

// A machine without ports fails each client, and says so once a second.
func TestLocalFailuresAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		options := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
		channel := balancer.NewChannel(balancer.Key{Host: "127.0.0.1", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		service := &Service{Name: "web", Router: balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)}
		for range 3 {
			for range 100 {
				route := service.Router.Route(balancer.Client{Addr: netip.MustParseAddr("127.0.0.1")}, now())
				if route.Next(now()) != balancer.Dial {
					t.Fatal("the channel is not to be had")
				}
				options.Failed(service, &route, errors.Join(errors.New("dial"), syscall.EADDRNOTAVAIL), now())
				route.Close(now())
			}
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "cannot dial"); n != 3 {
			t.Errorf("%d lines in three seconds:\n%s", n, log.String())
		}
		if n := strings.Count(log.String(), "left_out=99\n"); n != 2 {
			t.Errorf("%d lines say that 99 were left out:\n%s", n, log.String())
		}
	})
}

// A channel that comes and goes is told of once a second, with what was left
// out; and the last word is the truth.
func TestFlappingIsLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		options := Options{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				switch a.Key {
				case slog.MessageKey, "left_out":
					return a
				}
				return slog.Attr{}
			},
		}))}
		channel := balancer.NewChannel(balancer.Key{Host: "127.0.0.1", Port: 1})
		channel.SetAddresses([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")})
		service := &Service{Name: "web", Router: balancer.NewRouter([]balancer.Group{{Channels: []*balancer.Channel{channel}}}, balancer.Options{}, nil)}
		dial := func(err error) {
			route := service.Router.Route(balancer.Client{Addr: netip.MustParseAddr("127.0.0.1")}, now())
			defer route.Close(now())
			if route.Next(now()) != balancer.Dial {
				t.Fatal("the channel is not to be had")
			}
			if err != nil {
				options.Failed(service, &route, err, now())
			} else {
				options.Connected(service, &route, time.Millisecond, now())
			}
		}
		for range 2 {
			for range 100 {
				dial(syscall.ECONNREFUSED)
				dial(nil)
			}
			time.Sleep(time.Second)
		}
		dial(nil) // what it said last is so still
		time.Sleep(time.Second)
		dial(nil)
		dial(syscall.ECONNREFUSED)
		dial(nil)
		dial(syscall.ECONNREFUSED) // this is not told
		time.Sleep(time.Second)
		dial(syscall.EADDRNOTAVAIL) // nor is it now: that says nothing of the channel
		dial(syscall.ECONNREFUSED)
		dial(syscall.ECONNREFUSED)
		const want = `msg="channel fails"
msg="channel answers again"
msg="channel fails" left_out=99
msg="channel answers again" left_out=99
msg="channel answers again" left_out=98
msg="channel fails" left_out=99
msg="channel answers again"
msg="cannot dial"
msg="channel fails"
`
		if log.String() != want {
			t.Errorf("log:\n%s\nwant:\n%s", log.String(), want)
		}
	})
}
