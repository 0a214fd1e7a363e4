package planetest

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"balance/engine/plane"
)

// routeBack has what goes to a network come back to this machine, which does not count
// it as its own: an address of it can be bound to as another's only.
func routeBack(t *testing.T, network string) {
	t.Helper()
	for _, command := range []string{
		"ip rule add to %s lookup 100",
		"ip route add local %s dev lo table 100",
	} {
		fields := strings.Fields(fmt.Sprintf(command, network))
		if strings.Contains(network, ":") {
			fields = append([]string{"ip", "-6"}, fields[1:]...)
		}
		if out, err := exec.Command(fields[0], fields[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v\n%s", strings.Join(fields, " "), err, out)
		}
	}
}

// Servers see the address of the client, and its name where there is one of its family.
func testTransparent(t *testing.T, newPlane New) {
	if !ownNetwork(t) {
		return
	}
	routeBack(t, "203.0.113.0/24")
	routeBack(t, "2001:db8::/32")
	for name, test := range map[string]struct{ host, client, other string }{
		"IPv4": {"127.0.0.1", "203.0.113.7", "::1"},
		"IPv6": {"::1", "2001:db8::7", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane)
			channel, tells := r.tellerAt(test.host)
			wrong := r.serveAt(test.other, echo)
			s := service(r.router(wrong, channel))
			s.Edge = edged(plane.Edge{Peers: proxies()})
			s.Transparent = true
			client := r.listenAt("127.0.0.1", s).dial()
			fmt.Fprintf(client, "PROXY TCP%s %s %[2]s 1234 80\r\nHello.", name[3:], test.client)
			if got := readAll(t, client); got != "ok" {
				t.Fatalf("got %q", got)
			}
			if got := await(t, tells); got.from.Addr().Unmap().String() != test.client || got.bytes != "Hello." {
				t.Errorf("the server is told %+v", got)
			}
			if !strings.Contains(r.log.String(), "from the client's address "+test.client) || wrong.Failing() {
				t.Error("a channel of the other family is said to fail, or nothing of it")
			}
		})
	}
	// Who has no address is dialled for as ever.
	r := newRig(t, newPlane)
	s := service(r.router(r.serve(greet("in"))))
	s.Transparent = true
	client := r.listenUnix(s).dialUnix()
	client.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(client, make([]byte, 2)); err != nil {
		t.Error(err)
	}
}
