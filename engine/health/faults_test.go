package health

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"balance/engine/spec"
)

// server serves connections as a test has it, until the test ends.
func server(t *testing.T, serve func(conn *net.TCPConn)) net.Addr {
	t.Helper()
	ln := listen(t, "127.0.0.1:0")
	var wg sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			conn, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		end()
		ln.Close()
		wg.Wait()
	})
	return ln.Addr()
}

// says returns a server that says something, and hears the client out.
func says(text string) func(*net.TCPConn) {
	return func(conn *net.TCPConn) {
		io.WriteString(conn, text)
		io.Copy(io.Discard, conn)
	}
}

// talking are the kinds that talk with a server.
var talking = map[string]func(*spec.Check){
	"tcp expect": func(c *spec.Check) { c.Type, c.Send, c.Expect = spec.CheckTCP, "hello\n", "^welcome" },
	"tcp tls":    func(c *spec.Check) { c.Type, c.TLS = spec.CheckTCP, true },
	"http":       func(c *spec.Check) { c.Type = spec.CheckHTTP },
	"https":      func(c *spec.Check) { c.Type, c.TLS = spec.CheckHTTP, true },
	"redis":      func(c *spec.Check) { c.Type = spec.CheckRedis },
	"redis role": func(c *spec.Check) { c.Type, c.Role = spec.CheckRedis, "master" },
	"postgres":   func(c *spec.Check) { c.Type = spec.CheckPostgres },
	"mysql":      func(c *spec.Check) { c.Type = spec.CheckMySQL },
	"smtp":       func(c *spec.Check) { c.Type = spec.CheckSMTP },
	"ldap":       func(c *spec.Check) { c.Type = spec.CheckLDAP },
}

// once checks the server at an address once.
func once(t *testing.T, addr net.Addr, set func(*spec.Check)) Result {
	t.Helper()
	target := tcpTarget(addr)
	target.Check.Timeout = 10 * time.Second
	set(&target.Check)
	if err := Load(&target.Check); err != nil {
		t.Fatal(err)
	}
	var steps []Step
	r := Once(t.Context(), target, []netip.Addr{netip.MustParseAddr(target.Host)}, func(s Step) { steps = append(steps, s) })
	for _, text := range append([]string{r.Answer}, notes(steps)...) {
		if len(text) > 256 {
			t.Errorf("%d bytes: %s", len(text), text)
		}
		for _, c := range text {
			if !strconv.IsPrint(c) || c == '\uFFFD' {
				t.Errorf("%q cannot be printed", text)
				break
			}
		}
	}
	if r.Answer == "" {
		t.Error("the result has no words")
	}
	return r
}

func notes(steps []Step) (all []string) {
	for _, s := range steps {
		all = append(all, s.Name, s.Note)
	}
	return all
}

const hostile = "\x1b[2J\x1b]0;owned\a\xff\xfe\u202e\r\r\x00"

