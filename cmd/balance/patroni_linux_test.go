package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// electing is how long a cluster may take to find a leader or a standby.
const electing = 4 * patience

// TestPatroni has a client write without a pause, through examples/patroni.toml,
// while the leader of a PostgreSQL cluster changes in three ways: it is asked to,
// it is killed, and its Patroni alone is killed, which leaves a server behind that
// takes sessions and is the leader no more. Replication is synchronous, so that
// every write that was acknowledged has to be there in the end.
func TestPatroni(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	writes, reads := c.balance()
	defer c.expectNoneToDown()

	writer := newWriter(t, writes)
	idle := c.session(writes)
	writer.await(20)
	if in, err := c.session(reads).query("SELECT pg_is_in_recovery()"); err != nil || !slices.Equal(in, []string{"t"}) {
		t.Errorf("reads go to a server that is a replica: %q, %v", in, err)
	}

	first := c.leader()
	if out, err := bounded(t, "patronictl", "-c", first.file, "switchover", "--force", "test").CombinedOutput(); err != nil {
		t.Fatalf("switchover: %v\n%s", err, out)
	}
	second := c.awaitAnother(first, writer)
	t.Logf("%s takes over from %s, as it was told", second.name, first.name)
	if err := idle.closed(); err != nil {
		t.Errorf("after a switchover an idle session %v", err)
	}

	c.awaitStandby()
	writer.await(20)
	second.stop()
	second.dead = true
	third := c.awaitAnother(second, writer)
	t.Logf("%s takes over from %s, which is dead", third.name, second.name)

	c.awaitStandby()
	writer.await(20)
	idle = c.session(writes)
	third.patroni.kill()
	if err := idle.closed(); err != nil {
		t.Errorf("after the end of Patroni an idle session %v", err)
	}
	c.daemon.await(t, 0, fmt.Sprintf(`msg=session .*listener=writes .*channel=%s .*by=balance how="the channel is down"`, third.postgres))
	if !third.serves() {
		t.Fatalf("%s does not outlive its Patroni", third.name)
	}
	fourth := c.awaitAnother(third, writer)
	writer.stop()
	if ports := writer.takeRefused(); len(ports) > 0 {
		t.Errorf("writes were sent to replicas at ports %s", ports)
	}
	t.Logf("%s takes over from %s, whose Patroni is dead; of %d writes that were acknowledged, two are %s apart at most; errors %v",
		fourth.name, third.name, len(writer.acknowledged), writer.pause.Round(time.Millisecond), writer.errors)

	c.expectAll(c.session(writes), writer.acknowledged)
}

// expectAll holds the cluster to have all writes.
func (c *cluster) expectAll(s *pgSession, acknowledged []string) {
	c.Helper()
	found, err := s.query("SELECT id FROM writes")
	if err != nil {
		c.Fatal(err)
	}
	has := map[string]bool{}
	for _, id := range found {
		has[id] = true
	}
	for _, id := range acknowledged {
		if !has[id] {
			c.Errorf("write %s was acknowledged and is gone", id)
		}
	}
}

// expectNoneToDown holds the log to no session that began after its channel was
// down, and before it was up again.
func (c *cluster) expectNoneToDown() {
	c.Helper()
	down := map[string]time.Time{} // by listener and channel
	sessions := 0
	for line := range strings.Lines(c.daemon.log.String()) {
		a := attributes(line)
		at, err := time.Parse(time.RFC3339, a["time"])
		if err != nil {
			c.Fatalf("%v in %s", err, line)
		}
		key := a["listener"] + " " + a["channel"]
		switch {
		case a["msg"] == "channel down":
			down[key] = at
		case strings.HasPrefix(a["msg"], "channel "):
			delete(down, key)
		case a["msg"] == "session" && a["channel"] != "":
			sessions++
			lasted, err := time.ParseDuration(a["duration"])
			if err != nil {
				c.Fatalf("%v in %s", err, line)
			}
			// Both times are rounded to a millisecond.
			if since, is := down[key]; is && at.Add(-lasted).After(since.Add(2*time.Millisecond)) {
				c.Errorf("down since %s, and yet chosen: %s", since, line)
			}
		}
	}
	if sessions == 0 {
		c.Error("no session in the log")
	}
}

