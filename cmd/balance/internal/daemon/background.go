package daemon

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"balance/cmd/balance/internal/exit"
)

// The program goes to the background by starting itself again, since a Go
// process cannot fork. The child has a session of its own and a pipe on
// descriptor reportFD: on it goes what it would print on standard error while
// it starts, and readyMark once it listens. The parent leaves then.
const (
	backgroundEnv = "BALANCE_BACKGROUND"
	reportFD      = 3
	readyMark     = "\x00ready"
)

func isBackgroundChild() bool { return os.Getenv(backgroundEnv) != "" }

// goBackground returns once the child listens, or with the child's exit code
// and its message on stderr.
func goBackground(stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintf(stderr, "balance: go to the background: %v\n", err)
		return exit.System
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	report, childEnd, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer report.Close()
	child := exec.Command(self, os.Args[1:]...)
	child.Env = append(os.Environ(), backgroundEnv+"=1")
	child.ExtraFiles = []*os.File{childEnd}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = child.Start()
	childEnd.Close()
	if err != nil {
		return fail(err)
	}
	message, err := io.ReadAll(report)
	if err != nil {
		return fail(err)
	}
	warnings, ready := strings.CutSuffix(string(message), readyMark)
	io.WriteString(stderr, warnings)
	if ready {
		child.Process.Release()
		return exit.OK
	}
	if err := child.Wait(); err == nil {
		return fail(fmt.Errorf("it ended at once"))
	}
	if code := child.ProcessState.ExitCode(); code > 0 {
		return code
	}
	return fail(fmt.Errorf("it ended with %s", child.ProcessState))
}

// reportPipe is the child's end of the pipe to the parent.
func reportPipe() *os.File {
	syscall.CloseOnExec(reportFD)
	return os.NewFile(reportFD, "report")
}
