package daemon

import (
	"balance/engine/spec"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"log/syslog"
	"net"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Len()
}

// gate is a reader of the log that reads nothing until it is opened.
type gate struct {
	lockedBuffer
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.lockedBuffer.Write(p)
}

// logged is a line of the log: what was said, and its number.
type logged struct {
	message string
	number  int
}

func parseLog(t *testing.T, log string) []logged {
	t.Helper()
	var list []logged
	for line := range strings.Lines(log) {
		found := regexp.MustCompile(`msg="?([a-z ]+)"? (?:n|count)=(\d+)\n$`).FindStringSubmatch(line)
		if found == nil {
			t.Fatalf("line %q", line)
		}
		number, _ := strconv.Atoi(found[2])
		list = append(list, logged{found[1], number})
	}
	return list
}

// TestLogShares logs more than there is room for while nobody reads.
func TestLogShares(t *testing.T) {
	const many = 3 * queueSize
	for _, x := range []struct {
		name     string
		sessions func(*logging) func(string, ...any)
		warnings int // after many sessions, or before
		first    bool
		told     int // sessions that find room
	}{
		{"no session crowds out a warning", func(l *logging) func(string, ...any) { return l.sessionLogger().Info }, queueSize - minorShare, false, minorShare},
		{"nor does a debug message", func(l *logging) func(string, ...any) { return l.logger().Debug }, queueSize - minorShare, false, minorShare},
		{"warnings may have all", func(l *logging) func(string, ...any) { return l.sessionLogger().Info }, queueSize, true, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			g := newGate()
			l := newLogging(g)
			l.set(spec.Log{Level: spec.LogDebug})
			session, log := x.sessions(l), l.logger()
			log.Warn("first", "n", 0)
			for len(l.queue.entries) > 0 { // until it is in the writer's hands
				time.Sleep(time.Millisecond)
			}
			warn := func() {
				for i := range x.warnings {
					log.Warn("warning", "n", i)
				}
			}
			if x.first {
				warn()
			}
			for i := range many {
				session("session", "n", i)
			}
			if !x.first {
				warn()
			}
			want := []logged{{"first", 0}}
			for i := range x.told {
				want = append(want, logged{"session", i})
			}
			for i := range x.warnings {
				want = append(want, logged{"warning", i})
			}
			want = append(want, logged{"messages lost", many - x.told})
			if got := l.lost(); got != uint64(many-x.told) {
				t.Errorf("%d messages lost, want %d", got, many-x.told)
			}
			close(g.open)
			l.close()
			got := parseLog(t, g.String())
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("line %d is %v, want %v", i, got[i], want[i])
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d lines, want %d", len(got), len(want))
			}
		})
	}
}

// TestLogOrder has many log at once: what each says stays in order, and nobody
// gets more or less than was lost.
func TestLogOrder(t *testing.T) {
	const writers, each = 8, 3000
	g := newGate()
	l := newLogging(g)
	var all sync.WaitGroup
	for i := range writers {
		log := l.logger()
		if i%2 == 0 {
			log = l.sessionLogger()
		}
		all.Go(func() {
			for n := range each {
				log.Info("writer "+string(rune('a'+i)), "n", n)
			}
		})
	}
	time.AfterFunc(10*time.Millisecond, func() { close(g.open) })
	all.Wait()
	l.close()
	next, told, lost := map[string]int{}, 0, 0
	for _, line := range parseLog(t, g.String()) {
		switch {
		case line.message == "messages lost":
			lost += line.number
		case line.number < next[line.message]:
			t.Fatalf("%s says %d after %d", line.message, line.number, next[line.message]-1)
		default:
			next[line.message] = line.number + 1
			told++
		}
	}
	if uint64(lost) != l.lost() || told+lost != writers*each {
		t.Errorf("%d messages of %d, %d said to be lost, %d lost", told, writers*each, lost, l.lost())
	}
}