// attributes are those of a line of the log.
func attributes(line string) map[string]string {
	a := map[string]string{}
	for _, pair := range regexp.MustCompile(`([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)`).FindAllStringSubmatch(line, -1) {
		value, err := strconv.Unquote(pair[2])
		if err != nil {
			value = pair[2]
		}
		a[pair[1]] = value
	}
	return a
}

// cluster is three servers under Patroni, and etcd.
type cluster struct {
	*testing.T
	members [3]*member
	formed  bool // all had their first start
	daemon  *loggedDaemon
}

type member struct {
	name, file, data string
	postgres, rest   net.Addr
	patroni          *server
	dead             bool // and stays so
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	needs(t, "patroni", "patronictl", "etcd")
	postgres := postgresProgram(t, "postgres")
	dir := serverDir(t)
	client, peer := address(t), address(t)
	startServing(t, dir, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--log-level", "warn",
		"--listen-client-urls", "http://"+client.String(), "--advertise-client-urls", "http://"+client.String(),
		"--listen-peer-urls", "http://"+peer.String(), "--initial-advertise-peer-urls", "http://"+peer.String(),
		"--initial-cluster", "default=http://"+peer.String())
	c := &cluster{T: t}
	for i := range c.members {
		m := &member{name: fmt.Sprintf("n%d", i), postgres: address(t), rest: address(t)}
		m.file, m.data = filepath.Join(dir, m.name+".yml"), filepath.Join(dir, m.name)
		// A leader that has died is replaced within ttl. Shorter times make a busy
		// machine look like a dead leader.
		writeFile(t, m.file, strings.NewReplacer("NAME", m.name, "REST", m.rest.String(), "POSTGRES", m.postgres.String(),
			"ETCD", client.String(), "DATA", m.data, "BIN", filepath.Dir(postgres)).Replace(`
scope: test
name: NAME
restapi: {listen: "REST", connect_address: "REST"}
etcd3: {hosts: "ETCD"}
bootstrap:
  dcs: {ttl: 8, loop_wait: 1, retry_timeout: 3, synchronous_mode: true}
  initdb: [{auth: trust}, {encoding: UTF8}, {locale: C}, no-sync]
  pg_hba: ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: "POSTGRES"
  connect_address: "POSTGRES"
  data_dir: DATA
  bin_dir: BIN
  basebackup: [{checkpoint: fast}]
  authentication: {superuser: {username: postgres}, replication: {username: replicator}}
  parameters: {unix_socket_directories: "", shared_buffers: 16MB, max_connections: 40, wal_retrieve_retry_interval: 100ms}
`))
		t.Cleanup(func() { m.killPostgres() }) // once its Patroni is gone
		m.patroni = startServing(t, dir, "patroni", m.file)
		c.members[i] = m
	}
	c.awaitStandby()
	return c
}

// balance starts a daemon with examples/patroni.toml for the cluster.
func (c *cluster) balance() (writes, reads net.Addr) {
	c.Helper()
	writes, reads = address(c.T), address(c.T)
	change := []string{"127.0.0.1:5432", writes.String(), "127.0.0.1:5433", reads.String()}
	for i, m := range c.members {
		change = append(change, fmt.Sprintf(`host = "192.0.2.%d", port = 5432, check_port = 8008`, 31+i),
			fmt.Sprintf(`host = "127.0.0.1", port = %s, check_port = %s`, portOf(m.postgres), portOf(m.rest)))
	}
	file := filepath.Join(c.TempDir(), "patroni.toml")
	writeFile(c.T, file, example(c.T, "patroni.toml", change...)+"\n[log]\nsessions = true\n")
	c.daemon = startLogged(c.T, "balance", "-config", file)
	return writes, reads
}

