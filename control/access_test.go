package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestLookupGroup(t *testing.T) {
	if _, err := LookupGroup("no-such-group-here"); err == nil || !strings.Contains(err.Error(), `"no-such-group-here"`) {
		t.Errorf("%v", err)
	}
	for group, want := range map[string]int{"": NoGroup, "0": 0} {
		if got, err := LookupGroup(group); err != nil || got != want {
			t.Errorf("%q: %d, %v", group, got, err)
		}
	}
}

// A file has one group and lets nobody else connect, but where two groups may.
func TestFileOfAccess(t *testing.T) {
	for _, c := range []struct {
		access Access
		group  int
		mode   fs.FileMode
	}{
		{Access{0o600, NoGroup, NoGroup}, NoGroup, 0o600},
		{Access{0o640, NoGroup, NoGroup}, NoGroup, 0o640},
		{Access{0o600, 7, NoGroup}, 7, 0o660},
		{Access{0o600, NoGroup, 8}, 8, 0o660},
		{Access{0o600, 7, 7}, 7, 0o660},
		{Access{0o600, 7, 8}, NoGroup, 0o666},
		{Access{0o600, 0, 8}, NoGroup, 0o666},
	} {
		group, mode := c.access.file()
		if group != c.group || mode != c.mode {
			t.Errorf("%+v: group %d, mode %o, want %d, %o", c.access, group, mode, c.group, c.mode)
		}
		if want := c.mode != 0o600; c.access.shared() != want {
			t.Errorf("%+v: shared %t", c.access, !want)
		}
	}
}

func TestRoles(t *testing.T) {
	process := func(uid int, groups ...int) credentials { return credentials{true, uid, groups} }
	me := os.Geteuid()
	other := me + 1
	for _, c := range []struct {
		group, readers int
		client         credentials
		want           role
	}{
		{NoGroup, NoGroup, process(0, 0), owner},
		{NoGroup, NoGroup, process(me), owner},
		{NoGroup, NoGroup, process(other, 0, 7), stranger},
		{NoGroup, NoGroup, process(other, NoGroup), stranger},
		{NoGroup, NoGroup, credentials{}, owner},
		{7, NoGroup, process(other, 7), member},
		{7, NoGroup, process(other, 1, 7, 2), member},
		{7, NoGroup, process(other, 8), stranger},
		{7, 8, process(other, 8), reader},
		{7, 8, process(other, 8, 7), member},
		{7, 7, process(other, 7), member},
		{NoGroup, 8, process(other, 8), reader},
		{NoGroup, 8, process(other, 7), stranger},
		{NoGroup, 8, process(me, 8), owner},
	} {
		if c.client.uid == 0 && c.client.known && c.want < owner {
			continue // root runs this test: it has no other user
		}
		if got := (Access{0o600, c.group, c.readers}).role(c.client); got != c.want {
			t.Errorf("group %d, readers %d, %+v: %d, want %d", c.group, c.readers, c.client, got, c.want)
		}
	}
}

// ask returns the whole answer to a request.
func ask(c *conversation, request string) ([]string, Status) {
	defer c.reply.release()
	lines, status := c.request(request)
	return slices.Collect(lines), status
}

// readable is what readers may say: what changes nothing, and no more of that
// than is needed to look at channels and sessions.
var readable = strings.Fields("quit show help group mrtg-bytes mrtg-conns version listeners listener sessions queue status why admit sources watch identify health events ready complete")

