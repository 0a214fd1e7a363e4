package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

const cookbookPath = "../../docs/cookbook.md"

// TestCookbook runs what docs/cookbook.md tells to run, each section with a daemon
// and three sessions of its own, and compares what is printed but for numbers.
// BALANCE_WRITE=1 writes what was printed into it.
//
// The document speaks of addresses that are as long as those of the test, so that
// its tables stand in columns.
func TestCookbook(t *testing.T) {
	data, err := os.ReadFile(cookbookPath)
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.SplitAfter(string(data), "\n## ")
	_, file, found := strings.Cut(sections[0], "\n    [control]\n")
	if !found {
		t.Fatal("it has no file")
	}
	file, _, _ = strings.Cut("    [control]\n"+file, "\n\n[")
	var lines []string
	for line := range strings.Lines(file) {
		if code, ok := strings.CutPrefix(line, "    "); ok || strings.TrimSpace(line) == "" {
			lines = append(lines, code)
			continue
		}
		break
	}
	commands := 0
	for i, section := range sections[1:] {
		name, _, _ := strings.Cut(section, "\n")
		t.Run(name, func(t *testing.T) {
			k := newKitchen(t, strings.Join(lines, ""))
			sections[i+1] = k.cook(section)
			commands += k.commands
		})
	}
	if commands < 20 {
		t.Errorf("%d commands", commands)
	}
	if os.Getenv("BALANCE_WRITE") != "" {
		if err := os.WriteFile(cookbookPath, []byte(strings.Join(sections, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// kitchen is where a section of the cookbook is tried.
type kitchen struct {
	t        *testing.T
	dir      string
	there    *strings.Replacer // from the words of the document to those of the test
	back     *strings.Replacer
	env      []string
	daemon   *exec.Cmd
	clients  []net.Conn
	commands int
}

func newKitchen(t *testing.T, file string) *kitchen {
	k := &kitchen{t: t, dir: t.TempDir()}
	there := []string{"/etc/", k.dir + "/"}
	back := []string{k.dir + "/", "/etc/"}
	both := func(theirs, ours string) { there, back = append(there, theirs, ours), append(back, ours, theirs) }
	for _, theirs := range []string{"10.0.0.10:18080", "10.0.0.10:18081"} {
		addr, err := freeAddress()
		if err != nil {
			t.Fatal(err)
		}
		both(theirs, addr.String())
	}
	for _, host := range []string{"10.0.0.11", "10.0.0.12", "10.0.0.13"} {
		addr, stop, err := startServer(host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		there = append(there, host+`", port = 10080`, `127.0.0.1", port = `+portOf(addr))
		back = append(back, addr.String(), host+":10080", "127.0.0.1 "+portOf(addr), host+" 10080")
	}
	both("10.0.0.99", "127.0.0.1")
	both("10.0.0.0/24", "127.0.0.0/24")
	k.there, k.back = strings.NewReplacer(there...), strings.NewReplacer(back...)
	k.env = append(os.Environ(), "RUNTIME_DIRECTORY="+k.dir+"/run", "STATE_DIRECTORY="+k.dir+"/state", "TZ=UTC")
	if err := os.WriteFile(filepath.Join(k.dir, "balance.toml"), []byte(k.there.Replace(file)), 0o644); err != nil {
		t.Fatal(err)
	}
	k.start()
	t.Cleanup(k.stop)
	for range 3 {
		conn, err := net.Dial("tcp", k.there.Replace("10.0.0.10:18080"))
		if err != nil {
			t.Fatal(err)
		}
		k.clients = append(k.clients, conn)
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := conn.Read(make([]byte, 100)); err != nil { // the channel has greeted
			t.Fatal(err)
		}
	}
	return k
}

// start starts the daemon and waits until it can be asked.
func (k *kitchen) start() {
	log, err := os.OpenFile(k.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close()
	path, err := exec.LookPath("balance")
	if err != nil {
		k.t.Fatal(err)
	}
	k.daemon = exec.Command(path, "-config", k.dir+"/balance.toml")
	k.daemon.Env, k.daemon.Stderr = k.env, log
	if err := k.daemon.Start(); err != nil {
		k.t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		output, err := k.run("balance -c ready")
		if err == nil {
			return
		}
		if time.Now().After(end) {
			k.t.Fatalf("%v\n%s", err, output)
		}
	}
}

// stop ends the daemon, and the sessions before, for which it would wait.
func (k *kitchen) stop() {
	for _, conn := range k.clients {
		conn.Close()
	}
	k.daemon.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(patience, func() { k.daemon.Process.Kill() })
	defer timer.Stop()
	k.daemon.Wait()
}

// run runs a line of the document. The service manager and its journal are played
// by the test.
func (k *kitchen) run(line string) (string, error) {
	if line == "systemctl restart balance" {
		k.stop()
		k.start()
		return "", nil
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "sh", "-c", `journalctl() { cat log; }; `+k.there.Replace(line))
	command.Dir, command.Env = k.dir, k.env
	output, err := command.CombinedOutput()
	return string(output), err
}

// cook runs the commands of a section, and returns it with what they printed.
func (k *kitchen) cook(section string) string {
	var out, want strings.Builder
	command := ""
	check := func() {
		if command == "" {
			return
		}
		k.commands++
		output, err := k.run(command)
		if exit, ok := err.(*exec.ExitError); err != nil && !(ok && exit.ExitCode() == 2 && strings.Contains(command, "diff")) {
			k.t.Errorf("%s: %v", command, err)
		}
		if shape(k.back.Replace(output)) != shape(want.String()) && os.Getenv("BALANCE_WRITE") == "" {
			k.t.Errorf("%s prints\n%s\nnot\n%s", command, output, want.String())
		}
		for line := range strings.Lines(k.back.Replace(output)) {
			out.WriteString("    " + strings.TrimRight(line, " \n") + "\n")
		}
		command = ""
		want.Reset()
	}
	for line := range strings.Lines(section) {
		code, isCode := strings.CutPrefix(line, "    ")
		if !isCode {
			check()
			out.WriteString(line)
			continue
		}
		if next, ok := strings.CutPrefix(code, "$ "); ok {
			check()
			command, _, _ = strings.Cut(strings.TrimSuffix(next, "\n"), "   # ")
			out.WriteString(line)
		} else if command != "" {
			want.WriteString(code)
		} else {
			out.WriteString(line)
		}
	}
	check()
	return out.String()
}

// shape is a text without what differs from one run to the next: numbers, times,
// which user it was, and how wide columns are.
func shape(text string) string {
	text = regexp.MustCompile(`by [^ ]+ \(\d+\)`).ReplaceAllString(text, "by USER")
	text = regexp.MustCompile(`\d[\d.:TZ-]*(ms|[hmsµ]\b)?(\d+(ms|[hms]))*`).ReplaceAllString(text, "#")
	text = regexp.MustCompile(`(loops +#)( #)*`).ReplaceAllString(text, "$1") // one a processor
	return strings.TrimSpace(regexp.MustCompile(`[ \t]+|\n +`).ReplaceAllStringFunc(text, func(blank string) string {
		if strings.HasPrefix(blank, "\n") {
			return "\n"
		}
		return " "
	}))
}
