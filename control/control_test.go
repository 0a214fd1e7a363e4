package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/spec"
)

const testPatience = 20 * time.Second

func TestMain(m *testing.M) {
	if path := os.Getenv(askEnv); path != "" {
		askAndExit(path)
	}
	if path := os.Getenv(crowdEnv); path != "" {
		crowdAndExit(path)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(publicDir)
		os.Exit(code)
	}))
}

// rig is a daemon without a program around it, and a directory for its socket.
type rig struct {
	*testing.T
	engine *engine.Engine
	server *Server
	dir    string
	file   *spec.Config  // what Reload applies; nil for a faulty file
	lost   atomic.Uint64 // messages of the log

	last     atomic.Pointer[Reload] // nil for none
	stopping atomic.Bool
	differs  atomic.Bool
	waiting  atomic.Pointer[Unconfirmed]
	edits    atomic.Pointer[string]  // the last
	applied  atomic.Pointer[applied] // likewise
}

// applied is what apply was given.
type applied struct {
	name, data string
	within     time.Duration
}

var pastOfRig = []Configuration{
	{Number: 1, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local), By: "file", Why: "start", Changes: 3},
	{Number: 2, Time: time.Date(2026, 1, 2, 3, 4, 6, 0, time.Local), By: "ann (7), control", Why: "rollback to 1", Changes: 12, InForce: true},
}

// noNames knows no name but one.
type noNames struct{}

func (noNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host == "db.example" {
		return []netip.Addr{netip.MustParseAddr("127.0.0.9")}, nil
	}
	return nil, fmt.Errorf("no such host %s", host)
}