// TestLogSettingsOfTheMoment changes the settings while messages wait: each is
// written as it was to be when it was made.
func TestLogSettingsOfTheMoment(t *testing.T) {
	g := newGate()
	l := newLogging(g)
	log := l.logger()
	say := func(name string) {
		log.Debug(name + " debug")
		log.With("with", 1).WithGroup("group").Warn(name+" warning", "n", 2)
	}
	say("text")
	l.set(spec.Log{Format: spec.LogJSON, Level: spec.LogError})
	say("json, errors")
	l.admit(spec.Log{Level: spec.LogDebug})
	say("json, admitted")
	l.set(spec.Log{})
	log.Warn("text again")
	close(g.open)
	l.close()
	lines := regexp.MustCompile(`"?time"?[=:]\S+?[ ,]`).ReplaceAllString(g.String(), "")
	const want = `level=WARN msg="text warning" with=1 group.n=2
{"level":"DEBUG","msg":"json, admitted debug"}
{"level":"WARN","msg":"json, admitted warning","with":1,"group":{"n":2}}
level=WARN msg="text again"
`
	if lines != want {
		t.Errorf("log:\n%s\nwant:\n%s", lines, want)
	}
}

// TestLogLevelOfLosses does not tell of losses who wants errors alone.
func TestLogLevelOfLosses(t *testing.T) {
	g := newGate()
	l := newLogging(g)
	l.set(spec.Log{Level: spec.LogError})
	for range 2 * queueSize {
		l.logger().Error("error", "n", 0)
	}
	close(g.open)
	l.close()
	if strings.Contains(g.String(), "lost") || l.lost() == 0 {
		t.Errorf("%d messages are lost, the log ends %q", l.lost(), g.String()[max(0, g.Len()-200):])
	}
}

// TestLogEndsUnread ends a log that nobody reads.
func TestLogEndsUnread(t *testing.T) {
	g := newGate()
	l := newLogging(g)
	for range 2 {
		l.logger().Info("unread")
	}
	l.close()
	l.close()
	if g.Len() > 0 {
		t.Errorf("written: %q", g.String())
	}
	close(g.open)
	<-l.queue.ended
}

// failing is a log whose reader comes and goes.
type failing struct {
	lockedBuffer
	err error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.lockedBuffer.Write(p)
}

// TestLogThatFails counts what cannot be written.
func TestLogThatFails(t *testing.T) {
	f := &failing{err: errors.New("no space left on device")}
	l := newLogging(f)
	for range 3 {
		l.logger().Info("unwritten", "n", 1)
	}
	for l.lost() < 3 {
		time.Sleep(time.Millisecond)
	}
	f.err = nil
	l.logger().Info("written", "n", 1)
	l.close()
	if got := fmt.Sprint(parseLog(t, f.String())); got != "[{written 1} {messages lost 3}]" {
		t.Errorf("log: %s", got)
	}
}

// fakeSyslog is a socket like that of syslog, from which nobody reads yet.
type fakeSyslog struct {
	network, path string
	datagrams     *net.UnixConn
	listener      *net.UnixListener
}

