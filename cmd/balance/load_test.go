package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"balance/engine/plane/planetest"
)

const (
	loadClients = 200
	loadStreams = 50
	loadReloads = 1000
)

// TestReloadUnderLoad rewrites the file again and again, in every way that a
// listener can change, while many clients come and go and long streams run.
// No client may notice.
func TestReloadUnderLoad(t *testing.T) {
	reloads := loadReloads
	if testing.Short() || planetest.RaceDetector {
		reloads = 200 // enough to see a client turned away, or a race, but no leak
	}
	l := newLoad(t, "auto")
	l.pause = 200 * time.Millisecond // a thousand clients a second, rather than all that the machine can do
	l.startClients()
	var early, late footprint
	for i := range reloads {
		l.rewrite(i)
		switch {
		case i >= 100 && i < 200:
			early.sample(l.pid)
		case i >= reloads-100:
			late.sample(l.pid)
		}
	}
	t.Logf("%d reloads: %d short connections, %d MiB in streams", reloads, l.served.Load(), l.streamed.Load()>>20)
	l.stopClients()
	l.stop()
	for _, err := range l.failures {
		t.Error(err)
	}
	if l.served.Load() == 0 || l.streamed.Load() == 0 {
		t.Error("there was no load")
	}
	if reloads < loadReloads { // and the race detector's own memory grows
		return
	}
	t.Logf("memory %s, then %s; descriptors %s, then %s", early.memory(), late.memory(), early.descriptors(), late.descriptors())
	// The heap breathes by some MiB with the number of sessions at a moment.
	// That an Apply leaves nothing behind is measured without them, in
	// TestApplyLeavesNothingBehind of the engine.
	if a, b := median(early.kib), median(late.kib); b > a+a/10+8<<10 {
		t.Errorf("resident memory grew from %d KiB to %d KiB", a, b)
	}
	if a, b := slices.Max(early.fds), slices.Max(late.fds); b > a+a/2 {
		t.Errorf("descriptors grew from %d to %d", a, b)
	}
}

// BenchmarkReload prints how long a reload takes from the signal to the log,
// and how many clients are served meanwhile, without and with their load.
func BenchmarkReload(b *testing.B) {
	for _, loaded := range []bool{false, true} {
		b.Run(map[bool]string{false: "idle", true: "loaded"}[loaded], func(b *testing.B) {
			l := newLoad(b, "auto")
			if loaded {
				l.startClients()
			}
			i := 0
			for b.Loop() {
				l.rewrite(i)
				i++
			}
			b.ReportMetric(float64(l.served.Load())/b.Elapsed().Seconds(), "clients/s")
			l.stopClients()
			l.stop()
			b.ReportMetric(float64(len(l.failures)), "failures")
		})
	}
}

// load is a running daemon with clients.
type load struct {
	t         testing.TB
	random    *rand.Rand
	file      string
	dataPlane string
	pause     time.Duration // of a client between two connections
	front     string        // the address where clients always find somebody
	side      string        // one that comes and goes
	servers   []net.Addr
	pid       int
	daemon    *exec.Cmd
	results   chan string // lines of the log that end a reload

	stopping chan struct{}
	clients  sync.WaitGroup
	served   atomic.Int64
	streamed atomic.Int64
	mu       sync.Mutex
	failures []error // guarded by mu until the clients have ended
}

