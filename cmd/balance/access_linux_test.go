package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The users and groups of these tests; the groups stand in every /etc/group.
const daemonUser, someUser, memberGroup, readerGroup = "54321", "54322", "1", "2"

// unprivileged is the command line of another user without any capability, in
// the groups.
func unprivileged(user, groups string, args ...string) []string {
	supplementary := "--groups=" + groups
	if groups == "" {
		supplementary = "--clear-groups"
	}
	return append([]string{"setpriv", "--reuid=" + user, "--regid=" + user, supplementary,
		"--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"}, args...)
}

// accessRig is a daemon of a user of its own, which has /run/balance from a
// service manager, in a mount namespace.
type accessRig struct {
	*testing.T
	*loggedDaemon
	binary, file   string
	server, listen net.Addr
}

// newAccessRig starts a daemon that is a member of the groups, with the keys in
// [control].
func newAccessRig(t *testing.T, groups, keys string) *accessRig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	if err := exec.Command("unshare", "-m", "setpriv", "true").Run(); err != nil {
		t.Skipf("skipped: this user may not mount: %v", err)
	}
	server, listen := serverAndAddress(t)
	r := &accessRig{T: t, file: filepath.Join(openTempDir(t), "balance.toml"), server: server, listen: listen}
	binary, err := exec.LookPath("balance")
	if err != nil {
		t.Fatal(err)
	}
	r.binary = copyBinary(t, binary)
	r.write(keys)
	const service = `mount -t tmpfs -o mode=755 tmpfs /run && mkdir -m 700 /run/balance && chown "$0:$0" /run/balance &&
		RUNTIME_DIRECTORY=/run/balance exec "$@"`
	program := exec.Command("unshare", append([]string{"-m", "sh", "-c", service, daemonUser},
		unprivileged(daemonUser, groups, r.binary, "-config", r.file)...)...)
	program.Env = append(os.Environ(), "RUNTIME_DIRECTORY=")
	r.loggedDaemon = startHere(t, program)
	return r
}

// beside runs a program where the daemon runs.
func (r *accessRig) beside(args ...string) (string, error) {
	program := bounded(r.T, "nsenter", append([]string{"-t", fmt.Sprint(r.pid), "-m"}, args...)...)
	program.Env = append(os.Environ(), "RUNTIME_DIRECTORY=")
	out, err := program.CombinedOutput()
	return string(out), err
}

func (r *accessRig) write(keys string) {
	r.Helper()
	content := fmt.Sprintf("[control]\nwatch = false\n%s\n[[listener]]\nname = \"web\"\nlisten = %q\ngroup = [{ channels = [%q] }]\n", keys, r.listen, r.server)
	if err := os.WriteFile(r.file, []byte(content), 0o644); err != nil {
		r.Fatal(err)
	}
}

// expectFile holds the socket's file to a group, "" for any, and a mode.
func (r *accessRig) expectFile(group string, mode os.FileMode) {
	r.Helper()
	out, err := r.beside("stat", "-c", "%a %g", fmt.Sprintf("/run/balance/%d.sock", r.pid))
	has, gid, _ := strings.Cut(strings.TrimSpace(out), " ")
	if err != nil || has != fmt.Sprintf("%o", mode) || group != "" && gid != group {
		r.Errorf("the socket has mode and group %q (%v), want %o and %s", out, err, mode, group)
	}
}

// expect holds a user who is a member of the groups to what he may do.
func (r *accessRig) expect(user, groups string, reads, changes bool) {
	r.Helper()
	for _, c := range []struct {
		command string
		may     bool
	}{{"show", reads}, {"reset 0", changes}} {
		out, err := r.beside(unprivileged(user, groups, r.binary, "-c", c.command, portOf(r.listen))...)
		if (err == nil) != c.may {
			r.Errorf("user %s of %q: %s: %v: %s", user, groups, c.command, err, out)
		}
		if err != nil && !strings.Contains(out, "permission denied") {
			r.Errorf("user %s of %q: %s is not denied: %s", user, groups, c.command, out)
		}
	}
}

// A daemon of a user of its own gives its socket to a group that it is a member
// of, without any privilege.
func TestSocketForAGroup(t *testing.T) {
	t.Parallel()
	r := newAccessRig(t, memberGroup, `group = "`+memberGroup+`"`)
	r.expectFile(memberGroup, 0o660)
	r.expect(daemonUser, "", true, true)
	r.expect(someUser, memberGroup, true, true)
	r.expect(someUser, "", false, false)
	r.expect(someUser, readerGroup, false, false)
	if out, err := r.beside(r.binary, "-c", "reset 0", portOf(r.listen)); err != nil {
		t.Errorf("root: %v: %s", err, out)
	}
}

// Without that membership the socket is there all the same.
func TestSocketForAForeignGroup(t *testing.T) {
	t.Parallel()
	r := newAccessRig(t, "", `group = "`+memberGroup+`"`)
	r.await(t, 0, "user "+daemonUser+" is not a member of group "+memberGroup)
	r.expectFile(daemonUser, 0o600)
	r.expect(daemonUser, "", true, true)
	r.expect(someUser, memberGroup, false, false)
	if out, err := r.beside(r.binary, "-c", "reset 0", portOf(r.listen)); err != nil {
		t.Errorf("root: %v: %s", err, out)
	}
}

func TestSocketForReaders(t *testing.T) {
	t.Parallel()
	r := newAccessRig(t, memberGroup+","+readerGroup, `read_group = "`+readerGroup+`"`)
	r.expectFile(readerGroup, 0o660)
	r.expect(someUser, readerGroup, true, false)
	r.expect(someUser, memberGroup, false, false)

	reload := func(keys string) {
		t.Helper()
		r.write(keys)
		if out, err := r.beside(r.binary, "-c", "reload", portOf(r.listen)); err != nil {
			t.Errorf("reload: %v: %s", err, out)
		}
	}
	reload(`group = "` + memberGroup + `"` + "\nread_group = \"" + readerGroup + `"`)
	r.expectFile("", 0o666)
	r.expect(someUser, readerGroup, true, false)
	r.expect(someUser, memberGroup, true, true)
	r.expect(someUser, memberGroup+","+readerGroup, true, true)
	r.expect(someUser, "", false, false)
	reload(`group = "` + readerGroup + `"`)
	r.expectFile(readerGroup, 0o660)
	r.expect(someUser, readerGroup, true, true)
	r.expect(someUser, memberGroup, false, false)
	reload("")
	r.expectFile("", 0o600)
	r.expect(someUser, readerGroup, false, false)

	// What cannot be is said before anything changes.
	r.write(`read_group = "no-such-group-here"`)
	out, err := r.beside(r.binary, "-c", "reload", portOf(r.listen))
	if err == nil || !strings.Contains(out, `balance.toml:3: control group "no-such-group-here"`) {
		t.Errorf("%v: %s", err, out)
	}
	r.write("group = \"bin\"\nread_group = \"bin\"")
	out, err = r.beside(r.binary, "-check", "-config", r.file)
	if err == nil || !strings.Contains(out, `balance.toml:4: control: read_group "bin" is the group whose members may do everything`) {
		t.Errorf("%v: %s", err, out)
	}
}