// TestFaults has a server of each kind misbehave in each way.
func TestFaults(t *testing.T) {
	flood := []byte(strings.Repeat(hostile, 4096))
	lines := []byte(strings.Repeat(hostile+"\n", 4096))
	pour := func(with []byte) func(*net.TCPConn) {
		return func(conn *net.TCPConn) {
			for n := 0; n < 64<<20; n += len(with) {
				if _, err := conn.Write(with); err != nil {
					return
				}
			}
		}
	}
	for _, fault := range []struct {
		name  string
		serve func(*net.TCPConn)
		short bool // the check has 200 ms
		want  []Outcome
	}{
		{"says nothing", func(conn *net.TCPConn) { io.Copy(io.Discard, conn) }, true, []Outcome{TimedOut}},
		{"drips", func(conn *net.TCPConn) {
			for i := 0; ; i++ {
				if _, err := conn.Write([]byte{"HTTP/1.1 2220 20 "[i%16]}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}, true, []Outcome{TimedOut, Answered, Insecure}},
		{"closes", func(conn *net.TCPConn) { conn.CloseWrite(); io.Copy(io.Discard, conn) }, false, []Outcome{Reset, Insecure}},
		{"resets", func(conn *net.TCPConn) {
			conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // some wait to be greeted
			conn.Read(make([]byte, 1))
			conn.SetLinger(0)
		}, false, []Outcome{Reset, Insecure}},
		{"pours", pour(flood), false, []Outcome{Answered, Insecure, Reset}},
		{"pours lines", pour(lines), false, []Outcome{Answered, Insecure, Reset}},
		{"says escapes", says(hostile + "\n" + hostile), true, []Outcome{Answered, Insecure, TimedOut}},
	} {
		for name, set := range talking {
			t.Run(fault.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				addr := server(t, fault.serve)
				began := time.Now()
				r := once(t, addr, func(c *spec.Check) {
					set(c)
					if fault.short || name == "smtp" {
						c.Timeout = 200 * time.Millisecond
					}
				})
				for _, outcome := range fault.want {
					if r.Outcome == outcome {
						return
					}
				}
				t.Errorf("%+v after %s, want one of %v", r, time.Since(began), fault.want)
			})
		}
	}
}

// TestAnswers has servers answer well and badly.
func TestAnswers(t *testing.T) {
	tcp := func(send, expect string) func(*spec.Check) {
		return func(c *spec.Check) { c.Type, c.Send, c.Expect = spec.CheckTCP, send, expect }
	}
	role := func(role string) func(*spec.Check) {
		return func(c *spec.Check) { c.Type, c.Role = spec.CheckRedis, role }
	}
	pgError := func(code, message string) string {
		body := "SFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
		return "E" + string([]byte{0, 0, 0, byte(4 + len(body))}) + body
	}
	my := func(number byte, body string) string { return string(mysqlFrame(number, []byte(body))) }
	ldap := func(tag byte, code byte, said string) string {
		result := "\x0a\x01" + string(code) + "\x04\x00\x04" + string([]byte{byte(len(said))}) + said
		op := string([]byte{tag, byte(len(result))}) + result
		return "0" + string([]byte{byte(3 + len(op))}) + "\x02\x01\x01" + op
	}
	for _, test := range []struct {
		name   string
		check  func(*spec.Check)
		says   string
		want   Outcome
		answer string // contains
	}{
		{"expected", tcp("", "^220 "), "220 ready\r\n", Passed, `answered "220 ready\r\n"`},
		{"in answer", tcp("PING\r\n", "PONG"), "+PONG\r\n", Passed, `answered "+PONG\r\n" to "PING\r\n"`},
		{"sent only", tcp("hello", ""), "", Passed, "connected to 127.0.0.1:"},
		{"hexadecimal", func(c *spec.Check) { c.Type, c.SendHex, c.Expect = spec.CheckTCP, "00ff0a", "x" }, "x", Passed, `to "\x00\xff\n"`},
		{"pong", role(""), "+PONG\r\n", Passed, `answered "+PONG" to PING`},
		{"wants a password", role(""), "-NOAUTH Authentication required.\r\n", Passed, "NOAUTH"},
		{"has no permission", role(""), "-NOPERM this user has no permissions\r\n", Passed, "NOPERM"},
		{"loads", role(""), "-LOADING Redis is loading the dataset in memory\r\n", Answered, `"-LOADING Redis is loading the dataset in memory" to PING`},
		{"has lost its master", role(""), "-MASTERDOWN Link with MASTER is down\r\n", Answered, "MASTERDOWN"},
		{"protected", role(""), "-DENIED Redis is running in protected mode\r\n", Answered, "DENIED"},
		{"master", role("master"), "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n", Passed, `has the role "master"`},
		{"slave", role("master"), "*5\r\n$5\r\nslave\r\n", Answered, `has the role "slave", not "master"`},
		{"slave wanted", role("slave"), "*5\r\n$5\r\nslave\r\n", Passed, `has the role "slave"`},
		{"old master", role("master"), "-ERR unknown command 'ROLE'\r\n$28\r\n# Replication\r\nrole:master\r\n\r\n", Passed, `has the role "master"`},
		{"old and silent", role("master"), "-ERR unknown command 'ROLE'\r\n$5\r\nx:y\r\n\r\n", Answered, "no role"},
		{"secret role", role("master"), "-NOAUTH Authentication required.\r\n", Answered, "NOAUTH"},
		{"long role", role("master"), "*1\r\n$99999999999\r\n", Answered, "$9999"},
		{"postgres", talking["postgres"], "R\x00\x00\x00\x08\x00\x00\x00\x0a", Passed, "answered to a startup message"},
		{"postgres negotiates", talking["postgres"], "v\x00\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x00R\x00\x00\x00\x08\x00\x00\x00\x0a", Passed, "answered to a startup message"},
		{"postgres knows nobody", talking["postgres"], pgError("28000", "no such role"), Passed, `lives, it answered "no such role"`},
		{"postgres starts", talking["postgres"], pgError("57P03", "the database system is starting up"), Answered, `answered "the database system is starting up" to a startup message`},
		{"no postgres", talking["postgres"], "220 welcome\r\n", Answered, "not PostgreSQL"},
		{"mysql", talking["mysql"], my(0, "\x0a8.0.1\x00rest") + my(2, "\xff\x15\x04#28000Access denied"), Passed, `greeted as MySQL "8.0.1"`},
		{"mysql asks", talking["mysql"], my(0, "\x0a8.0.1\x00rest") + my(2, "\xfecaching\x00") + my(4, "\xff\x15\x04#28000no"), Passed, `greeted as MySQL "8.0.1"`},
		{"mysql lets in", talking["mysql"], my(0, "\x0a8.0.1\x00rest") + my(2, "\x00\x00\x00"), Passed, `greeted as MySQL "8.0.1"`},
		{"mysql is full", talking["mysql"], my(0, "\xff\x10\x04Too many connections"), Answered, `error 1040 "Too many connections"`},
		{"mysql has blocked us", talking["mysql"], my(0, "\xff\x69\x04#HY000Host is blocked"), Answered, `error 1129 "Host is blocked"`},
		{"no mysql", talking["mysql"], "220 welcome\r\n", Answered, "not MySQL"},
		{"smtp", talking["smtp"], "220-one\r\n220 two ESMTP\r\n250-x\r\n250 y\r\n221 bye\r\n", Passed, `greeted with "220 two ESMTP"`},
		{"smtp is busy", talking["smtp"], "421 busy\r\n", Answered, `"421 busy", not 220`},
		{"smtp does not greet back", talking["smtp"], "220 x\r\n502 no\r\n", Answered, `"502 no" to EHLO, not 250`},
		{"smtp without end", talking["smtp"], strings.Repeat("220-x\r\n", maxAnswer), Answered, "answered too much"},
		{"no smtp", talking["smtp"], "2200 x\r\n", Answered, "not 220"},
		{"ldap", talking["ldap"], ldap(0x61, 0, ""), Passed, "answered result 0 to a bind as nobody"},
		{"ldap wants a name", talking["ldap"], ldap(0x61, 48, "anonymous bind disallowed"), Passed, `result 48 "anonymous bind disallowed"`},
		{"ldap is busy", talking["ldap"], ldap(0x61, 51, "busy"), Answered, `result 51 "busy"`},
		{"ldap leaves", talking["ldap"], ldap(0x78, 52, "shutting down"), Answered, `result 52 "shutting down"`},
		{"no ldap", talking["ldap"], "220 welcome\r\n", Answered, "not LDAP"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := once(t, server(t, says(test.says)), test.check)
			if r.Outcome != test.want || !strings.Contains(r.Answer, test.answer) {
				t.Errorf("%v, %s, want %v and %s", r.Outcome, r.Answer, test.want, test.answer)
			}
		})
	}
}