func TestReadersChangeNothing(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}))
	r.server.access.Store(&Access{0o600, 7, 8})
	arguments := map[string]string{
		"group": "0", "mrtg-bytes": "0 0", "mrtg-conns": "0 0", "listener": "web", "why": "10.0.0.1", "admit": "10.0.0.1", "complete": "s",
		"disable": "0", "enable": "0", "reset": "0", "create": "127.0.0.1 80", "assign": "0 127.0.0.1 80", "maxc": "0 1",
		"close": "1", "drain": "0", "check": "0",
	}
	for _, c := range commands() {
		before := r.engine.Snapshot().Generation
		conversation := r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}})
		lines, status := ask(conversation, c.name+" "+arguments[c.name])
		may := false
		for _, name := range readable {
			may = may || name == c.name
		}
		denied := status == Failed && strings.Join(lines, "\n") == "permission denied"
		if denied == may || may && status != OK {
			t.Errorf("%s: %q, status %d", c.name, lines, status)
		}
		if r.engine.Snapshot().Generation != before {
			t.Errorf("%s changes the configuration", c.name)
		}
	}
	select {
	case <-r.server.stopped:
		t.Error("a reader ends the daemon")
	default:
	}
	lines, _ := ask(r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}}), "help")
	if text := strings.Join(lines, "\n"); strings.Contains(text, "kill") || !strings.Contains(text, "sessions") {
		t.Errorf("what readers are offered:\n%s", text)
	}
	for _, line := range []string{"rollback ", "history ", "drain "} { // as the commands themselves
		lines, _ := ask(r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}}), fmt.Sprintf("complete %q", line))
		if len(lines) > 0 {
			t.Errorf("what readers are offered behind %q: %q", line, lines)
		}
	}
	lines, status := ask(r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}}), "ki")
	if status != Failed || lines[0] != "permission denied" {
		t.Errorf("a prefix: %q, status %d", lines, status)
	}
}

// The access of those who are connected changes with the configuration.
func TestAccessChangesLive(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	someone := r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}})
	for _, c := range []struct {
		access      Access
		show, reset Status
		over        bool
	}{
		{Access{0o600, 7, 8}, OK, Failed, false},
		{Access{0o600, 8, NoGroup}, OK, OK, false},
		{Access{0o600, NoGroup, 8}, OK, Failed, false},
		{Access{0o600, 7, NoGroup}, Failed, Failed, true},
	} {
		r.server.access.Store(&c.access)
		_, show := ask(someone, "show")
		_, reset := ask(someone, "reset 0")
		if show != c.show || reset != c.reset || someone.over != c.over {
			t.Errorf("%+v: %d %d %t", c.access, show, reset, someone.over)
		}
	}
}

// crowd has places taken by clients of so many users, all of them asking.
type crowd struct {
	*rig
	user int // the last
}

// fill admits n clients of as many users.
func (c *crowd) fill(role role, n int) (list []*client) {
	c.Helper()
	for range n {
		c.user++
		list = append(list, c.admit(c.user, role))
		c.server.asks(list[len(list)-1], true)
	}
	return list
}

func (c *crowd) admit(user int, role role) *client {
	c.Helper()
	admitted, refusal := c.server.admit(new(net.UnixConn), credentials{known: true, uid: user}, role)
	if refusal != "" {
		c.Fatal(refusal)
	}
	c.Cleanup(func() { c.server.leave(admitted) })
	return admitted
}

func (c *crowd) refused(user int, role role, why string) {
	c.Helper()
	if _, refusal := c.server.admit(new(net.UnixConn), credentials{known: true, uid: user}, role); !strings.Contains(refusal, why) {
		c.Errorf("one too many: %q, want %q", refusal, why)
	}
}

func (c *crowd) has(client *client) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	_, has := c.server.clients[client]
	return has
}