// says reports whether Patroni answers with 200 that the member is what the path
// asks for.
func (m *member) says(path string) bool {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + m.rest.String() + path)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// leader is the member that says so itself, nil if there is none.
func (c *cluster) leader() *member {
	for _, m := range c.members {
		if m.says("/primary") {
			return m
		}
	}
	return nil
}

// awaitAnother waits for a leader other than that one, and for writes to it. No
// other server may have been sent a write meanwhile and have refused it for being
// a replica; the leader may have, for Patroni calls it that from when it has the
// lock, and promotes it then.
func (c *cluster) awaitAnother(than *member, w *writer) (leader *member) {
	c.Helper()
	c.await("another leader than "+than.name, func() bool {
		leader = c.leader()
		return leader != nil && leader != than
	})
	w.await(20)
	for _, port := range w.takeRefused() {
		if port != portOf(leader.postgres) {
			c.Errorf("a write was sent to port %s, a replica, while %s took over at port %s", port, leader.name, portOf(leader.postgres))
		}
	}
	return leader
}

// awaitStandby waits until there is a leader whose writes a standby has when they
// are acknowledged, and returns it.
// awaitStandby returns the leader once it has a synchronous standby. A server that
// was the leader may hang on its way to be one, in Patroni 3.0, when the machine is
// busy; that is not what is tested here, so it is started anew.
func (c *cluster) awaitStandby() (leader *member) {
	c.Helper()
	late := time.Now().Add(electing / 4)
	c.await("a leader with a standby", func() bool {
		leader = c.leader()
		ready := leader != nil && slices.ContainsFunc(c.members[:], func(m *member) bool { return m.says("/synchronous") })
		if !ready && leader != nil && c.formed && time.Now().After(late) {
			late = time.Now().Add(electing)
			for _, m := range c.members {
				if m != leader && !m.dead {
					m.stop()
					m.patroni = startServing(c.T, filepath.Dir(m.file), "patroni", m.file)
				}
			}
		}
		return ready
	})
	c.formed = true
	return leader
}

// stop ends a member as a lack of power would.
func (m *member) stop() {
	m.patroni.kill()
	m.killPostgres()
}

func (c *cluster) await(what string, ok func() bool) {
	c.Helper()
	for end := time.Now().Add(electing); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("there never was %s", what)
		}
	}
}

// killPostgres kills the server of a member, which is no child of Patroni's.
func (m *member) killPostgres() {
	content, err := os.ReadFile(filepath.Join(m.data, "postmaster.pid"))
	if err != nil {
		return
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return
	}
	// The file outlives its process, whose number may be another's by now.
	if command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(string(command), m.data) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

func (m *member) serves() bool {
	s, err := openPg(m.postgres)
	if err != nil {
		return false
	}
	defer s.Close()
	in, err := s.query("SELECT pg_is_in_recovery()")
	return err == nil && slices.Equal(in, []string{"f"})
}

// session opens a session that somebody serves.
func (c *cluster) session(addr net.Addr) (s *pgSession) {
	c.Helper()
	c.await("a server behind "+addr.String(), func() (ok bool) {
		var err error
		s, err = openPg(addr)
		return err == nil
	})
	c.Cleanup(func() { s.Close() })
	return s
}

// writer writes numbers, one after the other, and knows which were acknowledged.
type writer struct {
	*testing.T
	to     net.Addr
	enough chan struct{}
	done   sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string       // guarded by mu
	errors       map[string]int // guarded by mu
	refused      []string       // ports of replicas that were sent a write; guarded by mu
	pause        time.Duration  // the longest between two that were acknowledged; guarded by mu
}

func newWriter(t *testing.T, to net.Addr) *writer {
	w := &writer{T: t, to: to, enough: make(chan struct{}), errors: map[string]int{}}
	w.done.Go(w.write)
	t.Cleanup(w.stop)
	return w
}

func (w *writer) write() {
	var s *pgSession
	last := time.Now()
	created := false
	for id := 0; ; id++ {
		select {
		case <-w.enough:
			if s != nil {
				s.Close()
			}
			return
		default:
		}
		var err error
		if s == nil {
			s, err = openPg(w.to)
		}
		if err == nil && !created {
			_, err = s.query("CREATE TABLE IF NOT EXISTS writes (id integer)")
			created = err == nil
		}
		if err == nil {
			_, err = s.query(fmt.Sprintf("INSERT INTO writes VALUES (%d)", id))
		}
		var refused []string
		if err != nil && kind(err) == readOnly {
			var unknown error
			if refused, unknown = s.query("SELECT inet_server_port()"); unknown != nil {
				refused = []string{unknown.Error()}
			}
		}
		w.mu.Lock()
		w.refused = append(w.refused, refused...)
		if err == nil {
			w.acknowledged = append(w.acknowledged, strconv.Itoa(id))
			w.pause = max(w.pause, time.Since(last))
			last = time.Now()
		} else {
			w.errors[kind(err)]++
		}
		w.mu.Unlock()
		if err != nil {
			if s != nil {
				s.Close()
				s = nil
			}
			time.Sleep(10 * time.Millisecond) // as a client does that tries again
		}
	}
}

// await waits for n more writes.
func (w *writer) await(n int) {
	w.Helper()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.acknowledged)
	}
	for from, end := count(), time.Now().Add(electing); count() < from+n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatal("no write is acknowledged any more")
		}
	}
}