// TestPieces has the answer that is expected come in pieces, and more of it than
// can be looked at for each.
func TestPieces(t *testing.T) {
	addr := server(t, func(conn *net.TCPConn) {
		for _, piece := range []string{"22", "0 rea", "dy"} {
			io.WriteString(conn, piece)
			time.Sleep(3 * pause)
		}
		io.Copy(io.Discard, conn)
	})
	if r := once(t, addr, func(c *spec.Check) { c.Type, c.Expect = spec.CheckTCP, "^220 ready$" }); r.Outcome != Passed || r.Took > 5*time.Second {
		t.Errorf("%+v", r)
	}
	addr = server(t, func(conn *net.TCPConn) {
		io.WriteString(conn, strings.Repeat("x", maxAnswer-3)+"end and more")
		io.Copy(io.Discard, conn)
	})
	for expect, want := range map[string]Outcome{"xend$": Passed, "end and": Answered} {
		if r := once(t, addr, func(c *spec.Check) { c.Type, c.Expect = spec.CheckTCP, expect }); r.Outcome != want {
			t.Errorf("%s: %+v", expect, r)
		}
	}
}

// TestLooks has an answer come byte by byte: it is not looked at for each.
func TestLooks(t *testing.T) {
	target := Target{Host: "db1", Port: 1, Check: spec.DefaultCheck()}
	v := &visit{target: &target, began: time.Now()}
	talk := v.talk(&fuzzed{in: iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 2*maxAnswer)))})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	answer, err := talk.expect(ctx, regexp.MustCompile("y"))
	if err == nil || talk.got != maxAnswer || talk.looks > 20 {
		t.Errorf("%d bytes, %v after %d looks at %d", len(answer), err, talk.looks, talk.got)
	}
}