// The members of a group leave room for the owners, and readers for them.
func TestTooManyMembers(t *testing.T) {
	c := crowd{rig: newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"})), user: os.Geteuid()}
	c.fill(reader, maxReaders)
	c.refused(1<<20, reader, "128 clients of the group of readers already")
	c.fill(member, maxMembers-maxReaders)
	c.refused(1<<20, member, "192 clients of the groups already")
	c.refused(1<<20, reader, "already")
	c.say(c.dial(), "show")
}

// One user has a share of the places, and where that is used up its own idle
// clients go.
func TestOneUserTakesNotAllPlaces(t *testing.T) {
	c := crowd{rig: newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))}
	const greedy, busy, honest = 1 << 20, 1<<20 + 1, 1<<20 + 2
	first := c.admit(honest, reader)
	var list []*client
	for range maxReaders {
		list = append(list, c.admit(greedy, reader))
	}
	if !c.has(first) {
		t.Error("an idle client of another user went")
	}
	for i, client := range list {
		if c.has(client) != (i >= maxReaders-maxReaders/userShare) {
			t.Errorf("client %d of the greedy user: %t", i, c.has(client))
		}
	}
	for range maxReaders / userShare {
		c.server.asks(c.admit(busy, reader), true)
	}
	c.refused(busy, reader, "there are 32 clients of user 1048577 already")
	for range maxMembers/userShare - maxReaders/userShare {
		c.server.asks(c.admit(busy, member), true)
	}
	c.refused(busy, member, "there are 48 clients of user 1048577 already")
}

// Who asks something takes a place from who asks nothing: first from the user
// who has most, and there from the one that is idle for longest.
func TestIdleClientsMakeRoom(t *testing.T) {
	c := crowd{rig: newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))}
	const greedy, honest = 1 << 20, 1<<20 + 1
	old := c.admit(honest, reader)
	old.idle = old.idle.Add(-time.Hour)
	many := []*client{c.admit(greedy, reader), c.admit(greedy, reader), c.admit(greedy, reader)}
	c.server.asks(many[0], true)
	many[1].idle = many[1].idle.Add(-time.Second)
	c.user = 1 << 21
	c.fill(reader, maxReaders-4)
	for i, gone := range []*client{many[1], many[2], old} {
		if !c.has(gone) {
			t.Fatalf("round %d: it went too early", i)
		}
		c.fill(reader, 1)
		if c.has(gone) {
			t.Fatalf("round %d: it is still there", i)
		}
	}
	c.refused(1<<22, reader, "already")
	if !c.has(many[0]) {
		t.Error("a client that is answered went")
	}
	// Neither a member nor an owner goes for a reader.
	one := c.fill(member, 1)[0]
	c.server.asks(one, false)
	shell := c.dial()
	c.say(shell, "show")
	c.refused(1<<22, reader, "already")
	if !c.has(one) {
		t.Error("a member goes for a reader")
	}
	c.fill(member, maxMembers-maxReaders)
	if c.has(one) {
		t.Error("a member does not go for a member")
	}
	c.say(shell, "show")
}

// A client that has lost its place is told.
func TestClientsThatLoseTheirPlace(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	shell := r.dial()
	for gone, end := false, time.Now().Add(testPatience); !gone; time.Sleep(time.Millisecond) { // until it has its answer
		if time.Now().After(end) {
			t.Fatal("nobody is idle")
		}
		r.server.mu.Lock()
		gone = r.server.makeRoom(func(*client) bool { return true })
		r.server.mu.Unlock()
	}
	lines, status, err := shell.Ask("show")
	if err != nil || status != Failed || !strings.Contains(lines[0], "others need the place of this client") {
		t.Errorf("%q, status %d, %v", lines, status, err)
	}
}

// askEnv makes this test binary a client of the socket that it names, which
// prints the answer to each request of requestsEnv.
const (
	askEnv      = "BALANCE_TEST_ASK"
	requestsEnv = "BALANCE_TEST_REQUESTS"
)

func askAndExit(path string) {
	client, err := dialAtPace(path, maxIdentity, busyPace)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, request := range strings.Split(os.Getenv(requestsEnv), ";") {
		lines, status, err := client.Ask(request)
		fmt.Println(strings.Join(lines, "\n"), status, err)
	}
	os.Exit(0)
}

// crowdEnv makes this test binary connect to the socket that it names as often
// as it can, and never leave, until its input ends.
const crowdEnv = "BALANCE_TEST_CROWD"

