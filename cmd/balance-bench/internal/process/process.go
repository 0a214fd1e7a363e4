//go:build linux

// Package process starts and ends child processes, and tells what they and
// their descendants use of the machine.
package process

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopTimeout is how long a process may take to end by itself.
const stopTimeout = 2 * time.Second

// Process is a running child. Its starter stops it.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and been waited for
}

// Start runs cmd in a process group of its own, which gets the signal death
// if the thread that started it ends: callers stay locked to theirs.
func Start(cmd *exec.Cmd, death syscall.Signal) (*Process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

// wait ends when the process does. What it left in its group is killed while
// the process is still a zombie, so that its number means no other group.
func (p *Process) wait() {
	defer close(p.done)
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, p.PID(), nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err == nil {
		unix.Kill(-p.PID(), unix.SIGKILL)
	}
	p.cmd.Wait()
}

// PID is the number of the process, and of its group.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed once the process has ended and been waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// State tells how the process ended, once Done is closed.
func (p *Process) State() *os.ProcessState { return p.cmd.ProcessState }

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Stop ends the process and its group, with a moment to do so by itself, and
// waits for it.
func (p *Process) Stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// LastLine is the end of what a process wrote, at most 300 bytes.
func LastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	line := lines[len(lines)-1]
	return line[:min(len(line), 300)]
}