// TestLeaveIsTaken watches what a check says at its end: a server is not to count
// or log a connection that was lost.
func TestLeaveIsTaken(t *testing.T) {
	for name, test := range map[string]struct {
		says, last string
	}{
		"smtp":     {"220 x\r\n250 x\r\n221 x\r\n", "QUIT\r\n"},
		"ldap":     {"0\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", string(unbind)},
		"postgres": {"R\x00\x00\x00\x08\x00\x00\x00\x00", "X\x00\x00\x00\x04"},
		"mysql":    {string(mysqlFrame(0, []byte("\x0a8\x00"))) + string(mysqlFrame(2, []byte{0})), "\x01\x00\x00\x00\x01"},
	} {
		heard := make(chan []byte, 1)
		addr := server(t, func(conn *net.TCPConn) {
			io.WriteString(conn, test.says)
			if name == "postgres" { // hears it out
				buffer := make([]byte, 4096)
				var all []byte
				for !bytes.HasSuffix(all, []byte(test.last)) {
					n, err := conn.Read(buffer)
					all = append(all, buffer[:n]...)
					if err != nil {
						break
					}
				}
				heard <- all
				return
			}
			all, _ := io.ReadAll(conn)
			heard <- all
		})
		if r := once(t, addr, talking[name]); r.Outcome != Passed {
			t.Errorf("%s: %+v", name, r)
		}
		if all := <-heard; !bytes.HasSuffix(all, []byte(test.last)) {
			t.Errorf("%s: it ended with %q, want %q", name, all, test.last)
		}
	}
}

func TestStepsAreTold(t *testing.T) {
	addr := server(t, says("+PONG\r\n"))
	target := tcpTarget(addr)
	target.Check.Type = spec.CheckRedis
	var steps []string
	Once(t.Context(), target, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, func(s Step) {
		steps = append(steps, fmt.Sprintf("%s: %s", s.Name, s.Note))
	})
	want := []string{"connect " + addr.String() + ": connected", "send: PING", `answer: "+PONG"`}
	if strings.Join(steps, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", steps, want)
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain":                        "plain",
		"ä\x1b[2J\xff\u202e":           "ä?[2J??",
		strings.Repeat("x", 256):       strings.Repeat("x", 256),
		strings.Repeat("x", 257):       strings.Repeat("x", 253) + "…",
		strings.Repeat("ä", 200):       strings.Repeat("ä", 126) + "…",
		"x" + strings.Repeat("€", 100): "x" + strings.Repeat("€", 84) + "…",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func FuzzQuote(f *testing.F) {
	f.Add([]byte(hostile))
	f.Add(bytes.Repeat([]byte("ä\x1b"), 100))
	f.Fuzz(func(t *testing.T, said []byte) {
		quoted := quote(said)
		if len(quoted) > maxQuote+len(`"…`) || quoted != printable(quoted) {
			t.Errorf("%d bytes: %s", len(quoted), quoted)
		}
	})
}

// fuzzed is a connection whose other end says what the fuzzer has it say.
type fuzzed struct {
	net.TCPConn
	in io.Reader
}

func (f *fuzzed) Read(p []byte) (int, error)      { return f.in.Read(p) }
func (f *fuzzed) Write(p []byte) (int, error)     { return len(p), nil }
func (f *fuzzed) LocalAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (f *fuzzed) SetReadDeadline(time.Time) error { return nil }

// FuzzAnswers has servers of each kind say anything: whatever it is, a check comes
// to an end, and to words that can be printed.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte("+PONG\r\n"))
	f.Add([]byte("*3\r\n$6\r\nmaster\r\n"))
	f.Add([]byte("-ERR unknown command\r\n$11\r\nrole:master\r\n"))
	f.Add([]byte("E\x00\x00\x00\x10C57P03\x00Mno\x00\x00"))
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00"))
	f.Add(mysqlFrame(0, []byte("\x0a8\x00")))
	f.Add(mysqlFrame(0, []byte("\xff\x01\x02#abcdefg")))
	f.Add([]byte("220-x\r\n220 x\r\n250 x\r\n"))
	f.Add([]byte("0\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte("0\x84\x00\x00\x00\x10\x02\x01\x01\x61\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"))
	f.Add([]byte("0\x05\x02\x7f\x01\x01\x01"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		check := spec.DefaultCheck()
		target := Target{Host: "db1", Port: 1, Check: check}
		for name, ask := range map[string]func(*talk) (string, error){
			"redis": func(talk *talk) (string, error) { return (&redisKind{}).ping(talk) },
			"role": func(talk *talk) (string, error) {
				role, err := askRole(talk)
				return quote(role), err
			},
			"postgres": postgresKind{}.talk,
			"mysql":    mysqlKind{}.talk,
			"smtp":     smtpKind{}.talk,
			"ldap":     ldapKind{}.talk,
		} {
			v := &visit{target: &target, began: time.Now(), step: func(Step) {}}
			counted := &countedReader{in: io.MultiReader(bytes.NewReader(said), bytes.NewReader(make([]byte, maxAnswer)))}
			words, err := ask(v.talk(&fuzzed{in: counted}))
			r := v.result(words, err)
			if r.Answer == "" || len(r.Answer) > maxWords || printable(r.Answer) != r.Answer {
				t.Errorf("%s: %q", name, r.Answer)
			}
			if counted.n > maxAnswer {
				t.Errorf("%s read %d bytes", name, counted.n)
			}
		}
	})
}

type countedReader struct {
	in io.Reader
	n  int
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += n
	return n, err
}
