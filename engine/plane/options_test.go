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
				route := service.Router.Route(netip.MustParseAddr("127.0.0.1"))
				if _, ok := route.Next(); !ok {
					t.Fatal("the channel is not to be had")
				}
				options.Failed(service, &route, errors.Join(errors.New("dial"), syscall.EADDRNOTAVAIL))
				route.Close()
			}
			time.Sleep(time.Second)
		}
		if n := strings.Count(log.String(), "cannot dial"); n != 3 {
			t.Errorf("%d lines in three seconds:\n%s", n, log.String())
		}
	})
}
