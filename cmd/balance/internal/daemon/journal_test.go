package daemon

import (
	"balance/engine/spec"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeJournal is a socket like that of the journal, from which nobody reads yet.
type fakeJournal struct {
	*net.UnixConn
	path string
}

func newFakeJournal(t *testing.T, path string) *fakeJournal {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &fakeJournal{conn, path}
}

// vanish ends the socket, with what it has not read.
func (j *fakeJournal) vanish(t *testing.T) {
	t.Helper()
	if err := errors.Join(j.Close(), os.Remove(j.path)); err != nil {
		t.Fatal(err)
	}
}

// next returns the fields of the next record.
func (j *fakeJournal) next(t *testing.T) map[string]string {
	t.Helper()
	j.SetReadDeadline(time.Now().Add(patience))
	datagram := make([]byte, 1<<20)
	n, err := j.Read(datagram)
	if err != nil {
		t.Fatal(err)
	}
	fields, err := parseFields(string(datagram[:n]))
	if err != nil {
		t.Fatalf("%v in %q", err, datagram[:n])
	}
	return fields
}

// parseFields reads a record as the journal does.
func parseFields(record string) (map[string]string, error) {
	fields := map[string]string{}
	for record != "" {
		line, rest, whole := strings.Cut(record, "\n")
		name, value, short := strings.Cut(line, "=")
		if !short {
			if len(rest) < 8 {
				return nil, fmt.Errorf("no length behind %q", name)
			}
			n := binary.LittleEndian.Uint64([]byte(rest[:8]))
			if rest = rest[8:]; n >= uint64(len(rest)) || rest[n] != '\n' {
				return nil, fmt.Errorf("%q says to have %d bytes", name, n)
			}
			value, rest = rest[:n], rest[n+1:]
		}
		_, twice := fields[name]
		if !whole || twice || name == "" || len(name) > 64 || name[0] == '_' || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
			return nil, fmt.Errorf("field %q", name)
		}
		fields[name], record = value, rest
	}
	return fields, nil
}

// TestJournalFields sends each attribute as a field.
func TestJournalFields(t *testing.T) {
	const long = "a_name_of_which_nobody_knows_why_it_is_as_long_as_it_is_or_longer"
	for _, test := range []struct {
		name string
		say  func(*slog.Logger)
		want map[string]string // beside BALANCE_MSG and SYSLOG_IDENTIFIER
	}{
		{"alone", func(l *slog.Logger) { l.Info("x") },
			map[string]string{"PRIORITY": "6", "MESSAGE": "msg=x"}},
		{"warning", func(l *slog.Logger) {
			l.Warn("x", "listener", "web 1", "channel", netip.MustParseAddrPort("10.0.0.1:80"), "error", errors.New("connection refused"))
		}, map[string]string{"PRIORITY": "4", "MESSAGE": `msg=x listener="web 1" channel=10.0.0.1:80 error="connection refused"`,
			"BALANCE_LISTENER": "web 1", "BALANCE_CHANNEL": "10.0.0.1:80", "BALANCE_ERROR": "connection refused"}},
		{"error", func(l *slog.Logger) { l.Error("x", "held_off", 1500*time.Millisecond, "n", uint64(7)) },
			map[string]string{"PRIORITY": "3", "MESSAGE": "msg=x held_off=1.5s n=7", "BALANCE_HELD_OFF": "1.5s", "BALANCE_N": "7"}},
		{"debug", func(l *slog.Logger) { l.Debug("x") }, map[string]string{"PRIORITY": "7", "MESSAGE": "msg=x"}},
		{"with", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("of").With("b", 2).Info("x", "c", 3, slog.Group("and", "d", 4), slog.Group("", "e", 5), slog.Attr{})
		}, map[string]string{"PRIORITY": "6", "MESSAGE": "msg=x a=1 of.b=2 of.c=3 of.and.d=4 of.e=5",
			"BALANCE_A": "1", "BALANCE_OF_B": "2", "BALANCE_OF_C": "3", "BALANCE_OF_AND_D": "4", "BALANCE_OF_E": "5"}},
		{"lines", func(l *slog.Logger) { l.Info("x", "error", "one\ntwo=2\n") },
			map[string]string{"PRIORITY": "6", "MESSAGE": `msg=x error="one\ntwo=2\n"`, "BALANCE_ERROR": "one\ntwo=2\n"}},
		{"hostile", func(l *slog.Logger) { l.Info("x", "error", "\x1b[2J\x00\n", "reason", "\xff") },
			map[string]string{"PRIORITY": "6", "MESSAGE": `msg=x error="\x1b[2J\x00\n" reason="\xff"`,
				"BALANCE_ERROR": `"\x1b[2J\x00\n"`, "BALANCE_REASON": `"\xff"`}},
		{"names", func(l *slog.Logger) { l.Info("x", "max-age é", 1, long, 2) },
			map[string]string{"PRIORITY": "6", "MESSAGE": `msg=x "max-age é"=1 ` + long + "=2",
				"BALANCE_MAX_AGE__": "1", strings.ToUpper("balance_" + long)[:64]: "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := newFakeJournal(t, filepath.Join(t.TempDir(), "socket"))
			var lines lockedBuffer
			l := newJournaling(&journal{path: j.path, lines: &lines})
			l.set(spec.Log{Level: spec.LogDebug})
			test.say(l.logger())
			test.want["SYSLOG_IDENTIFIER"], test.want["BALANCE_MSG"] = "balance", "x"
			if got := j.next(t); !maps.Equal(got, test.want) {
				t.Errorf("fields\n%q, want\n%q", got, test.want)
			}
			l.close()
			if lines.Len() > 0 {
				t.Errorf("there are lines, too: %q", lines.String())
			}
		})
	}
}