func crowdAndExit(path string) {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	var crowd []net.Conn
	for {
		conn, err := net.Dial("unix", path)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		crowd = append(crowd, conn)
		if len(crowd) == 500 {
			fmt.Println("crowded")
		}
		if len(crowd) == 900 {
			crowd[0].Close()
			crowd = crowd[1:]
		}
	}
}

// publicDir is where publicCopy is, if it was made. TestMain removes it.
var publicDir string

// publicCopy is this test binary where other users can run it. Another process
// writes it: of this one, a child that is just being made might still have the
// file open to write when it is to be run, which is ETXTBSY (execve(2)).
var publicCopy = sync.OnceValues(func() (path string, err error) {
	if publicDir, err = os.MkdirTemp("", "balance-control-test-"); err != nil { // t.TempDir is private
		return "", err
	}
	path = filepath.Join(publicDir, "test")
	return path, errors.Join(exec.Command("cp", os.Args[0], path).Run(), os.Chmod(publicDir, 0o755), os.Chmod(path, 0o755))
})

// as makes this test binary a program of another user.
func as(t *testing.T, credential syscall.Credential, env ...string) *exec.Cmd {
	t.Helper()
	path, err := publicCopy()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(path)
	process.Env = append(os.Environ(), env...)
	process.Dir = "/"
	process.SysProcAttr = &syscall.SysProcAttr{Credential: &credential}
	return process
}

// askAs asks as another user.
func askAs(t *testing.T, credential syscall.Credential, path string, requests string) (string, error) {
	t.Helper()
	out, err := as(t, credential, askEnv+"="+path, requestsEnv+"="+requests).CombinedOutput()
	return string(out), err
}

const nobody, members, readers = 65534, 54321, 54322

