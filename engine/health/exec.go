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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"balance/engine/spec"
)

// execKind runs a program, as monitoring plugins are: exit 0 is up, and the first
// line that it prints is the reason. It is run without a shell, with nothing to
// read, a small environment and a process group of its own. All of the group are
// killed when the program has exited or the time is over; a child that has left it
// (setsid(2), setpgid(2)) is not, but is not waited for either.
// A program that cannot be killed is left behind. Where the check goes to a unix
// socket, the host that it is told is "unix:" and the path, and the port is empty.
type execKind struct {
	path string
	args []string
	kill func(group int)
}

const (
	maxOutput = 4 << 10 // bytes of what a program prints that are looked at; the rest is read and let go
	// pipeDelay is how long a child that left the group may hold the program's
	// output open after its end.
	pipeDelay = 100 * time.Millisecond
	// killDelay is how long a program that was killed may take to end before it is
	// left behind.
	killDelay = 500 * time.Millisecond
	// maxProgramsLeft is how many programs are left behind before no other is run.
	// Those that run at that time may still come to it.
	maxProgramsLeft = 64
)

// programsLeft is how many programs were left behind that have not ended.
var programsLeft atomic.Int32

func newExec(check *spec.Check) (kind, error) {
	if len(check.Command) == 0 {
		return nil, errors.New("command is empty")
	}
	path, err := exec.LookPath(check.Command[0])
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	return &execKind{path: path, args: check.Command[1:], kill: killGroup}, nil
}

func (k *execKind) ask(ctx context.Context, v *visit) (string, error) {
	host, port := v.target.Host, strconv.Itoa(int(v.target.Port))
	if _, unix := v.target.unix(); unix {
		port = ""
	}
	replace := strings.NewReplacer("{host}", host, "{port}", port)
	if programsLeft.Load() >= maxProgramsLeft {
		return "", failed(Local, "cannot run %s: too many programs cannot be ended", k.path)
	}
	program := exec.Command(k.path)
	for _, arg := range k.args {
		program.Args = append(program.Args, replace.Replace(arg))
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	program.Env = []string{"PATH=" + path, "LANG=C",
		"BALANCE_LISTENER=" + v.target.Listener, "BALANCE_HOST=" + host, "BALANCE_PORT=" + port}
	r := &run{program: program, kill: k.kill, over: make(chan struct{})}
	program.Stdout, program.Stderr = &r.out, &r.complaints
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	program.WaitDelay = pipeDelay
	name := filepath.Base(k.path)
	began := time.Now()
	go r.wait()
	if !r.within(ctx) {
		v.took("run", began, "it cannot be ended")
		if ctx.Err() == context.DeadlineExceeded {
			return "", failed(TimedOut, "%s has not ended within %s", name, v.target.Check.Timeout)
		}
		return "", failed(Local, "%s cannot be ended", name)
	}
	if r.unstarted != nil {
		return "", failed(Local, "cannot run %s: %s", k.path, cause(r.unstarted))
	}
	err := r.err
	line := r.out.line()
	if line == "" {
		line = r.complaints.line()
	}
	v.took("run", began, line)
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

// killGroup kills all of a group.
func killGroup(group int) { syscall.Kill(-group, syscall.SIGKILL) }

// run is a program under way.
type run struct {
	program         *exec.Cmd
	kill            func(group int)
	out, complaints output        // of the program until over is closed
	over            chan struct{} // closed when the program has ended, or could not be started
	unstarted       error         // why it could not be started; to be read when it is over
	err             error         // of its end; to be read when it is over

	mu     sync.Mutex
	doomed bool // guarded by mu; its time is over
	group  int  // guarded by mu; 0 unless its number is not another's: it runs, or was not waited for
}

// wait runs the program to its end. Any of its steps may hang in the kernel, and
// killing may not be allowed or not help: a program of another user by setuid, one
// in an uninterruptible sleep, a file system that hangs in execve(2).
func (r *run) wait() {
	defer close(r.over)
	if r.unstarted = r.program.Start(); r.unstarted != nil {
		return
	}
	pid := r.program.Process.Pid
	r.mu.Lock()
	r.group = pid
	if r.doomed {
		r.kill(pid)
	}
	r.mu.Unlock()
	if awaitExit(pid) {
		r.mu.Lock()
		r.kill(pid) // what it has left behind
		r.group = 0
		r.mu.Unlock()
	}
	r.err = r.program.Wait()
	r.mu.Lock()
	r.group = 0
	r.mu.Unlock()
}

// within waits for the end of the program, which is killed when ctx ends. It
// reports false if that was to no avail.
func (r *run) within(ctx context.Context) bool {
	select {
	case <-r.over:
		return true
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.doomed = true
	if r.group != 0 {
		r.kill(r.group)
	}
	r.mu.Unlock()
	timer := time.NewTimer(killDelay)
	defer timer.Stop()
	select {
	case <-r.over:
		return true
	case <-timer.C:
	}
	programsLeft.Add(1)
	go func() {
		<-r.over
		programsLeft.Add(-1)
	}()
	return false
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
