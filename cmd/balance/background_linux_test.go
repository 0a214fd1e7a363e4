package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"balance/cmd/balance/internal/exit"
)

// adoptOrphans makes this process the parent of daemons whose parent has left.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// daemonized WORD finds the daemon with WORD among its arguments, checks that
// it has left the terminal, and ends it.
func daemonized(ts *testscript.TestScript, neg bool, args []string) {
	pid := orphan(ts, args[0])
	ended := false
	ts.Defer(func() {
		if !ended {
			unix.Kill(pid, unix.SIGKILL)
		}
	})
	proc := func(name string) string { return filepath.Join("/proc", strconv.Itoa(pid), name) }
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		ts.Fatalf("session %d, %v, want its own, %d", sid, err, pid)
	}
	if dir, err := os.Readlink(proc("cwd")); dir != "/" {
		ts.Fatalf("working directory %q, %v", dir, err)
	}
	for fd := range 3 {
		if file, err := os.Readlink(proc(fmt.Sprintf("fd/%d", fd))); file != "/dev/null" {
			ts.Fatalf("descriptor %d is %q, %v", fd, file, err)
		}
	}
	if file, err := os.Readlink(proc("fd/3")); strings.HasPrefix(file, "pipe:") {
		ts.Fatalf("the pipe to the parent is still open: %q, %v", file, err)
	}
	ts.Check(unix.Kill(pid, unix.SIGTERM))
	var code int
	if code, ended = orphanEnds(pid); !ended || code != exit.OK {
		ts.Fatalf("the daemon ended: %v, with %d", ended, code)
	}
}

// orphan finds the child of this process with the word among its arguments.
func orphan(ts *testscript.TestScript, word string) int {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	ts.Check(err)
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for child := range strings.FieldsSeq(string(children)) {
			cmdline, _ := os.ReadFile(filepath.Join("/proc", child, "cmdline"))
			for arg := range strings.SplitSeq(string(cmdline), "\x00") {
				if arg == word || strings.HasSuffix(arg, word) {
					pid, err := strconv.Atoi(child)
					ts.Check(err)
					return pid
				}
			}
		}
	}
	ts.Fatalf("there is no daemon with %q among its arguments", word)
	return 0
}
