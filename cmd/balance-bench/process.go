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

	"balance/cmd/balance-bench/internal/process"
)

const (
	// roleVariable tells a copy of this program what to be instead.
	roleVariable  = "BALANCE_BENCH_ROLE"
	roleBackend   = "backend"
	roleGenerator = "generator"

	startTimeout = 5 * time.Second
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
func startBackend() (*process.Process, string, error) {
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
	p, err := process.Start(cmd, syscall.SIGKILL)
	w.Close()
	if err != nil {
		return nil, "", fmt.Errorf("start a backend: %w", err)
	}
	r.SetReadDeadline(time.Now().Add(startTimeout))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		p.Stop()
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
	p, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return sample{}, fmt.Errorf("start a generator: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop()
		return sample{}, fmt.Errorf("the generator was ended: %w", context.Cause(ctx))
	}
	if !p.State().Success() {
		return sample{}, fmt.Errorf("the generator failed, %v: %s", p.State(), process.LastLine(complaint.Bytes()))
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
func checkRelay(ctx context.Context, p *process.Process, address string) error {
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
		case p.Ended():
			return fmt.Errorf("it has ended: %v", p.State())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing relayed after %v: %w", startTimeout, err)
		case <-p.Done():
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
