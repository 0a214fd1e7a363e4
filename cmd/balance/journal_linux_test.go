package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// TestJournalStream starts the daemon as systemd does, whose journal here is a file
// and has no socket for fields: each line has its priority, unless JOURNAL_STREAM is
// that of another file.
func TestJournalStream(t *testing.T) {
	t.Parallel()
	if err := exec.Command("unshare", "-m", "true").Run(); err != nil {
		t.Skipf("this user may not hide the journal of this machine: %v", err)
	}
	for _, test := range []struct {
		name   string
		format string
		other  int // is added to the inode
		want   []string
	}{
		{"text", "text", 0, []string{`^<6>msg=listening listener=x `, `^<4>msg="channel fails" `}},
		{"JSON", "json", 0, []string{`^<6>\{"msg":"listening",`, `^<4>\{"msg":"channel fails",.*"held_off":"[0-9.]+m?s"\}`}},
		{"another file", "text", 1, []string{`^time=\S+ level=INFO msg=listening `, `^time=\S+ level=WARN msg="channel fails" `}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			listen, err := freeAddress()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "balance.toml")
			content := fmt.Sprintf("[log]\nformat = %q\n[[listener]]\nname = \"x\"\nlisten = %q\ngroup = [{ channels = [\"127.0.0.1:1\"] }]\n", test.format, listen)
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			journal, err := os.Create(filepath.Join(t.TempDir(), "journal"))
			if err != nil {
				t.Fatal(err)
			}
			defer journal.Close()
			info, err := journal.Stat()
			if err != nil {
				t.Fatal(err)
			}
			stat := info.Sys().(*syscall.Stat_t)
			program := exec.Command("unshare", "-m", "sh", "-c", `mount -t tmpfs none /run && exec balance -config "$0"`, path)
			program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+t.TempDir(), fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino+uint64(test.other)))
			program.Stderr = journal
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				program.Process.Signal(syscall.SIGTERM)
				if err := program.Wait(); err != nil {
					t.Error(err)
				}
			}()
			for _, want := range test.want {
				awaitFile(t, journal.Name(), want)
				greeting(listen.String()) // which makes the channel fail
			}
		})
	}
}

// withJournal runs a daemon with the file $1 whose standard error is a journal of
// its own, which ends and comes back at each line of input, and writes as JSON what
// the journal has. It ends with 77 if there can be none.
const withJournal = `
mount -t tmpfs none /run && mkdir -p /run/log /run/systemd/journald.conf.d || exit 77
printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\n' >/run/systemd/journald.conf.d/test.conf
start() {
	rm -f /run/systemd/journal/socket /run/systemd/journal/stdout
	env -u RUNTIME_DIRECTORY "$0" 2>/dev/null & journald=$!
	until [ -S /run/systemd/journal/stdout ]; do kill -0 $journald || exit 77; sleep 0.02; done
	journalctl --sync || exit 77 # then its files are there
}
start
systemd-cat -t stream sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec balance -config "$0"' "$1" &
journalctl --quiet --follow --lines=all --output=json &
while read line; do
	kill $journald; wait $journald
	start; echo restarted >&2
done`

// TestJournalFields has a journal of its own, which shows the fields, also after
// it was started again.
func TestJournalFields(t *testing.T) {
	t.Parallel()
	const journald = "/lib/systemd/systemd-journald"
	for _, name := range []string{journald, "journalctl", "systemd-cat", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("skipped: %v", err)
		}
	}
	server, listen := serverAndAddress(t)
	d := &unread{listen: listen, dir: t.TempDir()}
	d.Cmd = exec.Command("unshare", "-m", "-p", "--fork", "--kill-child", "--mount-proc", "sh", "-c", withJournal, journald, unreadFile(t, "auto", listen, server))
	d.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.dir)
	stdin, err1 := d.StdinPipe()
	stdout, err2 := d.StdoutPipe()
	stderr, err3 := d.StderrPipe()
	if err := errors.Join(err1, err2, err3, d.Start()); err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(2*patience, func() { d.Process.Kill() })
	defer hangs.Stop()
	defer func() { d.Process.Kill(); d.Wait() }()

	entries := json.NewDecoder(stdout)
	expect := func(want map[string]string) {
		t.Helper()
		for {
			var entry map[string]any
			if err := entries.Decode(&entry); err != nil {
				said, _ := io.ReadAll(stderr)
				if d.Wait(); d.ProcessState.ExitCode() == 77 {
					t.Skipf("there can be no journal here: %s", said)
				}
				t.Fatalf("waiting for %v: %v, %s", want, err, said)
			}
			if entry["BALANCE_MSG"] != want["BALANCE_MSG"] {
				continue
			}
			want["SYSLOG_IDENTIFIER"], want["_TRANSPORT"], want["_COMM"] = "balance", "journal", "balance"
			for name, value := range want {
				if entry[name] != value {
					t.Errorf("%s is %q, want %q, in %v", name, entry[name], value, entry)
				}
			}
			return
		}
	}
	expect(map[string]string{"BALANCE_MSG": "listening", "PRIORITY": "6", "BALANCE_ADDRESS": listen.String(),
		"MESSAGE": fmt.Sprintf("msg=listening listener=%s address=%[1]s", listen)})
	d.command(t, "weight 0 2")
	expect(map[string]string{"BALANCE_MSG": "operator", "PRIORITY": "6", "BALANCE_WHAT": "weight", "BALANCE_CHANGE": "weight 1 → 2", "BALANCE_CHANNEL": server.String()})

	fmt.Fprintln(stdin)
	if line, err := bufio.NewReader(stderr).ReadString('\n'); line != "restarted\n" {
		t.Fatalf("%q, %v", line, err)
	}
	d.command(t, "weight 0 3")
	expect(map[string]string{"BALANCE_MSG": "operator", "BALANCE_CHANGE": "weight 2 → 3"})
}

func awaitFile(t *testing.T, path, want string) {
	t.Helper()
	pattern := regexp.MustCompile("(?m)" + want)
	var data []byte
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if data, _ = os.ReadFile(path); pattern.Match(data) {
			return
		}
	}
	t.Fatalf("the log does not match %s:\n%s", want, data)
}