// takeRefused returns the ports of the replicas that were sent a write since it was
// asked last.
func (w *writer) takeRefused() (ports []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ports, w.refused = w.refused, nil
	return ports
}

func (w *writer) stop() {
	select {
	case <-w.enough:
	default:
		close(w.enough)
	}
	w.done.Wait()
}

// pgSession is a session with PostgreSQL, of a user who needs no password.
type pgSession struct{ net.Conn }

// readOnly is read_only_sql_transaction (PostgreSQL, appendix A), the answer of a
// replica to a write.
const readOnly = "25006"

// pgError is what the server answers, SQLSTATE and words.
type pgError struct{ code, words string }

func (e *pgError) Error() string { return e.code + " " + e.words }

// kind is what errors are counted by: a SQLSTATE, or what the connection came to.
func kind(err error) string {
	if e, ok := err.(*pgError); ok {
		return e.code
	}
	words := err.Error()
	return strings.TrimSpace(words[strings.LastIndex(words, ":")+1:])
}

func openPg(addr net.Addr) (*pgSession, error) {
	conn, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		return nil, err
	}
	s := &pgSession{conn}
	s.SetDeadline(time.Now().Add(patience))
	const settings = "\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00" // protocol 3.0
	_, err = s.Write(append(binary.BigEndian.AppendUint32(nil, uint32(4+len(settings))), settings...))
	if err == nil {
		_, err = s.answer()
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// query returns the first column of the rows.
func (s *pgSession) query(sql string) ([]string, error) {
	s.SetDeadline(time.Now().Add(2 * patience))
	message := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(4+len(sql)+1))
	if _, err := s.Write(append(append(message, sql...), 0)); err != nil {
		return nil, err
	}
	return s.answer()
}

// answer reads until the server is ready for a query.
func (s *pgSession) answer() (column []string, err error) {
	var failed error
	for {
		var head [5]byte
		if _, err := io.ReadFull(s, head[:]); err != nil {
			return nil, cmp.Or(failed, err) // it closes the connection after some errors
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(s, body); err != nil {
			return nil, err
		}
		switch head[0] {
		case 'D': // number of columns, length of the first, the first
			column = append(column, string(body[6:6+binary.BigEndian.Uint32(body[2:])]))
		case 'E':
			e := &pgError{}
			for field := range strings.SplitSeq(string(body), "\x00") {
				if strings.HasPrefix(field, "C") {
					e.code = field[1:]
				} else if strings.HasPrefix(field, "M") {
					e.words = field[1:]
				}
			}
			failed = e
		case 'Z':
			return column, failed
		}
	}
}

// closed waits for the end of an idle session: nil once it has come.
func (s *pgSession) closed() error {
	s.SetDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, s)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		return fmt.Errorf("is open still after %s", patience)
	}
	return nil
}