func newEngine(t testing.TB, config *spec.Config) *engine.Engine {
	e, err := engine.New(engine.Options{Log: slog.New(slog.DiscardHandler), Resolver: noNames{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		e.Shutdown(ctx)
	})
	if _, err := e.Apply(context.Background(), config); err != nil {
		t.Fatal(err)
	}
	return e
}

// declare makes a configuration of one listener for each name, each with the
// groups of channels.
func declare(names []string, groups ...[]string) *spec.Config {
	config := spec.DefaultConfig()
	for _, name := range names {
		l := spec.Defaults()
		l.Name, l.Listen = name, []string{"127.0.0.1:0"}
		for _, channels := range groups {
			var group spec.Group
			for _, text := range channels {
				addr := netip.MustParseAddrPort(text)
				group.Channels = append(group.Channels, spec.Channel{Host: addr.Addr().String(), Port: addr.Port()})
			}
			l.Groups = append(l.Groups, group)
		}
		config.Listeners = append(config.Listeners, l)
	}
	return config
}

func newRig(t *testing.T, config *spec.Config) *rig {
	r := &rig{T: t, engine: newEngine(t, config), dir: filepath.Join(t.TempDir(), "run"), file: config}
	t.Setenv("RUNTIME_DIRECTORY", r.dir)
	var err error
	r.server, err = Listen(r.dir, r.daemon(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.server.Serve()
	t.Cleanup(r.server.Close)
	return r
}

func (r *rig) daemon() Daemon {
	return Daemon{
		Engine:  r.engine,
		Version: "9.9",
		Started: time.Now(),
		File:    "/etc/balance.toml",
		Marshal: func(c *spec.Config) []byte { return fmt.Appendf(nil, "# %d listeners\n", len(c.Listeners)) },
		Reload: func(engine.Actor) (spec.Changes, error) {
			if r.file == nil {
				return nil, errors.New("balance.toml:1: bad\nbalance.toml:2: worse")
			}
			return r.engine.Apply(context.Background(), r.file)
		},
		Preview: func() (spec.Changes, error) {
			if r.file == nil {
				return nil, errors.New("balance.toml:1: bad")
			}
			return r.engine.Preview(r.file)
		},
		LastReload: func() Reload {
			if last := r.last.Load(); last != nil {
				return *last
			}
			return Reload{}
		},
		Stopping: r.stopping.Load,
		Stop:     func() {},

		FileDiffers: r.differs.Load,
		Unconfirmed: r.waiting.Load,
		Edited: func(by engine.Actor, command string) {
			r.edits.Store(&command)
		},
		History: func() []Configuration { return pastOfRig },
		Compare: func(number int) (Comparison, error) {
			if number > len(pastOfRig) {
				return Comparison{}, fmt.Errorf("there is no configuration %d", number)
			}
			return Comparison{Configuration: pastOfRig[number-1], Before: number - 1, Changed: spec.Changes{}, Rollback: spec.Changes{{Sign: spec.Added, Listener: "x"}}}, nil
		},
		Rollback: func(_ engine.Actor, number int, write bool) (Rollback, error) {
			if number > len(pastOfRig) {
				return Rollback{}, errors.New("configuration 9:1: bad")
			}
			done := Rollback{To: max(number, 1), Number: 3, Changes: spec.Changes{{Sign: spec.Removed, Listener: "x"}}}
			if write {
				done.Backup = "/etc/balance.toml.bak"
			}
			return done, nil
		},
		Apply: func(_ engine.Actor, name string, data []byte, within time.Duration) (spec.Changes, error) {
			if string(data) == "bad" {
				return nil, fmt.Errorf("%s:1: bad\n%s:2: worse", name, name)
			}
			r.applied.Store(&applied{name, string(data), within})
			return spec.Changes{{Sign: spec.Added, Listener: "x"}}, nil
		},
		Confirm: func(engine.Actor) (int, error) { return 7, nil },

		MessagesLost: r.lost.Load,
	}
}

func (r *rig) dial() *Client {
	r.Helper()
	client, err := Dial(r.server.Path())
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { client.Close() })
	return client
}

// say sends a request and returns the answer as one text.
func (r *rig) say(client *Client, request string) (string, Status) {
	r.Helper()
	lines, status, err := client.Ask(request)
	if err != nil {
		r.Fatalf("%s: %v", request, err)
	}
	return strings.Join(lines, "\n"), status
}

// exchange is a request and what it has to answer.
type exchange struct {
	request string
	status  Status
	answer  string
}

func (r *rig) expect(client *Client, exchanges []exchange) {
	r.Helper()
	for i, x := range exchanges {
		answer, status := r.say(client, x.request)
		if x.answer == "syntax error" { // what is behind it has tests of its own
			answer, _, _ = strings.Cut(answer, "\n")
		}
		if answer != x.answer || status != x.status {
			r.Errorf("request %d, %q: status %d, want %d, answer\n%s\nwant\n%s", i, x.request, status, x.status, answer, x.answer)
		}
	}
}

const header = "GRP Type  #   S       ip-address  port    c      totalc maxc        sent        rcvd\n"

func TestClassicCommands(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:81"}, []string{"[2001:db8:1111:2222::7]:82"}))
	r.expect(r.dial(), []exchange{
		{"group 1", OK, ""},
		{"show", OK, "" +
			"GRP Type  #   S            ip-address  port    c      totalc maxc        sent        rcvd\n" +
			"  0   RR  0 ENA             127.0.0.1    80    0           0    0           0           0\n" +
			"  0   RR  1 ENA             127.0.0.2    81    0           0    0           0           0\n" +
			"  1   RR  0 ENA 2001:db8:1111:2222::7    82    0           0    0           0           0"},
		{"group 3", Failed, "value out of range"},
		{"group -1", Failed, "value out of range"},
		{"group x", Misused, "syntax error"},
		{"group", Misused, "syntax error"},
		{"assign 0 127.0.0.3 83", Failed, "channel must be disabled to assign new address"},
		{"disable 0", OK, "channel 0 disabled"},
		{"disable 0", OK, "channel 0 already disabled"},
		{"disable 1", Failed, "no such channel 1"},
		{"disable", Misused, "syntax error"},
		{"assign 0 127.0.0.3 83", OK, "channel reassigned"},
		{"assign 1 127.0.0.3 83", Failed, "unknown channel"},
		{"assign 0 nowhere.example 83", Failed, "invalid address"},
		{"assign 0 127.0.0.3", Misused, "syntax error"},
		{"maxc 0 7", OK, "maxc of channel 0 changed to 7"},
		{"assign 0 127.0.0.4 84", OK, "channel reassigned"}, // keeps its limit
		{"assign 0 127.0.0.3 83", OK, "channel reassigned"},
		{"maxc 9 7", Failed, "unknown channel"},
		{"maxc 0 -1", Failed, "value out of range"},
		{"maxc 0 4294967296", Failed, "value out of range"},
		{"maxc 0 many", Misused, "syntax error"},
		{"hash", OK, "group 1 set to hash"},
		{"group 0", OK, ""},
		{"show", OK, header +
			"  0   RR  0 ENA        127.0.0.1    80    0           0    0           0           0\n" +
			"  0   RR  1 ENA        127.0.0.2    81    0           0    0           0           0\n" +
			"  1 Hash  0 dis        127.0.0.3    83    0           0    7           0           0"},
		{"group 1", OK, ""},
		{"rr", OK, "group 1 set to round robin"},
		{"enable 0", OK, "channel 0 enabled"},
		{"enable 0", OK, "channel 0 already enabled"},
		{"enable 1", Failed, "no such channel 1"},
		{"enable -1", Failed, "no such channel -1"},
		{"enable zero", Misused, "syntax error"},
		{"create db.example 5432", OK, "channel created"},
		{"create ::1 smtp", OK, "channel created"},
		{"create nowhere.example 80", Failed, "invalid address"},
		{"create 127.0.0.1 0", Failed, "invalid address"},
		{"create 127.0.0.1 65536", Failed, "invalid address"},
		{"create 127.0.0.1 +80", Failed, "invalid address"},
		{`create 127.0.0.1 " 80"`, Failed, "invalid address"},
		{"create 300.0.0.1 80", Failed, "invalid address"},
		{"create 127.0.0.1", Misused, "syntax error"},
		{"reset 0", OK, "channel 0 counters reset"},
		{"reset 3", Failed, "no such channel 3"},
		{"group 2", OK, ""}, // there is none yet
		{"hash", Failed, "unknown group"},
		{"maxc 0 1", Failed, "unknown channel"},
		{"enable 0", Failed, "no such channel 0"},
		{"create 127.0.0.4 84", OK, "channel created"},
		{"enable 0", OK, "channel 0 enabled"},
		{"show", OK, header +
			"  0   RR  0 ENA        127.0.0.1    80    0           0    0           0           0\n" +
			"  0   RR  1 ENA        127.0.0.2    81    0           0    0           0           0\n" +
			"  1   RR  0 ENA        127.0.0.3    83    0           0    7           0           0\n" +
			"  1   RR  1 dis        127.0.0.9  5432    0           0    0           0           0\n" +
			"  1   RR  2 dis              ::1    25    0           0    0           0           0\n" +
			"  2   RR  0 ENA        127.0.0.4    84    0           0    0           0           0"},
		{"mrtg-bytes 1 0", OK, "0\n0\nUNKNOWN\ngroup 1 channel 0"},
		{"mrtg-conns 1 0", OK, "0\nUNKNOWN\nUNKNOWN\ngroup 1 channel 0"},
		{"mrtg-bytes 9 0", Failed, "unknown group"},
		{"mrtg-conns 1 9", Failed, "unknown channel"},
		{"mrtg-bytes 1", Misused, "syntax error"},
		{"version", OK, "This is balance 9.9\nMAXGROUPS=2147483647\nMAXCHANNELS=2147483647"},
		{"frobnicate", Misused, "syntax error"},
		{"show me", Misused, "syntax error"},
		{`show "`, Misused, "syntax error"},
		{"", OK, ""},
		{"quit", OK, ""},
	})
}

func TestCountersReachTheTable(t *testing.T) {
	server := echo(t)
	r := newRig(t, declare([]string{"web"}, []string{server}))
	client := r.dial()
	conn := r.connect()
	fmt.Fprint(conn, "hello")
	if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	port := netip.MustParseAddrPort(server).Port()
	row := func(c, total, bytes int, state string) string {
		return fmt.Sprintf("%s  0   RR  0 %s        127.0.0.1 %5d %4d %11d    0 %11d %11d", header, state, port, c, total, bytes, bytes)
	}
	r.await(client, "show", row(1, 1, 5, "ENA"))
	r.expect(client, []exchange{
		{"mrtg-bytes 0 0", OK, "5\n5\nUNKNOWN\ngroup 0 channel 0"},
		{"mrtg-conns 0 0", OK, "1\nUNKNOWN\nUNKNOWN\ngroup 0 channel 0"},
		{"reset 0", OK, "channel 0 counters reset"},
		{"show", OK, row(1, 0, 0, "ENA")},
		{"drain 0", OK, "channel 0 draining, 1 session left"},
		{"show", OK, row(1, 0, 0, "drn")},
		{"why 10.0.0.1", OK, fmt.Sprintf("group 0 channel 0 %s: draining\nno channel: the client would be turned away", server)},
	})
	conn.Close()
	r.await(client, "show", row(0, 0, 0, "dis"))
	r.expect(client, []exchange{
		{"enable 0", OK, "channel 0 enabled"},
		{"drain 0", OK, "channel 0 disabled"},
		{"drain 1", Failed, "no such channel 1"},
	})
}

// await repeats a request until it answers so.
func (r *rig) await(client *Client, request, want string) {
	r.Helper()
	var answer string
	for end := time.Now().Add(testPatience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if answer, _ = r.say(client, request); answer == want {
			return
		}
	}
	r.Fatalf("%s answers\n%s\nwant\n%s", request, answer, want)
}

// connect opens a connection to the first listener.
func (r *rig) connect() net.Conn {
	r.Helper()
	conn, err := net.Dial("tcp", r.engine.Snapshot().Listeners[0].Addresses[0].String())
	if err != nil {
		r.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(testPatience))
	r.Cleanup(func() { conn.Close() })
	return conn
}

// echo starts a server and returns its address.
func echo(t testing.TB) string {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handlers.Go(func() {
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(testPatience))
				io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); handlers.Wait() })
	return listener.Addr().String()
}

