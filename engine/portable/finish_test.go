package portable

import (
	"net"
	"testing"

	"balance/engine/plane"
)

// A session that ends by itself has left its channel for a moment, but not its client
// yet, when it is told to finish, or when its next step is due.
func TestFinishOfOneThatEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dial := func() *net.TCPConn {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn.(*net.TCPConn)
	}
	p := New(plane.Options{})
	defer p.Shutdown(t.Context())
	for _, told := range []plane.Cause{0, plane.MaxAge} {
		s := &session{plane: p, client: dial(), server: dial(), state: plane.HalfClosed, cause: plane.ClientClosed, cancel: func() {}}
		s.told = told
		s.LeaveChannel()
		if s.finish(plane.Rebalanced) {
			t.Error("it is told to finish")
		}
		if left, leaving := s.finishOn(); leaving {
			t.Errorf("%s are left", left)
		}
		s.LeaveClient()
		if s.cause != plane.ClientClosed {
			t.Errorf("it ends: %s", s.cause.How())
		}
	}
}
