package planetest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownNetwork runs the test anew, in a process with a network of its own, and
// reports whether this is that process. Its network is a loopback and nothing
// else.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	const child = "PLANETEST_OWN_NETWORK"
	if os.Getenv(child) != "" {
		if err := loopbackUp(); err != nil {
			t.Skipf("no loopback: %v", err)
		}
		return true
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	again := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$")
	again.Env = append(os.Environ(), child+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if os.Getuid() != 0 {
		again.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	}
	var output strings.Builder
	again.Stdout, again.Stderr = &output, &output
	if err := again.Start(); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	err := again.Wait()
	switch {
	case strings.Contains(output.String(), "--- SKIP: "+t.Name()):
		t.Skipf("in a network of its own:\n%s", &output)
	case err != nil || !strings.Contains(output.String(), "--- PASS: "+t.Name()):
		t.Fatalf("in a network of its own: %v\n%s", err, &output)
	}
	return false
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// onlyPort makes the port the only one that connect picks, and free as soon as
// its connection is closed.
func onlyPort(t *testing.T, port uint16) {
	t.Helper()
	set(t, "ipv4/ip_local_port_range", fmt.Sprintf("%d %d", port, port))
	set(t, "ipv4/tcp_max_tw_buckets", "0") // no TIME-WAIT
}

// noIPv6 takes the IPv6 addresses from all interfaces.
func noIPv6(t *testing.T) {
	t.Helper()
	set(t, "ipv6/conf/all/disable_ipv6", "1")
}

// set sets a parameter of the network until the test ends.
func set(t *testing.T, name, value string) {
	t.Helper()
	path := "/proc/sys/net/" + name
	before, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	if err != nil {
		t.Skipf("the network cannot be set up: %v", err)
	}
	t.Cleanup(func() { os.WriteFile(path, before, 0) })
}