func TestSessions(t *testing.T) {
	a, b := echo(t), echo(t)
	r := newRig(t, declare([]string{"web"}, []string{a, b}))
	client := r.dial()
	var conns []net.Conn
	for range 4 {
		conn := r.connect()
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	rows := func(request string) [][]string {
		answer, status := r.say(client, request)
		if status != OK {
			t.Fatalf("%s: %s", request, answer)
		}
		var rows [][]string
		for _, line := range strings.Split(answer, "\n")[1:] {
			rows = append(rows, strings.Fields(line))
		}
		return rows
	}
	all := rows("sessions")
	if len(all) != 4 {
		t.Fatalf("%d sessions, want 4: %v", len(all), all)
	}
	for i, row := range all {
		want := []string{fmt.Sprint(i + 1), conns[i].LocalAddr().String(), "0", []string{a, b}[i%2], "relaying", "1", "1"}
		got := append(slices.Clone(row[:5]), row[7:]...)
		if !slices.Equal(got, want) {
			t.Errorf("session %d is %v, want %v", i, got, want)
		}
	}
	for request, want := range map[string]int{
		"sessions 1":              2,
		"sessions " + a:           2,
		"sessions 127.0.0.1":      4,
		"sessions 127.0.0.0/8":    4,
		"sessions 10.0.0.0/8":     0,
		"sessions 10.0.0.1":       0,
		"sessions " + all[2][1]:   1,
		"sessions ::ffff:7f00:1":  4,
		"sessions 192.0.2.1:4711": 0,
	} {
		if got := rows(request); len(got) != want {
			t.Errorf("%s: %d sessions, want %d", request, len(got), want)
		}
	}
	r.expect(client, []exchange{
		{"sessions 2", Failed, "no such channel 2"},
		{"sessions nobody", Failed, fmt.Sprintf(`"nobody" is neither a channel nor the address of a client: known here are 127.0.0.1, %s, %s`, a, b)},
		{"close 2", OK, "session 2 closed"},
		{"close 99", Failed, "no such session 99"},
		{"close me", Misused, "syntax error"},
	})
	if _, err := conns[1].Read(make([]byte, 1)); err == nil {
		t.Error("a session that was closed can be read from")
	}
	for _, conn := range []net.Conn{conns[0], conns[2], conns[3]} {
		fmt.Fprint(conn, "y")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Errorf("close ended another session too: %v", err)
		}
	}
}

