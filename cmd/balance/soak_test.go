package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestSoak runs the load of TestReloadUnderLoad together with clients that
// reset and clients that read slowly, for as long as BALANCE_SOAK says (10m,
// say; with -timeout beyond it), else for two seconds. At the end no
// descriptor, slot or byte may be lost.
func TestSoak(t *testing.T) {
	duration := 2 * time.Second
	if text := os.Getenv("BALANCE_SOAK"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	for _, dataPlane := range []string{"auto", "portable"} {
		t.Run(dataPlane, func(t *testing.T) { soak(t, dataPlane, duration) })
	}
}

func soak(t *testing.T, dataPlane string, duration time.Duration) {
	l := newLoad(t, dataPlane)
	idle := descriptors(t, l.pid)
	l.startClients()
	for i := range 20 {
		l.clients.Go(func() { l.breakOff(uint64(i)) })
		l.clients.Go(func() { l.readSlowly(uint64(i)) })
	}
	reloads := 0
	for end := time.Now().Add(duration); time.Now().Before(end); reloads++ {
		l.rewrite(reloads)
	}
	l.stopClients()
	t.Logf("%s: %d reloads, %d short connections, %d MiB in streams", duration, reloads, l.served.Load(), l.streamed.Load()>>20)
	for _, err := range l.failures {
		t.Error(err)
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("waited in vain until %s", what)
				return
			}
		}
	}
	await("all sessions have ended", func() bool { return len(l.active(t)) == 0 })
	await("all descriptors are closed", func() bool { return descriptors(t, l.pid) <= idle+spareDescriptors })
	if t.Failed() {
		t.Logf("%d descriptors, %d before; active: %s", descriptors(t, l.pid), idle, l.active(t))
	}
	l.stop()
}

// spareDescriptors allow for a second listener and its overlapping addresses,
// and for the empty pipes that a data plane keeps for a while.
const spareDescriptors = 40

func descriptors(t *testing.T, pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Skip("this system has no /proc")
	}
	return len(entries)
}

// active returns the lines of show for channels that have a slot taken.
func (l *load) active(t *testing.T) []string {
	t.Helper()
	show := exec.Command("balance", "-config", l.file, "-c", "show")
	show.Env = l.daemon.Env
	out, err := show.CombinedOutput()
	if err != nil {
		t.Fatalf("show: %v\n%s", err, out)
	}
	var active []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) > 6 && fields[0] != "GRP" && fields[6] != "0" {
			active = append(active, line)
		}
	}
	return active
}

// breakOff resets connections in the midst of what they send and get.
func (l *load) breakOff(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 5))
	chunk := make([]byte, 100<<10)
	for !l.stopped() {
		conn, err := net.Dial("tcp", l.front)
		if err != nil {
			continue // this side is out of ports: others count what is refused
		}
		conn.SetDeadline(time.Now().Add(patience))
		sent := random.IntN(len(chunk) - 2)
		conn.Write(chunk[:sent])
		io.ReadFull(conn, chunk[:random.IntN(sent+2+1)]) // of the greeting and the echo
		conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// readSlowly sends a MiB and takes its time to read it back.
func (l *load) readSlowly(seed uint64) {
	chunk := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{byte(seed), 1}).Read(chunk)
	want := sha256.Sum256(chunk)
	for !l.stopped() {
		conn, err := net.Dial("tcp", l.front)
		if err != nil {
			continue
		}
		conn.SetDeadline(time.Now().Add(patience))
		go func() {
			conn.Write(chunk)
			conn.(*net.TCPConn).CloseWrite()
		}()
		got := new(bytes.Buffer)
		piece := make([]byte, 64<<10)
		for {
			n, err := conn.Read(piece)
			got.Write(piece[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				l.fail(fmt.Errorf("slow reader: after %d bytes: %w", got.Len(), err))
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		conn.Close()
		if body := got.Bytes(); len(body) != 2+len(chunk) || sha256.Sum256(body[2:]) != want {
			l.fail(fmt.Errorf("slow reader: %d bytes came back, or others", len(body)))
		}
	}
}
