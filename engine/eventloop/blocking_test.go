//go:build linux

package eventloop

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/plane"
)

// momentary are the functions in which a loop may meet a mutex that is held:
// whoever holds it makes no system call, writes nothing and waits for nothing.
// The log is a queue in the daemon; in tests it is a mutex of package slog. The
// runtime has locks of its own: for the first use of a sync.Pool by a processor,
// and where who asks for memory has to help the collector.
var momentary = []string{
	"eventloop.(*mailbox).put",
	"eventloop.(*mailbox).take",
	"eventloop.(*mailbox).shut",
	"plane.(*Shortage).Begin",
	"plane.(*Shortage).End",
	"plane.(*Dump).show",
	"plane.(*crowd).",
	"admit.(*Sources).",
	"log/slog.",
	"sync.(*Pool).",
	"runtime.mallocgc+",
}

// TestMain fails if in any of the tests, those that every plane must pass
// included, a loop has waited for a mutex, a channel or the like where it may
// not.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" {
		os.Exit(m.Run())
	}
	runtime.SetBlockProfileRate(1)
	code := m.Run()
	for _, stack := range blocked() {
		if strings.Contains(stack, "TestWaitIsNoticed") {
			continue
		}
		fmt.Printf("FAIL: a loop has waited:\n%s\n", stack)
		code = 1
	}
	os.Exit(code)
}

// blocked returns where loops have waited, but for what is momentary.
func blocked() (stacks []string) {
	var profile bytes.Buffer
	pprof.Lookup("block").WriteTo(&profile, 1)
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		waits := strings.Contains(stack, "eventloop.(*loop).turn+") || strings.Contains(stack, "eventloop.(*loop).run+")
		for _, function := range momentary {
			waits = waits && !strings.Contains(stack, function)
		}
		if waits {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// That a loop has waited is noticed.
func TestWaitIsNoticed(t *testing.T) {
	p := play(t, 1)
	l := p.loops[0]
	held, hold := make(chan struct{}), make(chan struct{})
	l.mailbox.post(func() {
		close(hold)
		<-held
	})
	go func() {
		<-hold
		time.Sleep(time.Millisecond)
		close(held)
	}()
	l.turn()
	if all := strings.Join(blocked(), ""); !strings.Contains(all, "TestWaitIsNoticed") {
		t.Errorf("noticed: %q", all)
	}
}

// stuckWriter takes nothing until it is freed.
type stuckWriter chan struct{}

func (w stuckWriter) Write(p []byte) (int, error) {
	<-w
	return len(p), nil
}

// TestTurnWaitsForNobody takes turns while nobody else does anything: the dump
// is not written, the other loop takes no mail, and nobody acts on what is kept. A
// turn that waited would be a deadlock.
func TestTurnWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := play(t, 2)
		writer := make(stuckWriter)
		p.options.Dump = plane.NewDump(writer, p.options.Log)
		defer p.options.Dump.Close()
		defer close(writer)
		p.options.Budget.SetLimit(1)
		q, _ := p.accepting()
		l := p.loops[0]
		p.loops[1].resting.Store(true)
		p.awake.Store(1)
		p.come(q, 200)
		p.turns(20, l) // and the other loop is asked back, which takes no mail
		if !p.loops[1].invited.Load() {
			t.Error("the other loop is not asked back")
		}
		done := make(chan bool)
		go func() { done <- l.mailbox.do(func() {}) }()
		synctest.Wait()
		for _, c := range p.kernel.sockets[:200] {
			s := p.kernel.servers[c.token]
			s.connecting, s.event = false, true
			c.space, s.space = 1<<20, 1<<16
			c.give(100_000)
			c.event = true
		}
		p.SetMaxSessions(200)
		p.come(q, 1)
		p.turns(20, l)
		q.failures = []unix.Errno{unix.EMFILE}
		p.SetMaxSessions(300)
		p.turns(20, l)
		if !<-done {
			t.Error("a task was not done")
		}
		if b := p.options.Budget; b.Kept() < 200*bufferSize || b.Excess() == 0 {
			t.Errorf("%d bytes are kept", b.Kept())
		}
		p.finish(l, 100)
		p.turns(2, l)
		if len(p.ends) != 100 {
			t.Errorf("%d sessions have ended", len(p.ends))
		}
	})
}
