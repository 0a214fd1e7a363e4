//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// roleVariable tells a copy of this program what to be instead.
	roleVariable  = "BALANCE_BENCH_ROLE"
	roleBackend   = "backend"
	roleGenerator = "generator"

	startTimeout = 5 * time.Second
	stopTimeout  = 2 * time.Second
)

// playRole does what roleVariable asks of a child process; ok is false in a
// process that is not one.
func playRole() (ok bool, err error) {
	switch os.Getenv(roleVariable) {
	case roleBackend:
		return true, serveBackend(os.Stdout)
	case roleGenerator:
		return true, generate(os.Stdin, os.Stdout)
	}
	return false, nil
}

// process is a running child. Its starter stops it.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and been waited for
}

// start runs cmd in a process group of its own, which gets the signal death
// if the thread that started it ends: callers stay locked to theirs.
func start(cmd *exec.Cmd, death syscall.Signal) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

// wait ends when the process does. What it left in its group is killed while
// the process is still a zombie, so that its number means no other group.
func (p *process) wait() {
	defer close(p.done)
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, p.pid(), nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err == nil {
		unix.Kill(-p.pid(), unix.SIGKILL)
	}
	p.cmd.Wait()
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop ends the process and its group, with a moment to do so by itself, and
// waits for it.
func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// self makes a command of this program in another role.
func self(role string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	return cmd, nil
}

// startBackend starts a backend and returns its address.
func startBackend() (*process, string, error) {
	cmd, err := self(roleBackend)
	if err != nil {
		return nil, "", err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	p, err := start(cmd, syscall.SIGKILL)
	w.Close()
	if err != nil {
		return nil, "", fmt.Errorf("start a backend: %w", err)
	}
	r.SetReadDeadline(time.Now().Add(startTimeout))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("read the address of a backend: %w", err)
	}
	return p, strings.TrimSpace(line), nil
}

// runJob has a generator process do the job.
func runJob(ctx context.Context, j job) (sample, error) {
	// Opening, stalls and the last answers come on top of the load itself.
	ctx, cancel := context.WithTimeout(ctx, j.Warm+j.Duration+2*j.Settle+6*stallTimeout)
	defer cancel()
	cmd, err := self(roleGenerator)
	if err != nil {
		return sample{}, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return sample{}, err
	}
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	p, err := start(cmd, syscall.SIGKILL)
	if err != nil {
		return sample{}, fmt.Errorf("start a generator: %w", err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.stop()
		return sample{}, fmt.Errorf("the generator was ended: %w", context.Cause(ctx))
	}
	if !cmd.ProcessState.Success() {
		return sample{}, fmt.Errorf("the generator failed, %v: %s", cmd.ProcessState, lastLine(complaint.Bytes()))
	}
	var s sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return sample{}, fmt.Errorf("read the generator's sample: %w", err)
	}
	return s, nil
}

// freeAddress is a loopback address that nobody listens on now. Somebody may
// by the time it is used: callers try again.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// checkRelay waits until the proxy p relays at address, and proves it by
// round trips over several connections.
func checkRelay(ctx context.Context, p *process, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := relayOnce(ctx, address)
		switch {
		case err == nil:
			for range 3 {
				if err := relayOnce(ctx, address); err != nil {
					return err
				}
			}
			return nil
		case p.ended():
			return fmt.Errorf("it has ended: %v", p.cmd.ProcessState)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing relayed after %v: %w", startTimeout, err)
		case <-p.done:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// relayOnce makes one round trip on a connection of its own.
func relayOnce(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startTimeout / 2))
	request := bytes.Repeat([]byte{modeEcho}, messageSize)
	if _, err := conn.Write(request); err != nil {
		return err
	}
	answer := make([]byte, len(request))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if !bytes.Equal(answer, request) {
		return errors.New("the answer is not what the backend sent")
	}
	return nil
}
