package health

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"balance/engine/spec"
)

// program returns a target that is checked by a shell script.
func program(t *testing.T, script string, args ...string) Target {
	t.Helper()
	file := filepath.Join(t.TempDir(), "check_it")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	check := spec.DefaultCheck()
	check.Type, check.Command = spec.CheckExec, append([]string{file}, args...)
	check.Timeout = 10 * time.Second
	return Target{Listener: "web", Host: "db1", Port: 5432, Check: check}
}

func TestExec(t *testing.T) {
	for _, test := range []struct {
		name, script string
		args         []string
		want         Outcome
		answer       string
	}{
		{"up", "echo 'TCP OK - 0.1 s|time=0.1'; echo more", nil, Passed, "check_it: TCP OK - 0.1 s|time=0.1"},
		{"up in silence", "exit 0", nil, Passed, "check_it: exit status 0"},
		{"critical", "echo 'CRITICAL - no'; exit 2", nil, Answered, "check_it: CRITICAL - no"},
		{"a warning is not up", "echo WARNING; exit 1", nil, Answered, "check_it: WARNING"},
		{"down in silence", "exit 3", nil, Answered, "check_it: exit status 3"},
		{"killed", "kill -9 $$", nil, Answered, "check_it: signal: killed"},
		{"complaint", "echo 'no such thing' >&2; exit 3", nil, Answered, "check_it: no such thing"},
		{"arguments", `printf '%s,' "$@"`, []string{"-H", "{host}", "-p{port}", "$HOME; x", "*"}, Passed, "check_it: -H,db1,-p5432,$HOME; x,*,"},
		{"environment", `echo "$BALANCE_LISTENER $BALANCE_HOST $BALANCE_PORT $LANG [$SECRET] $(env | wc -l)"`, nil, Passed, "check_it: web db1 5432 C [] "},
		{"nothing to read", "read x || echo nothing", nil, Passed, "check_it: nothing"},
		{"escapes", `printf '\033[2Jclear\007\377 \n'`, nil, Passed, "check_it: ?[2Jclear??"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SECRET", "secret")
			r := Once(t.Context(), program(t, test.script, test.args...), nil, nil)
			if r.Outcome != test.want || !strings.HasPrefix(r.Answer, test.answer) {
				t.Errorf("%v, %q, want %v and %q", r.Outcome, r.Answer, test.want, test.answer)
			}
		})
	}
}

// TestPluginPrintsMuch has a program print 1 MiB of escapes without a line's end.
func TestPluginPrintsMuch(t *testing.T) {
	r := Once(t.Context(), program(t, `head -c 1048576 /dev/zero | tr '\0' '\033'; exit 2`), nil, nil)
	if r.Outcome != Answered || len(r.Answer) > maxWords || strings.Contains(r.Answer, "\x1b") {
		t.Errorf("%+v", r)
	}
}

func TestOutputIsBounded(t *testing.T) {
	var o output
	for range 1000 {
		if n, err := o.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(o.kept) != maxOutput {
		t.Errorf("%d bytes are kept, want %d", len(o.kept), maxOutput)
	}
}

// TestPluginHangs has a program fork a child, both of which hang.
func TestPluginHangs(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	target := program(t, `sleep 1000 & echo $! $$ >"$1.new"; mv "$1.new" "$1"; echo begun; wait`, pids)
	target.Check.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	go func() {
		for {
			if _, err := os.Stat(pids); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
	}()
	Once(ctx, target, nil, nil)
	gone(t, pids)
	target.Check.Timeout = 300 * time.Millisecond
	r := Once(t.Context(), target, nil, nil)
	if r.Outcome != TimedOut || r.Answer != "check_it has not ended within 300ms" {
		t.Errorf("%+v", r)
	}
	gone(t, pids)
}

// TestPluginLeavesAChild has a program end while its child holds on to its output.
func TestPluginLeavesAChild(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	began := time.Now()
	target := program(t, `sleep 1000 & echo $! >"$1"; echo fine`, pids)
	target.Check.Timeout = time.Minute
	r := Once(t.Context(), target, nil, nil)
	if r.Outcome != Passed || r.Answer != "check_it: fine" {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	gone(t, pids)
}

// TestChildThatLeft has a child leave the group, with the output: it is not waited
// for.
func TestChildThatLeft(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	target := program(t, `setsid sleep 1000 & echo $! >"$1"; sleep 0.2; echo fine`, pids)
	target.Check.Timeout = time.Minute
	r := Once(t.Context(), target, nil, nil)
	if r.Outcome != Passed || r.Took > 30*time.Second {
		t.Errorf("%+v", r)
	}
	for _, pid := range numbers(t, pids) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func numbers(t *testing.T, file string) (all []int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pid)
	}
	return all
}

// gone waits until the processes in a file are gone, or are known to nobody but
// who has to wait for them.
func gone(t *testing.T, file string) {
	t.Helper()
	for _, pid := range numbers(t, file) {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("process %d still runs", pid)
				syscall.Kill(pid, syscall.SIGKILL)
				break
			}
		}
	}
	os.Remove(file)
}

func TestProgramCannotRun(t *testing.T) {
	target := program(t, "exit 0")
	k, err := newExec(&target.Check)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(target.Check.Command[0])
	p := &probe{check: &target.Check, kind: k}
	if r := p.run(t.Context(), &target, nil, nil); r.Outcome != Local || !strings.Contains(r.Answer, "no such file") {
		t.Errorf("%+v", r)
	}
	target.Check.Command = []string{"/nowhere/check"}
	if r := Once(t.Context(), target, nil, nil); r.Outcome != Local || !strings.Contains(r.Answer, "cannot check") {
		t.Errorf("%+v", r)
	}
}

// TestPluginCannotBeKilled has programs that no kill ends until the test allows it.
func TestPluginCannotBeKilled(t *testing.T) {
	var mu sync.Mutex
	groups := map[int]bool{}
	mortal := false
	target := program(t, "exec sleep 60")
	target.Check.Type, target.Check.Timeout = playedType, 300*time.Millisecond
	k := &execKind{path: target.Check.Command[0], kill: func(group int) {
		mu.Lock()
		defer mu.Unlock()
		groups[group] = true
		if mortal {
			killGroup(group)
		}
	}}
	kinds[playedType] = func(*spec.Check) (kind, error) { return k, nil }
	defer delete(kinds, playedType)
	defer func() {
		mu.Lock()
		mortal = true
		for group := range groups {
			killGroup(group)
		}
		mu.Unlock()
		for deadline := time.Now().Add(30 * time.Second); programsLeft.Load() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d programs are left behind after they have ended", programsLeft.Load())
			}
		}
	}()
	began := time.Now()
	r := scheduledResult(t, target) // and closes its Checks
	if r.Outcome != TimedOut || r.Answer != "check_it has not ended within 300ms" {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the check and Close took %s", took)
	}
	if programsLeft.Load() == 0 {
		t.Error("no program is left behind")
	}
	programsLeft.Add(maxProgramsLeft)
	r = Once(t.Context(), target, nil, nil)
	programsLeft.Add(-maxProgramsLeft)
	if r.Outcome != Local || !strings.HasSuffix(r.Answer, "too many programs cannot be ended") {
		t.Errorf("beside too many: %+v", r)
	}
}