// TestJournalJSON has JSON as the message, and the same fields.
func TestJournalJSON(t *testing.T) {
	j := newFakeJournal(t, filepath.Join(t.TempDir(), "socket"))
	l := newJournaling(&journal{path: j.path})
	l.set(spec.Log{Format: spec.LogJSON})
	l.logger().Info("x", "pause", time.Second)
	got := j.next(t)
	l.close()
	if want := `{"msg":"x","pause":"1s"}`; got["MESSAGE"] != want || got["BALANCE_PAUSE"] != "1s" {
		t.Errorf("fields %q, want the message %s", got, want)
	}
}

// TestJournalNobodyReads logs to a journal that is stuck, then reads on.
func TestJournalNobodyReads(t *testing.T) {
	j := newFakeJournal(t, filepath.Join(t.TempDir(), "socket"))
	var lines lockedBuffer
	l := newJournaling(&journal{path: j.path, lines: &lines})
	for i := range 2 * queueSize {
		l.sessionLogger().Info("session", "n", i)
	}
	l.logger().Error("last", "n", 1)
	next, lost, last := 0, 0, false
	for !last || uint64(lost) != l.lost() {
		fields := j.next(t)
		switch n, _ := strconv.Atoi(fields["BALANCE_N"]); fields["BALANCE_MSG"] {
		case "session":
			if n < next {
				t.Fatalf("session %d comes after %d", n, next-1)
			}
			next = n + 1
		case "last":
			last = true
		case "messages lost":
			count, _ := strconv.Atoi(fields["BALANCE_COUNT"])
			lost += count
		default:
			t.Fatalf("fields %q", fields)
		}
	}
	l.close()
	if l.lost() == 0 || lines.Len() > 0 {
		t.Errorf("%d messages are lost, the lines are %q", l.lost(), lines.String())
	}
}

// TestJournalEndsUnread ends a log whose journal is stuck, with the process or
// with the journal.
func TestJournalEndsUnread(t *testing.T) {
	j := newFakeJournal(t, filepath.Join(t.TempDir(), "socket"))
	l := newJournaling(&journal{path: j.path, lines: new(lockedBuffer)})
	for range queueSize {
		l.logger().Info("unread")
	}
	l.close()
	select {
	case <-l.queue.ended:
		t.Error("the socket takes all of them")
	default:
	}
	j.vanish(t)
	<-l.queue.ended
}

// TestJournalComesAndGoes takes lines where there is no journal.
func TestJournalComesAndGoes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	var lines lockedBuffer
	l := newJournaling(&journal{path: path, lines: &lines})
	defer l.close()
	log, told := l.logger(), 0
	line := func(message, want string) {
		t.Helper()
		log.Warn(message)
		for end := time.Now().Add(patience); lines.Len() == told; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("there is no line %q", want)
			}
		}
		if got := lines.String()[told:]; got != want {
			t.Fatalf("the line is %q, want %q", got, want)
		}
		told = lines.Len()
	}
	field := func(j *fakeJournal, message string) {
		t.Helper()
		log.Warn(message)
		if got := j.next(t)["BALANCE_MSG"]; got != message {
			t.Fatalf("the message is %q, want %q", got, message)
		}
	}
	line("before", "<4>msg=before\n")
	j := newFakeJournal(t, path)
	field(j, "there")
	j.vanish(t)
	j = newFakeJournal(t, path)
	field(j, "another")
	long := strings.Repeat("x", 4<<20)
	line(long, "<4>msg="+long+"\n")
	field(j, "short")
	j.Close() // whose file stays, as that of a process that was killed
	line("refused", "<4>msg=refused\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	line("gone", "<4>msg=gone\n")
	field(newFakeJournal(t, path), "back")
	if lines.Len() != told {
		t.Errorf("there are lines, too: %q", lines.String()[told:])
	}
}