// publicServer is a server in a directory that others can reach.
func publicServer(t *testing.T) *Server {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	parent, err := os.MkdirTemp("", "balance-control-test-run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := listen(filepath.Join(parent, "run"), r.daemon())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func TestOtherUsers(t *testing.T) {
	server := publicServer(t)
	inGroup := func(gid uint32, more ...uint32) syscall.Credential {
		return syscall.Credential{Uid: nobody, Gid: gid, Groups: more}
	}
	if out, err := askAs(t, inGroup(members), server.Path(), "version"); err == nil {
		t.Errorf("another user may ask: %s", out)
	}
	// Let in by the file's mode, it is still not of the right user or group.
	if err := errors.Join(os.Chmod(filepath.Dir(server.Path()), 0o755), os.Chmod(server.Path(), 0o666)); err != nil {
		t.Fatal(err)
	}
	if out, err := askAs(t, inGroup(members), server.Path(), "version"); err == nil || !strings.Contains(out, "permission denied") {
		t.Errorf("another user may ask: %s", out)
	}
	if out, err := askAs(t, syscall.Credential{}, server.Path(), "version"); err != nil {
		t.Errorf("root may not ask: %s", out)
	}
	many := make([]uint32, 500) // more than fit at first
	for i := range many {
		many[i] = uint32(100_000 + i)
	}
	for _, c := range []struct {
		access     Access
		mode       fs.FileMode
		credential syscall.Credential
		want       string // role
	}{
		{Access{0o600, members, NoGroup}, 0o660, inGroup(members), "member"},
		{Access{0o600, members, NoGroup}, 0o660, inGroup(1, members), "member"},
		{Access{0o600, members, NoGroup}, 0o660, inGroup(1, append(many, members)...), "member"},
		{Access{0o600, members, NoGroup}, 0o660, inGroup(1, many...), ""},
		{Access{0o600, NoGroup, readers}, 0o660, inGroup(1, readers), "reader"},
		{Access{0o600, NoGroup, readers}, 0o660, inGroup(1, members), ""},
		{Access{0o600, members, readers}, 0o666, inGroup(1, readers), "reader"},
		{Access{0o600, members, readers}, 0o666, inGroup(1, readers, members), "member"},
		{Access{0o600, members, readers}, 0o666, inGroup(members), "member"},
		{Access{0o600, members, readers}, 0o666, inGroup(1), ""},
		{Access{0o600, NoGroup, NoGroup}, 0o600, inGroup(members, readers), ""},
	} {
		if err := server.SetAccess(c.access); err != nil {
			t.Fatal(err)
		}
		expectMode(t, server.Path(), fs.ModeSocket|c.mode)
		out, err := askAs(t, c.credential, server.Path(), "version;reset 0")
		got := ""
		switch {
		case err == nil && strings.HasPrefix(out, "This is balance") && strings.Contains(out, "channel 0 counters reset 0"):
			got = "member"
		case err == nil && strings.HasPrefix(out, "This is balance") && strings.Contains(out, "permission denied 1"):
			got = "reader"
		case err == nil || !strings.Contains(out, "permission denied"):
			got = "neither, nor denied"
		}
		if got != c.want {
			t.Errorf("%+v, %+v is %q, want %q: %s", c.access, c.credential, got, c.want, out)
		}
	}
}

// TestStrangersCrowdNobodyOut has a stranger connect again and again where the
// file lets everybody.
func TestStrangersCrowdNobodyOut(t *testing.T) {
	server := publicServer(t)
	if err := server.SetAccess(Access{0o600, members, readers}); err != nil {
		t.Fatal(err)
	}
	crowd := as(t, syscall.Credential{Uid: nobody, Gid: nobody}, crowdEnv+"="+server.Path())
	hold, err := crowd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := crowd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := crowd.Start(); err != nil {
		t.Fatal(err)
	}
	defer crowd.Wait()
	defer crowd.Process.Kill()
	defer hold.Close()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		client, err := dialAtPace(server.Path(), maxIdentity, busyPace)
		if err != nil {
			t.Fatalf("root: %v", err)
		}
		defer client.Close()
		for _, c := range []struct {
			gid  uint32
			want string
		}{{members, "member"}, {readers, "reader"}} {
			if out, err := askAs(t, syscall.Credential{Uid: nobody - 1, Gid: c.gid}, server.Path(), "version"); err != nil {
				t.Errorf("%s: %s", c.want, out)
			}
		}
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	for client := range server.clients {
		if client.role == stranger {
			t.Errorf("a stranger has a place: %+v", client.credentials)
		}
	}
}

// A socket that cannot be given to the group stays its owner's.
func TestGroupThatIsNotTheDaemons(t *testing.T) {
	const asDaemonEnv = "BALANCE_TEST_AS_DAEMON"
	if dir := os.Getenv(asDaemonEnv); dir != "" {
		r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
		server, err := Listen(dir, r.daemon(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		err = server.SetAccess(Access{0o600, readers, NoGroup})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("user %d is not a member of group %d", nobody, readers)) {
			t.Errorf("another group: %v", err)
		}
		expectMode(t, server.Path(), fs.ModeSocket|0o600)
		if err := server.SetAccess(Access{0o600, members, NoGroup}); err != nil {
			t.Errorf("a group that it is a member of: %v", err)
		}
		expectMode(t, server.Path(), fs.ModeSocket|0o660)
		info, err := os.Stat(server.Path())
		if err != nil || info.Sys().(*syscall.Stat_t).Gid != members {
			t.Errorf("%+v, %v", info, err)
		}
		if err := server.SetAccess(Access{0o600, readers, NoGroup}); err == nil {
			t.Error("another group again: no error")
		}
		expectMode(t, server.Path(), fs.ModeSocket|0o600) // not its last group's
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can act as another user")
	}
	dir, err := os.MkdirTemp("", "balance-control-test-run-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	process := as(t, syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{members}}, asDaemonEnv+"="+dir, "TMPDIR=/tmp")
	process.Args = append(process.Args, "-test.run=^"+t.Name()+"$", "-test.v")
	if out, err := process.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS") {
		t.Errorf("%v: %s", err, out)
	}
}
