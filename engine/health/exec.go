package health

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"balance/engine/spec"
)

// execKind runs a program, as monitoring plugins are: exit 0 is up, and the first
// line that it prints is the reason. It is run without a shell, with nothing to
// read, a small environment and a process group of its own. All of the group are
// killed when the program has exited or the time is over; a child that has left it
// (setsid(2), setpgid(2)) is not, but is not waited for either.
type execKind struct {
	path string
	args []string
}

const (
	maxOutput = 4 << 10 // bytes of what a program prints that are looked at; the rest is read and let go
	// pipeDelay is how long a child that left the group may hold the program's
	// output open after its end.
	pipeDelay = 100 * time.Millisecond
)

func newExec(check *spec.Check) (kind, error) {
	if len(check.Command) == 0 {
		return nil, errors.New("command is empty")
	}
	path, err := exec.LookPath(check.Command[0])
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	return &execKind{path: path, args: check.Command[1:]}, nil
}

func (k *execKind) ask(ctx context.Context, v *visit) (string, error) {
	host, port := v.target.Host, strconv.Itoa(int(v.target.Port))
	replace := strings.NewReplacer("{host}", host, "{port}", port)
	program := exec.CommandContext(ctx, k.path)
	for _, arg := range k.args {
		program.Args = append(program.Args, replace.Replace(arg))
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	program.Env = []string{"PATH=" + path, "LANG=C",
		"BALANCE_LISTENER=" + v.target.Listener, "BALANCE_HOST=" + host, "BALANCE_PORT=" + port}
	var out, complaints output
	program.Stdout, program.Stderr = &out, &complaints
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	program.WaitDelay = pipeDelay
	program.Cancel = func() error { return killGroup(program) }
	began := time.Now()
	if err := program.Start(); err != nil {
		return "", failed(Local, "cannot run %s: %s", k.path, cause(err))
	}
	if awaitExit(program.Process.Pid) {
		killGroup(program) // what it has left behind
	}
	err := program.Wait()
	line := out.line()
	if line == "" {
		line = complaints.line()
	}
	v.took("run", began, line)
	name := filepath.Base(k.path)
	var exit *exec.ExitError
	switch {
	case ctx.Err() == context.DeadlineExceeded:
		return "", failed(TimedOut, "%s has not ended within %s", name, v.target.Check.Timeout)
	case ctx.Err() != nil:
		return "", failed(Local, "%s was ended", name)
	case errors.As(err, &exit):
		if line == "" {
			line = exit.ProcessState.String()
		}
		return "", failed(Answered, "%s: %s", name, line)
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return "", failed(Local, "cannot run %s: %s", k.path, cause(err))
	case line == "":
		line = "exit status 0"
	}
	return name + ": " + line, nil
}

// killGroup kills the program and all of its group. The program must not have been
// waited for, so that its number is not another's by now.
func killGroup(program *exec.Cmd) error {
	return syscall.Kill(-program.Process.Pid, syscall.SIGKILL)
}

// output keeps the beginning of what a program prints.
type output struct{ kept []byte }

func (o *output) Write(p []byte) (int, error) {
	o.kept = append(o.kept, p[:min(len(p), maxOutput-len(o.kept))]...)
	return len(p), nil
}

// line returns the first line, in printable characters.
func (o *output) line() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(o.kept), []byte("\n"))
	return printable(strings.TrimSpace(string(line)))
}
