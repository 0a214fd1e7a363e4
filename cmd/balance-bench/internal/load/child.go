//go:build linux

package load

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
	roleServers   = "servers"
	roleGenerator = "generator"

	startTimeout = 5 * time.Second
	// probeSize is the bytes of a request of RoundTrip and of Fair, and of its
	// answer.
	probeSize = 64
)

// PlayRole is a backend or a generator, until that is done, in a process that
// was started to be one; in any other, played is false.
func PlayRole() (played bool, err error) {
	switch os.Getenv(roleVariable) {
	case roleBackend:
		return true, serveBackend(os.Stdout)
	case roleServers:
		return true, serveUnequally(os.Stdout)
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

// StartBackend starts a backend, which listens on a loopback port that the
// kernel picks, and returns its address. The caller stops it and, until then,
// stays locked to its thread.
func StartBackend() (*process.Process, string, error) {
	p, addresses, err := startListening(roleBackend, 1)
	if err != nil {
		return nil, "", err
	}
	return p, addresses[0], nil
}

// StartServers is StartBackend for the servers of Fair, one for each of
// ServiceTimes and all in one process.
func StartServers() (*process.Process, []string, error) {
	return startListening(roleServers, len(ServiceTimes))
}

// startListening starts a copy of this program that writes n addresses, a line
// each.
func startListening(role string, n int) (*process.Process, []string, error) {
	cmd, err := self(role)
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	p, err := process.Start(cmd, syscall.SIGKILL)
	w.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("start a backend: %w", err)
	}
	r.SetReadDeadline(time.Now().Add(startTimeout))
	lines := bufio.NewReader(r)
	addresses := make([]string, n)
	for i := range addresses {
		line, err := lines.ReadString('\n')
		if err != nil {
			p.Stop()
			return nil, nil, fmt.Errorf("read the address of a backend: %w", err)
		}
		addresses[i] = strings.TrimSpace(line)
	}
	return p, addresses, nil
}

// Run has a generator process do the job. It returns early with an error if ctx
// ends. The caller is locked to its thread.
func (j Job) Run(ctx context.Context) (Sample, error) {
	// Opening, stalls and the last answers come on top of the load itself.
	ctx, cancel := context.WithTimeout(ctx, j.Warm+j.Duration+2*j.Settle+6*stallTimeout)
	defer cancel()
	cmd, err := self(roleGenerator)
	if err != nil {
		return Sample{}, err
	}
	in, err := json.Marshal(j)
	if err != nil {
		return Sample{}, err
	}
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	p, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return Sample{}, fmt.Errorf("start a generator: %w", err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop()
		return Sample{}, fmt.Errorf("the generator was ended: %w", context.Cause(ctx))
	}
	if !p.State().Success() {
		return Sample{}, fmt.Errorf("the generator failed, %v: %s", p.State(), process.LastLine(complaint.Bytes()))
	}
	var s Sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return Sample{}, fmt.Errorf("read the generator's sample: %w", err)
	}
	return s, nil
}

// RoundTrip makes one round trip on a connection of its own, and fails unless a
// backend answers at the address, or whatever relays to one.
func RoundTrip(ctx context.Context, address string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startTimeout / 2))
	request := bytes.Repeat([]byte{modeEcho}, probeSize)
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