func newLoad(t testing.TB, dataPlane string) *load {
	l := &load{
		t: t, random: rand.New(rand.NewPCG(3, 4)), file: filepath.Join(t.TempDir(), "balance.toml"),
		dataPlane: dataPlane, results: make(chan string, 16), stopping: make(chan struct{}),
	}
	for _, name := range []string{"A", "B", "C", "D"} {
		addr, stop, err := startServer(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		l.servers = append(l.servers, addr)
	}
	for _, at := range []*string{&l.front, &l.side} {
		addr, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		*at = addr.String()
	}
	l.write(l.config())
	l.startDaemon()
	return l
}

func (l *load) startClients() {
	for range loadClients {
		l.clients.Go(l.shortConnections)
	}
	for i := range loadStreams {
		l.clients.Go(func() { l.stream(uint64(i)) })
	}
}

func (l *load) startDaemon() {
	l.daemon = exec.Command("balance", "-config", l.file)
	l.daemon.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+l.t.TempDir())
	log, err := l.daemon.StderrPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.daemon.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.pid = l.daemon.Process.Pid
	listening := make(chan struct{})
	var once sync.Once
	var reading sync.WaitGroup
	reading.Go(func() {
		var tail []string
		for lines := bufio.NewScanner(log); lines.Scan(); {
			line := lines.Text()
			tail = append(tail[max(0, len(tail)-20):], line)
			switch {
			case strings.Contains(line, "msg=listening"):
				once.Do(func() { close(listening) })
			case strings.Contains(line, `msg="configuration reloaded"`), strings.Contains(line, "stays in force"):
				l.results <- line
			case strings.Contains(line, "panic"), strings.Contains(line, "DATA RACE"):
				l.fail(errors.New(line))
			}
		}
		if l.t.Failed() {
			l.t.Logf("end of the log:\n%s", strings.Join(tail, "\n"))
		}
	})
	l.t.Cleanup(func() {
		l.daemon.Process.Kill() // if it has not been stopped
		reading.Wait()
		l.daemon.Wait()
	})
	select {
	case <-listening:
	case <-time.After(patience):
		l.t.Fatal("the daemon does not listen")
	}
}

// stopClients ends the clients, each after what it is at.
func (l *load) stopClients() {
	close(l.stopping)
	l.clients.Wait()
}

// stop ends the daemon.
func (l *load) stop() {
	l.daemon.Process.Signal(syscall.SIGTERM)
}

func (l *load) stopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 10 {
		l.failures = append(l.failures, err)
	}
}

// shortConnections connects, takes the greeting and half-closes, again and
// again.
func (l *load) shortConnections() {
	for !l.stopped() {
		conn, err := net.Dial("tcp", l.front)
		if errors.Is(err, syscall.EADDRNOTAVAIL) { // this side is out of ports
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			l.fail(fmt.Errorf("connect: %w", err))
			return
		}
		conn.SetDeadline(time.Now().Add(patience))
		conn.(*net.TCPConn).CloseWrite()
		greeting, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || len(greeting) != 2 {
			l.fail(fmt.Errorf("short connection: got %q, %v", greeting, err))
			return
		}
		l.served.Add(1)
		time.Sleep(l.pause)
	}
}

// stream sends a long stream and compares checksums of what comes back.
func (l *load) stream(seed uint64) {
	conn, err := net.Dial("tcp", l.front)
	if err != nil {
		l.fail(err)
		return
	}
	defer conn.Close()
	var sent, got hash.Hash = sha256.New(), sha256.New()
	read := make(chan error, 1)
	go func() {
		reader := bufio.NewReader(conn)
		if _, err := reader.ReadString('\n'); err != nil {
			read <- err
			return
		}
		_, err := io.Copy(got, reader)
		read <- err
	}()
	random := rand.NewChaCha8([32]byte{byte(seed)})
	chunk := make([]byte, 8<<10)
	for !l.stopped() {
		random.Read(chunk)
		sent.Write(chunk)
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Write(chunk); err != nil {
			l.fail(fmt.Errorf("stream: %w", err))
			return
		}
		l.streamed.Add(int64(len(chunk)))
		time.Sleep(20 * time.Millisecond) // a long stream, not a fast one
	}
	conn.(*net.TCPConn).CloseWrite()
	if err := <-read; err != nil || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		l.fail(fmt.Errorf("stream: what came back differs, %v", err))
	}
}

