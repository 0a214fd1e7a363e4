package planetest

import (
	"io"
	"net"
	"testing"
)

// Benchmark measures the plane that New makes: one round trip, one short
// connection, and bulk.
func Benchmark(b *testing.B, newPlane New) {
	b.Run("RoundTrip", func(b *testing.B) {
		rig := newRig(b, newPlane)
		client := rig.listen(rig.router(rig.serve(echo))).dial()
		message := [64]byte{}
		for b.Loop() {
			if _, err := client.Write(message[:]); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(client, message[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("ShortConnection", func(b *testing.B) {
		rig := newRig(b, newPlane)
		door := rig.listen(rig.router(rig.serve(echo)))
		message := [64]byte{}
		for b.Loop() {
			client := door.dial()
			client.Write(message[:])
			client.CloseWrite()
			if _, err := io.ReadFull(client, message[:]); err != nil {
				b.Fatal(err)
			}
			client.Close()
		}
	})
	b.Run("Bulk", func(b *testing.B) {
		rig := newRig(b, newPlane)
		client := rig.listen(rig.router(rig.serve(func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }))).dial()
		chunk := [256 << 10]byte{}
		b.SetBytes(int64(len(chunk)))
		for b.Loop() {
			if _, err := client.Write(chunk[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
