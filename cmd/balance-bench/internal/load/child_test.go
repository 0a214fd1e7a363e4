//go:build linux

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

// The backends of a test are copies of the test program.
func TestMain(m *testing.M) {
	if ok, err := PlayRole(); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Under the race detector each copy would sleep for a second as it ends.
	os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	os.Exit(m.Run())
}

func TestRolesAreNotPlayedUnasked(t *testing.T) {
	if ok, err := PlayRole(); ok || err != nil {
		t.Errorf("a role is played: %v", err)
	}
	cmd, err := self(roleBackend)
	if err != nil || !slices.Contains(cmd.Env, roleVariable+"="+roleBackend) {
		t.Errorf("environment %q, %v", cmd.Env, err)
	}
}

// serveLoopback answers every connection with f until the test ends.
func serveLoopback(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-accepted })
	return l.Addr().String()
}

func TestRelayIsProved(t *testing.T) {
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		fails bool
	}{
		{"echo", func(c net.Conn) { io.Copy(c, c) }, false},
		{"closed at once", func(net.Conn) {}, true},
		{"another answer", func(c net.Conn) {
			io.ReadFull(c, make([]byte, probeSize))
			c.Write(make([]byte, probeSize))
		}, true},
		{"half an answer", func(c net.Conn) { io.CopyN(c, c, probeSize/2) }, true},
	} {
		if err := RoundTrip(context.Background(), serveLoopback(t, c.serve)); (err != nil) != c.fails {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
