//go:build linux

package eventloop

import (
	"testing"

	"balance/engine/plane"
)

// What a client has sent is not the first segment to a channel that was sent a header:
// it would wait for the acknowledgement of that, which the channel may put off for 40 ms.
func TestOpeningDelaysNothing(t *testing.T) {
	for version := range 3 {
		w, c := greeter()
		for _, channel := range w.channels {
			channel.SetSendProxy(version)
		}
		w.say(c, header+"plain text")
		out := w.kernel.servers[c.token]
		out.space = 1000
		w.answer(out, "")
		if s := w.session(c); s.state != plane.Relaying || s.streams[client].moved != 10 {
			t.Fatalf("%s, %d bytes count", s.state, s.streams[client].moved)
		}
		if out.noDelay != (version > 0) {
			t.Errorf("version %d of the header: no delay %t", version, out.noDelay)
		}
	}
}