func newFakeSyslog(t *testing.T, network string) *fakeSyslog {
	t.Helper()
	s := &fakeSyslog{network: network, path: filepath.Join(t.TempDir(), "log")}
	var err error
	addr := &net.UnixAddr{Name: s.path, Net: network}
	if network == "unixgram" {
		s.datagrams, err = net.ListenUnixgram(network, addr)
		t.Cleanup(func() { s.datagrams.Close() })
	} else {
		s.listener, err = net.ListenUnix(network, addr)
		t.Cleanup(func() { s.listener.Close() })
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *fakeSyslog) dial() (*syslog.Writer, error) {
	return syslog.Dial(s.network, s.path, syslog.LOG_DAEMON|syslog.LOG_INFO, syslogTag)
}

// read reads lines until one matches.
func (s *fakeSyslog) read(t *testing.T, last string) []string {
	t.Helper()
	conn := s.datagrams
	if conn == nil {
		var err error
		s.listener.SetDeadline(time.Now().Add(patience))
		if conn, err = s.listener.AcceptUnix(); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	var lines []string
	text, chunk := "", make([]byte, 64<<10)
	for {
		n, err := conn.Read(chunk)
		if err != nil {
			t.Fatalf("waiting for %q: %v, after %q", last, err, lines[max(0, len(lines)-3):])
		}
		text += string(chunk[:n])
		for {
			line, rest, whole := strings.Cut(text, "\n")
			if !whole {
				break
			}
			text = rest
			lines = append(lines, line)
			if strings.Contains(line, last) {
				return lines
			}
		}
	}
}

// TestSyslogNobodyReads logs to a syslog that is stuck, then reads on.
func TestSyslogNobodyReads(t *testing.T) {
	for _, network := range []string{"unixgram", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := newFakeSyslog(t, network)
			l, err := newSyslogging(s.dial)
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			log, sessions := l.logger(), l.sessionLogger()
			log.Info("first")
			for i := range 4 * queueSize {
				sessions.Info("session", "n", i)
			}
			log.Error("last", "n", 1)
			lines := s.read(t, "messages lost")
			if !regexp.MustCompile(`^<30>\w+ +\d+ [\d:]+ balance\[\d+\]: msg=first$`).MatchString(lines[0]) {
				t.Errorf("the first line is %q", lines[0])
			}
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "<28>") || !strings.Contains(last, fmt.Sprintf("count=%d", l.lost())) {
				t.Errorf("the last line is %q, %d were lost", last, l.lost())
			}
			if line := lines[len(lines)-2]; !regexp.MustCompile(`^<27>.*msg=last n=1$`).MatchString(line) {
				t.Errorf("the last before is %q", line)
			}
		})
	}
}

// TestSyslogComesLate finds syslog when it comes.
func TestSyslogComesLate(t *testing.T) {
	s := newFakeSyslog(t, "unixgram")
	there := make(chan struct{})
	l, err := newSyslogging(func() (*syslog.Writer, error) {
		select {
		case <-there:
			return s.dial()
		default:
			return nil, errors.New("not yet")
		}
	})
	if err == nil || err.Error() != "not yet" {
		t.Errorf("no syslog: %v", err)
	}
	defer l.close()
	l.logger().Info("too early")
	close(there)
	stop := make(chan struct{})
	var speaking sync.WaitGroup
	speaking.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				l.logger().Warn("late")
			}
		}
	})
	lines := s.read(t, "messages lost")
	close(stop)
	speaking.Wait()
	if !strings.Contains(lines[0], "msg=late") {
		t.Errorf("the first line is %q", lines[0])
	}
}

// TestSyslogThatHangs starts though connecting to syslog does not return.
func TestSyslogThatHangs(t *testing.T) {
	hangs := make(chan struct{})
	l, err := newSyslogging(func() (*syslog.Writer, error) { <-hangs; return nil, errors.New("gone") })
	if err == nil {
		t.Error("it is said to be there")
	}
	l.logger().Info("hello")
	l.close()
	close(hangs)
	<-l.queue.ended
	if l.lost() != 1 {
		t.Errorf("%d messages lost", l.lost())
	}
}

// Durations carry their unit, in each format and wherever they stand.
func TestDurationsCarryTheirUnit(t *testing.T) {
	s := newFakeSyslog(t, "unixgram")
	var text, object lockedBuffer
	toSyslog, err := newSyslogging(s.dial)
	if err != nil {
		t.Fatal(err)
	}
	plain, json := newLogging(&text), newLogging(&object)
	json.set(spec.Log{Format: spec.LogJSON})
	toSyslog.set(spec.Log{Format: spec.LogJSON})
	for _, l := range []*logging{plain, json, toSyslog} {
		l.logger().With("pause", 5*time.Millisecond).Info("x", "duration", 1500*time.Millisecond, slog.Group("of", "took", 90*time.Second))
		l.close()
	}
	if got, want := text.String(), "pause=5ms duration=1.5s of.took=1m30s\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	want := `"pause":"5ms","duration":"1.5s","of":{"took":"1m30s"}}`
	if got := object.String(); !strings.HasSuffix(got, want+"\n") {
		t.Errorf("%q, want %q", got, want)
	}
	if lines := s.read(t, "duration"); !strings.HasSuffix(lines[0], want) {
		t.Errorf("%q, want %q", lines[0], want)
	}
}
