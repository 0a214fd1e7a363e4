package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"
)

// TestJournal starts the daemon as systemd does, whose journal here is a file: each
// line has its priority, unless JOURNAL_STREAM is that of another file.
func TestJournal(t *testing.T) {
	t.Parallel()
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
			program := exec.Command("balance", "-config", path)
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
