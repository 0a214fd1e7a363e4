package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestDemo does what the demonstration tells its user to try.
func TestDemo(t *testing.T) {
	out := new(lockedBuffer)
	program := exec.Command("balance", "-demo")
	temporary := t.TempDir()
	program.Env = append(os.Environ(), "TMPDIR="+temporary, "RUNTIME_DIRECTORY="+t.TempDir())
	program.Stdout, program.Stderr = out, out
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- program.Wait() }()
	defer program.Process.Kill()
	await := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain until %s:\n%s", what, out)
			}
		}
	}
	find := func(pattern string) string {
		t.Helper()
		var found []string
		await("it prints "+pattern, func() bool {
			found = regexp.MustCompile(pattern).FindStringSubmatch(out.String())
			return found != nil
		})
		return found[1]
	}
	url, file := find(`listens on (http://127.0.0.1:\d+/)`), find(`The configuration is (\S+)`)
	find("(msg=listening)")
	get := func() string {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		answer, err := client.Get(url)
		if err != nil {
			return err.Error()
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		return strings.Fields(string(body))[3] // hello from server A on …
	}
	if got := get() + get() + get() + get(); got != "ABCA" {
		t.Errorf("served by %s:\n%s", got, out)
	}

	var pid int
	fmt.Sscan(find(`A  127.0.0.1:\d+  process (\d+)`), &pid)
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await("B and C serve alone", func() bool {
		got := get() + get()
		return got == "BC" || got == "CB" // whom the server had when it was killed sees an error
	})

	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	only := find(`C  (127.0.0.1:\d+)`)
	edited := regexp.MustCompile(`channels = .*`).ReplaceAll(content, []byte(fmt.Sprintf("channels = [%q]", only)))
	if err := os.WriteFile(file, edited, 0o644); err != nil {
		t.Fatal(err)
	}
	await("C serves alone", func() bool { return get()+get() == "CC" })

	program.Process.Signal(syscall.SIGINT)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if left, _ := filepath.Glob(filepath.Join(temporary, "balance-demo-*")); len(left) > 0 {
		t.Errorf("it leaves %s", left)
	}
}
