//go:build linux

package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// ServiceTimes are how long the servers of Fair work on a request: two are
// slow, one is four times as fast.
var ServiceTimes = [...]time.Duration{4 * time.Millisecond, 4 * time.Millisecond, time.Millisecond}

// Capacity is the requests per second that the servers of Fair can do at most.
func Capacity() float64 {
	sum := 0.0
	for _, d := range ServiceTimes {
		sum += 1 / d.Seconds()
	}
	return sum
}

// server serves one request at a time, first come first served. Work that
// waits begins when the work before was to end, however late that was noticed:
// it is as fast on a busy machine, as long as it gets any CPU in time.
type server struct {
	number  byte
	service time.Duration
	queue   chan visit
	wait    func(until int64)
	idle    int64 // since when it has had nothing to do, or will have
}

// visit is a connection and the time it was accepted at.
type visit struct {
	conn    net.Conn
	arrived int64
}

// serveUnequally listens on a loopback port for each of ServiceTimes, writes
// the addresses to out, a line each, and serves until the process is killed.
func serveUnequally(out io.Writer) error {
	failed := make(chan error)
	for i, service := range ServiceTimes {
		// Multipath TCP, which listeners of Go accept, would cost time.
		var config net.ListenConfig
		config.SetMultipathTCP(false)
		l, err := config.Listen(context.Background(), "tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
			return err
		}
		s := &server{number: byte(i), service: service, queue: make(chan visit, Backlog), wait: sleep}
		go func() { failed <- s.work() }()
		go func() { failed <- s.accept(l) }()
	}
	return <-failed
}

// accept lets connections queue up.
func (s *server) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		s.queue <- visit{conn, now()}
	}
}

// work serves the queue. It has a thread of its own, which sleeps to the
// nanosecond as far as the kernel can: the timers of Go wait for whole
// milliseconds.
func (s *server) work() error {
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set the timer slack: %w", err)
	}
	for v := range s.queue {
		s.serve(v)
	}
	return nil
}

// serve answers one request with its copy. One that is work takes the service
// time, and its answer ends with the number of the server.
func (s *server) serve(v visit) {
	defer v.conn.Close()
	v.conn.SetDeadline(time.Now().Add(stallTimeout))
	request := make([]byte, probeSize)
	if _, err := io.ReadFull(v.conn, request); err != nil {
		return
	}
	if request[0] == modeWork {
		s.idle = max(s.idle, v.arrived) + int64(s.service)
		s.wait(s.idle)
		request[probeSize-1] = s.number
	}
	v.conn.Write(request)
}

// sleep returns at the time until, as now counts.
func sleep(until int64) {
	for left := until - now(); left > 0; left = until - now() {
		t := unix.NsecToTimespec(left)
		unix.Nanosleep(&t, nil) // a signal ends it early
	}
}