func TestRebalance(t *testing.T) {
	a, b := echo(t), echo(t)
	r := newRig(t, declare([]string{"web"}, []string{a, b}))
	client := r.dial()
	r.expect(client, []exchange{{"disable 1", OK, "channel 1 disabled"}})
	for range 4 {
		conn := r.connect()
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	r.expect(client, []exchange{
		{"rebalance", OK, "no channel has sessions above its share"},
		{"enable 1", OK, "channel 1 enabled"},
		{"rebalance dry", OK, fmt.Sprintf("group 0 channel %s: 4 sessions, 2 above its share, 2 to end", a)},
		{"reb 50% dry", OK, fmt.Sprintf("group 0 channel %s: 4 sessions, 2 above its share, 1 to end", a)},
		{"rebalance 0", Failed, "value out of range"},
		{"rebalance 101", Failed, "value out of range"},
		{"rebalance much", Misused, "syntax error"},
		{"rebalance 5 6", Misused, "syntax error"},
		{"rebalance dry 5", Misused, "syntax error"},
		{"rebalance 50", OK, fmt.Sprintf("group 0 channel %s: 4 sessions, 2 above its share, 1 to end\nending 1 of them over 10s, idle ones first", a)},
	})
	eventually := time.Now().Add(testPatience)
	for r.engine.Snapshot().Listeners[0].Active != 3 {
		if time.Now().After(eventually) {
			t.Fatalf("%d sessions are left", r.engine.Snapshot().Listeners[0].Active)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestListeners(t *testing.T) {
	r := newRig(t, declare([]string{"web", "my mail"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	answer, _ := r.say(client, "listeners")
	if lines := strings.Split(answer, "\n"); len(lines) != 3 || !strings.HasPrefix(lines[1], "*") || strings.HasPrefix(lines[2], "*") {
		t.Errorf("listeners answers\n%s", answer)
	}
	r.expect(client, []exchange{
		{`listener "my mail"`, OK, ""},
		{"maxc 0 5", OK, "maxc of channel 0 changed to 5"},
		{"group 1", OK, ""},
		{"listener web", OK, ""},
		{"listener nobody", Failed, `"nobody" is no listener: known here are web, my mail`},
		{"listener wbe", Failed, `"wbe" is no listener: did you mean "web"?`},
	})
	listeners := r.engine.Snapshot().Listeners
	if web, mail := listeners[0].Groups[0].Channels[0].Limit, listeners[1].Groups[0].Channels[0].Limit; web != 0 || mail != 5 {
		t.Errorf("limits %d and %d, want 0 and 5", web, mail)
	}
	r.expect(client, []exchange{{"disable 0", OK, "channel 0 disabled"}}) // of group 0 again
}

func TestReloadTakesEditsBack(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}))
	client := r.dial()
	r.expect(client, []exchange{
		{"diff", OK, ""},
		{"maxc 1 3", OK, "maxc of channel 1 changed to 3"},
		{"create 127.0.0.3 80", OK, "channel created"},
		{"disable 0", OK, "channel 0 disabled"},
		{"diff", Differs, "- web group 0 channel 127.0.0.3:80\n~ web group 0 channel 127.0.0.2:80 maxc 3 → 0"},
		{"reload", OK, "- web group 0 channel 127.0.0.3:80\n~ web group 0 channel 127.0.0.2:80 maxc 3 → 0\nreloaded, generation 4"},
		{"reload", OK, "reloaded, generation 4"},
		{"diff", OK, ""},
		{"diff -json", OK, "[]"},
		{"diff xml", Misused, "syntax error"},
		{"show", OK, header +
			"  0   RR  0 dis        127.0.0.1    80    0           0    0           0           0\n" +
			"  0   RR  1 ENA        127.0.0.2    80    0           0    0           0           0"},
		{"config", OK, "# 1 listeners"},
	})
	r.file = nil
	r.expect(client, []exchange{
		{"reload", Failed, "balance.toml:1: bad\nbalance.toml:2: worse"},
		{"diff", Failed, "balance.toml:1: bad"},
	})
}

func TestModesAndWeights(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}, []string{"127.0.0.3:80"}))
	client := r.dial()
	r.expect(client, []exchange{
		{"weight 1 3", OK, "weight of channel 1 changed to 3"},
		{"weight 0 0", OK, "weight of channel 0 changed to 0"},
		{"weight 1 1000", OK, "weight of channel 1 changed to 1000"},
		{"weight 1 1001", Failed, "value out of range"},
		{"weight 1 -1", Failed, "value out of range"},
		{"weight 1 many", Misused, "syntax error"},
		{"weight x 1", Misused, "syntax error"},
		{"weight 1", Misused, "syntax error"},
		{"weight 2 1", Failed, "unknown channel"},
		{"mode leastconn", OK, "group 0 set to leastconn"},
		{"group 1", OK, ""},
		{"disable 0", OK, "channel 0 disabled"},
		{"weight 0 5", OK, "weight of channel 0 changed to 5"},
		{"assign 0 127.0.0.4 81", OK, "channel reassigned"},
		{"mode fastest", Failed, `"fastest" is none of "rr", "hash", "leastconn", "random", "first"`},
		{"mode first", OK, "group 1 set to first"},
		{"show", OK, header +
			"  0   LC  0 ENA        127.0.0.1    80    0           0    0           0           0\n" +
			"  0   LC  1 ENA        127.0.0.2    80    0           0    0           0           0\n" +
			"  1  1st  0 dis        127.0.0.4    81    0           0    0           0           0"},
		{"mode random", OK, "group 1 set to random"},
		{"show -x", Misused, "syntax error"},
		{"show -l -l", Misused, "syntax error"},
		{"show 1", Misused, "syntax error"},
		{"show -l", OK, strings.TrimSuffix(header, "\n") + " weight share\n" +
			"  0   LC  0 ENA        127.0.0.1    80    0           0    0           0           0      0    0%\n" +
			"  0   LC  1 ENA        127.0.0.2    80    0           0    0           0           0   1000    0%\n" +
			"  1  Rnd  0 dis        127.0.0.4    81    0           0    0           0           0      5    0%"},
		{"diff", Differs, "- web group 1 channel 127.0.0.4:81\n" +
			"~ web group 0 mode leastconn → rr\n" +
			"~ web group 1 mode random → rr\n" +
			"~ web group 0 channel 127.0.0.1:80 weight 0 → 1\n" +
			"~ web group 0 channel 127.0.0.2:80 weight 1000 → 1\n" +
			"+ web group 1 channel 127.0.0.3:80"},
		{"group 2", OK, ""},
		{"mode hash", Failed, "unknown group"},
		{"weight 0 1", Failed, "unknown channel"},
	})
	// What assign left is the weight.
	for _, l := range r.engine.Config().Listeners {
		if weight := l.Groups[1].Channels[0].Weight.Int(); weight != 5 {
			t.Errorf("the channel that was reassigned has the weight %d", weight)
		}
	}
}

func TestLongTable(t *testing.T) {
	l := engine.ListenerStatus{Groups: []engine.GroupStatus{{Mode: balancer.Random, Channels: []engine.ChannelStatus{
		{Key: balancer.Key{Host: "h1", Port: 80}, Active: 3, Weight: 1000},
		{Key: balancer.Key{Host: "h2", Port: 80}, Weight: 0},
		{Key: balancer.Key{Host: "h3", Port: 80}, Active: 4, Weight: 1},
	}}, {Mode: balancer.Modes, Channels: []engine.ChannelStatus{{Key: balancer.Key{Host: "h4", Port: 80}, Weight: 1}}}}}
	plain := Table(l, false)
	for i, more := range []string{" weight share", "   1000   43%", "      0    0%", "      1   57%", "      1    0%"} {
		if got := Table(l, true)[i]; got != plain[i]+more {
			t.Errorf("got  %q\nwant %q", got, plain[i]+more)
		}
	}
	if !strings.Contains(plain[1], " Rnd ") || !strings.Contains(plain[4], "    ? ") {
		t.Errorf("the modes are missing in\n%s", strings.Join(plain, "\n"))
	}
}

func TestWhy(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80", "127.0.0.2:80"}, []string{"127.0.0.3:80"}))
	client := r.dial()
	r.expect(client, []exchange{
		{"why 10.0.0.1", OK, "group 0 channel 0 127.0.0.1:80: chosen"},
		{"disable 0", OK, "channel 0 disabled"},
		{"why 10.0.0.1", OK, "group 0 channel 0 127.0.0.1:80: disabled by the operator\ngroup 0 channel 1 127.0.0.2:80: chosen"},
		{"disable 1", OK, "channel 1 disabled"},
		{"why ::1", OK, "group 0 channel 0 127.0.0.1:80: disabled by the operator\ngroup 0 channel 1 127.0.0.2:80: disabled by the operator\ngroup 1 channel 0 127.0.0.3:80: chosen"},
		{"why me", Failed, `"me" is not an IP address`},
	})
}

// A name is taken as it is of a ClientHello.
func TestWhyName(t *testing.T) {
	config := declare([]string{"web"}, []string{"127.0.0.1:80"}, []string{"127.0.0.2:80"})
	config.Listeners[0].Groups[0].ServerName = []string{"www.example.net"}
	r := newRig(t, config)
	const first, second = "group 0 channel 0 127.0.0.1:80: chosen", "\ngroup 1 channel 0 127.0.0.2:80: chosen"
	r.expect(r.dial(), []exchange{
		{"why 10.0.0.1", OK, "group 0: passed over: it is for certain server names, and the client names none" + second},
		{"why 10.0.0.1 server_name=www.example.net", OK, first},
		{"why 10.0.0.1 server_name=WWW.example.net.", OK, first},
		{"why 10.0.0.1 server_name=other", OK, `group 0: passed over: it is for other server names than "other"` + second},
		{"why 10.0.0.1 server_name=\x1b[31m", Failed, `"\x1b[31m" is the name of no host`},
	})
}

func TestStatus(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	answer, status := r.say(r.dial(), "status")
	for _, want := range []string{"version      9.9\n", fmt.Sprintf("process      %d\n", os.Getpid()), "generation   1\n", "last reload  none", "\nchannels     1 "} {
		if !strings.Contains(answer, want) || status != OK {
			t.Errorf("status answers\n%s\nwithout %q", answer, want)
		}
	}
	if strings.Contains(answer, "lost") {
		t.Errorf("nothing is lost, status answers\n%s", answer)
	}
	r.lost.Store(12)
	if answer, _ := r.say(r.dial(), "status"); !strings.Contains(answer, "log          12 messages lost\n") {
		t.Errorf("12 messages are lost, status answers\n%s", answer)
	}
}

// TestPrefixes holds the order in which words claim their prefixes.
func TestPrefixes(t *testing.T) {
	want := map[string]string{
		"q": "quit", "s": "show", "h": "help", "?": "help", "k": "kill", "d": "disable", "g": "group",
		"r": "reset", "e": "enable", "c": "create", "a": "assign", "m": "maxc", "mr": "mrtg-bytes",
		"mrtg-": "mrtg-bytes", "mrtg-c": "mrtg-conns", "v": "version", "ha": "hash", "rr": "rr",
		"re": "reset", "he": "help", "l": "listeners", "listener": "listener", "se": "sessions", "cl": "close",
		"dr": "drain", "rel": "reload", "dif": "diff", "di": "disable", "rea": "ready", "reb": "rebalance", "hea": "health", "ch": "check", "ev": "events", "en": "enable", "co": "config", "st": "status",
		"w": "why", "wa": "watch", "we": "weight", "mo": "mode", "show": "show", "shows": "", "": "", "x": "",
	}
	for word, name := range want {
		if got, _ := Resolve(word); got != name {
			t.Errorf("%q stands for %q, want %q", word, got, name)
		}
	}
	for _, classic := range classicCommands() {
		for i := 1; i <= len(classic.name); i++ {
			prefix := classic.name[:i]
			first := slices.IndexFunc(classicCommands(), func(c command) bool { return strings.HasPrefix(c.name, prefix) })
			if got, _ := Resolve(prefix); got != classicCommands()[first].name && got != prefix {
				t.Errorf("%q stands for %q: a newer command took it away", prefix, got)
			}
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	answer, _ := r.say(r.dial(), "help")
	for _, c := range commands() {
		if c.help != "" && !strings.Contains("\n"+answer, "\n  "+c.name) {
			t.Errorf("help does not name %s", c.name)
		}
	}
}

func TestComplete(t *testing.T) {
	r := newRig(t, declare([]string{"web", "my mail"}, []string{"127.0.0.1:80", "127.0.0.2:80"}, []string{"127.0.0.3:80"}))
	r.expect(r.dial(), []exchange{
		{`complete "mr"`, OK, "mrtg-bytes\tbytes received and sent, for MRTG\nmrtg-conns\ttotal sessions, for MRTG"},
		{`complete "show; en"`, OK, "enable\tlet channel CH serve"},
		{`complete "enable "`, OK, "0\tuntested, 127.0.0.1:80\n1\tuntested, 127.0.0.2:80"},
		{`complete "en 1"`, OK, "1\tuntested, 127.0.0.2:80"},
		{`complete "enable 0 "`, OK, "1\tuntested, 127.0.0.2:80"},
		{`complete "group "`, OK, "0\t2 untested\n1\t1 untested"},
		{`complete "mrtg-bytes 0 "`, OK, "0\tuntested, 127.0.0.1:80\n1\tuntested, 127.0.0.2:80"},
		{`complete "mrtg-bytes 1 "`, OK, "0\tuntested, 127.0.0.3:80"},
		{`complete "listener "`, OK, "web\t3 untested\n\"my mail\"\t3 untested"},
		{`complete "close "`, OK, "client\nchannel"},
		{`complete "show "`, OK, "all\nweb\t3 untested\n\"my mail\"\t3 untested\n-l\n-json"},
		{`complete "show -l -"`, OK, "-json"},
		{`complete "sessions by "`, OK, "age\nidle\nbytes"},
		{`complete "sessions 0 by idle l"`, OK, "limit"},
		{`complete "close channel "`, OK, "0\tuntested, 127.0.0.1:80\n1\tuntested, 127.0.0.2:80"},
		{`complete "weight "`, OK, "0\tuntested, 127.0.0.1:80\n1\tuntested, 127.0.0.2:80"},
		{`complete "weight 0 "`, OK, "1\tuntested, 127.0.0.2:80"},
		{`complete "enable 127"`, OK, "127.0.0.1:80\tuntested\n127.0.0.2:80\tuntested\n127.0.0.3:80\tuntested"},
		{`complete "enable web/"`, OK, "web/127.0.0.1:80\tuntested, 127.0.0.1:80\nweb/127.0.0.2:80\tuntested, 127.0.0.2:80\nweb/127.0.0.3:80\tuntested, 127.0.0.3:80"},
		{`complete "mode "`, OK, "rr\nhash\nleastconn\nrandom\nfirst"},
		{`complete "diff "`, OK, "-json"},
		{`complete "zzz "`, OK, ""},
	})
}

func TestKillAnswersAtTheEnd(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	client := r.dial()
	asked := make(chan struct{})
	r.server.daemon.Stop = func() { close(asked) }
	var answer []string
	var ended atomic.Bool
	var answered sync.WaitGroup
	answered.Go(func() {
		answer, _, _ = client.Ask("kill")
		if !ended.Load() {
			t.Error("kill answers before the end")
		}
	})
	<-asked
	other := r.dial() // the daemon still answers while it ends
	if _, status := r.say(other, "show"); status != OK {
		t.Error("a daemon that ends does not answer")
	}
	ended.Store(true)
	r.server.Close()
	answered.Wait()
	if strings.Join(answer, "\n") != "shutdown complete, exiting." {
		t.Errorf("kill answers %q", answer)
	}
	if _, err := os.Lstat(r.server.Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string][]string{
		"show":                   {"show"},
		"show; group 1 ;show":    {"show", "group 1", "show"},
		`listener "a;b"; show`:   {`listener "a;b"`, "show"},
		`listener "a\";b"; show`: {`listener "a\";b"`, "show"},
		";":                      {"", ""},
	} {
		if got := Split(text); !slices.Equal(got, want) {
			t.Errorf("Split(%q) = %q, want %q", text, got, want)
		}
	}
}

// What cannot be printed is escaped so that JSON with it stays the same JSON.
func TestPrintableKeepsJSON(t *testing.T) {
	for _, text := range []string{"plain", "\x7f", "\u0085\u2028", "\U000e0001 tag", "a\ufffdb"} {
		encoded, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := json.Unmarshal([]byte(printable(string(encoded))), &got); err != nil || got != text {
			t.Errorf("%+q comes back as %+q, %v", text, got, err)
		}
	}
}

func TestClientsWithAZone(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	s := plane.Session{Client: netip.MustParseAddrPort("[fe80::1%eth0]:5")}
	for text, want := range map[string]bool{
		"fe80::/10": true, "fe80::1": true, "fe80::1%eth0": true, "fe80::1%eth1": false, "fe80::2": false,
		"[fe80::1%eth0]:5": true,
	} {
		matches, problem := r.server.converse(credentials{}).filter(text)
		if problem != "" || matches(&s) != want {
			t.Errorf("%q: %t, want %t; %s", text, !want, want, problem)
		}
	}
}

func TestAnswersSurviveTheWire(t *testing.T) {
	lines := []string{"", ".", ". 0", "..", "a.b", "\x1b[31mred\x00", "Grüße"}
	var wire bytes.Buffer
	if err := writeAnswer(&wire, slices.Values(lines), Differs); err != nil {
		t.Fatal(err)
	}
	got, status, err := readAnswer(bufio.NewReader(&wire), maxAnswer)
	lines[5] = `\u001b[31mred\u0000`
	if err != nil || status != Differs || !slices.Equal(got, lines) {
		t.Errorf("%q, status %d, %v", got, status, err)
	}
}

func FuzzRequest(f *testing.F) {
	for _, c := range commands() {
		f.Add(c.name + " " + c.args)
	}
	f.Add(`create "127.0.0.1" 80`)
	f.Add("assign 0 ::1 80")
	f.Add("sessions 0/0")
	f.Add("maxc 0 99999999999999999999")
	f.Add("watch NaN")
	stopped := make(chan struct{})
	close(stopped)
	e := newEngine(f, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	server := &Server{stopped: stopped, daemon: (&rig{engine: e, file: declare([]string{"web"}, []string{"127.0.0.1:80"})}).daemon()}
	server.access.Store(&ownersAlone)
	f.Fuzz(func(t *testing.T, line string) {
		var wire bytes.Buffer
		lines, status := server.converse(credentials{}).request(line)
		if err := writeAnswer(&wire, lines, status); err != nil {
			t.Fatal(err)
		}
		reader := bufio.NewReader(&wire)
		if _, _, err := readAnswer(reader, maxAnswer); err != nil || reader.Buffered() > 0 {
			t.Fatalf("the answer to %q does not survive the wire: %v", line, err)
		}
		Split(line)
	})
}