// rewrite writes the next file in one of the ways in which people do, asks for
// a reload, and waits for what comes of it.
func (l *load) rewrite(i int) {
	l.t.Helper()
	content, good := l.config(), true
	if i%10 == 9 {
		content, good = content[:len(content)*(i/10%10)/10]+"[[", false
	}
	l.write(content)
	l.daemon.Process.Signal(syscall.SIGHUP)
	select {
	case line := <-l.results:
		if strings.Contains(line, "reloaded") != good {
			l.t.Fatalf("reload %d: %s\n%s", i, line, content)
		}
	case <-time.After(patience):
		l.t.Fatalf("reload %d: no answer", i)
	}
	// The watcher may see the same content once more, which it leaves alone.
}

func (l *load) write(content string) {
	l.t.Helper()
	name := l.file
	if l.random.IntN(2) == 0 {
		name += ".new"
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		l.t.Fatal(err)
	}
	if name != l.file {
		if err := os.Rename(name, l.file); err != nil {
			l.t.Fatal(err)
		}
	}
}

// config returns a file that differs from others in everything that can
// change, but always serves the front address.
func (l *load) config() string {
	var b strings.Builder
	pick := func(choices ...string) string { return choices[l.random.IntN(len(choices))] }
	_, port, _ := net.SplitHostPort(l.front)
	fmt.Fprintf(&b, "[control]\nwatch = false\n[log]\nsessions = %s\nlevel = %q\n", pick("false", "false", "true"), pick("info", "debug"))
	fmt.Fprintf(&b, "[defaults]\ndata_plane = %q\nidle_timeout = %q\nkeepalive = %q\nauto_disable = %s\n",
		l.dataPlane, pick("0s", "1h", "2h"), pick("15s", "0s"), pick("true", "false"))
	listeners := []func(){
		func() {
			fmt.Fprintf(&b, "[[listener]]\nname = %q\nhash_failover = true\n", pick("front", "door"))
			fmt.Fprintf(&b, "listen = %q\nconnect_timeout = %q\n", pick(l.front, l.front, l.front, "0.0.0.0:"+port, ":"+port), pick("5s", "6s"))
			for range 1 + l.random.IntN(3) {
				fmt.Fprintf(&b, "[[listener.group]]\nmode = %q\nchannels = [%s]\n", pick("rr", "hash"), l.channels())
			}
			// The last resort has no limit.
			fmt.Fprintf(&b, "[[listener.group]]\nchannels = [\"%s\"]\n", l.servers[0])
		},
		func() {
			if l.random.IntN(2) == 0 {
				fmt.Fprintf(&b, "[[listener]]\nname = \"side\"\nlisten = %q\n[[listener.group]]\nchannels = [%s]\n", l.side, l.channels())
			}
		},
	}
	l.random.Shuffle(len(listeners), func(i, k int) { listeners[i], listeners[k] = listeners[k], listeners[i] })
	for _, write := range listeners {
		write()
	}
	return b.String()
}

func (l *load) channels() string {
	var list []string
	for _, server := range l.servers {
		if l.random.IntN(2) == 0 {
			host, port, _ := net.SplitHostPort(server.String())
			list = append(list, fmt.Sprintf("{ host = %q, port = %s, maxc = %d, disabled = %v }",
				host, port, l.random.IntN(100), l.random.IntN(4) == 0))
		}
	}
	if len(list) == 0 {
		list = append(list, strconv.Quote(l.servers[0].String()))
	}
	return strings.Join(list, ", ")
}

// footprint is what a process takes, over some time.
type footprint struct{ kib, fds []int }

// sample reads /proc; where there is none it takes nothing.
func (f *footprint) sample(pid int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			n, _ := strconv.Atoi(fields[1])
			f.kib = append(f.kib, n)
		}
	}
	fds, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	f.fds = append(f.fds, len(fds))
}

func (f *footprint) memory() string { return fmt.Sprintf("%d MiB", median(f.kib)>>10) }

func (f *footprint) descriptors() string { return fmt.Sprint(median(f.fds)) }

func median(list []int) int {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
