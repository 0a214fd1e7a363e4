package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"balance/engine/preface"
	"balance/engine/spec"
)

// kind is what a check does; there is a file for each. It asks the server that the
// visit goes to, and returns in words what was asked and what came back. The error
// is a failure where the kind knows more than what Go says. All that a server
// sends is hostile: a kind reads up to maxAnswer of it, within ctx, and quotes it.
type kind interface {
	ask(ctx context.Context, v *visit) (words string, err error)
}

// kinds are what makes the kinds, from checks that are valid.
var kinds = map[spec.CheckType]func(*spec.Check) (kind, error){
	spec.CheckTCP:      newTCP,
	spec.CheckHTTP:     newHTTP,
	spec.CheckExec:     newExec,
	spec.CheckRedis:    newRedis,
	spec.CheckPostgres: newPostgres,
	spec.CheckMySQL:    newMySQL,
	spec.CheckSMTP:     newSMTP,
	spec.CheckLDAP:     newLDAP,
}

// probe is a check made ready: its expression compiled, its files read.
type probe struct {
	check        *spec.Check
	kind         kind
	fault        error // why it cannot be made; nil if it can
	connectsOnly bool  // a connection is enough
}

// newProbe makes a check ready. With an error it returns a probe that fails with
// that.
func newProbe(check *spec.Check) (*probe, error) {
	p := &probe{check: check}
	if create := kinds[check.Type]; create != nil {
		p.kind, p.fault = create(check)
	} else {
		p.fault = fmt.Errorf("check type %d is not known", check.Type)
	}
	p.connectsOnly = check.Type == spec.CheckTCP && !check.TLS && check.Send == "" && check.SendHex == "" && check.Expect == ""
	return p, p.fault
}

// Load finds out whether a check can be made ready: its files can be read and say
// what they should, its expression is one. Set does the same, so nothing is kept.
func Load(check *spec.Check) error {
	if check.Type == spec.CheckNone {
		return nil
	}
	_, err := newProbe(check)
	return err
}

// Once checks a target now, and calls step, which may be nil, for each step.
func Once(ctx context.Context, target Target, addrs []netip.Addr, step func(Step)) Result {
	p, _ := newProbe(&target.Check)
	return p.run(ctx, &target, addrs, step)
}

// run makes one check.
func (p *probe) run(ctx context.Context, t *Target, addrs []netip.Addr, step func(Step)) Result {
	v := &visit{target: t, step: step, began: time.Now()}
	for _, addr := range addrs {
		v.addrs = append(v.addrs, netip.AddrPortFrom(addr, t.Port))
	}
	if p.fault != nil {
		return v.result("", failed(Local, "cannot check: %v", p.fault))
	}
	ctx, cancel := context.WithTimeout(ctx, t.Check.Timeout)
	defer cancel()
	words, err := p.kind.ask(ctx, v)
	return v.result(words, err)
}

// visit is one check of one target under way.
type visit struct {
	target *Target
	addrs  []netip.AddrPort
	began  time.Time

	mu   sync.Mutex // held while step is called: addresses are dialled at the same time
	step func(Step) // may be nil
}

// took tells of a step that is over now.
func (v *visit) took(name string, began time.Time, note string) {
	if v.step != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.step(Step{Name: name, Took: time.Since(began), Note: printable(note)})
	}
}

// result returns what came of the check.
func (v *visit) result(words string, err error) Result {
	r := Result{Time: v.began, Took: time.Since(v.began), Outcome: Passed}
	if err != nil {
		r.Outcome, words = outcomeOf(err), err.Error()
	}
	r.Answer = printable(words)
	return r
}

// server returns where the check goes, in words.
func (t *Target) server() string {
	if _, unix := t.unix(); unix {
		return t.Host
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
}

// hostname returns what the server is called where nothing else is said: behind a unix
// socket, localhost.
func (t *Target) hostname() string {
	if _, unix := t.unix(); unix {
		return "localhost"
	}
	return t.Host
}

// resolved tells of the addresses of a name as a step. They were known before.
func (v *visit) resolved() {
	if _, err := netip.ParseAddr(v.target.Host); err == nil {
		return
	}
	var all []string
	for _, addr := range v.addrs {
		all = append(all, addr.Addr().String())
	}
	note := strings.Join(all, ", ")
	if note == "" {
		note = "no address"
	}
	v.took("resolve", time.Now(), note)
}

// undialled puts in words why none of the addresses could be connected to.
func (v *visit) undialled(ctx context.Context, err error) error {
	server := v.target.server()
	outcome, text := outcomeOf(err), strings.TrimPrefix(err.Error(), server+": ")
	if ctx.Err() == context.DeadlineExceeded || errors.Is(err, os.ErrDeadlineExceeded) {
		outcome = TimedOut
		if len(v.addrs) <= 1 {
			text = "no answer within " + v.target.Check.Timeout.String()
		}
	}
	return failed(outcome, "connect to %s: %s", server, text)
}

// connect connects to the server, and sends it its PROXY header. The caller closes
// the connection, which fails when ctx ends. One that is quick serves nothing but to
// find out whether somebody listens.
func (v *visit) connect(ctx context.Context, quick bool) (net.Conn, error) {
	conn, err := v.reach(ctx, quick)
	if err != nil {
		return nil, err
	}
	bound := &bounded{conn, context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })}
	if err := v.sendProxy(bound); err != nil {
		bound.Close()
		return nil, err
	}
	return bound, nil
}

// reach connects to the server.
func (v *visit) reach(ctx context.Context, quick bool) (net.Conn, error) {
	if path, unix := v.target.unix(); unix {
		conn, err := v.dialUnix(ctx, path)
		if err != nil {
			return nil, v.undialled(ctx, err)
		}
		return conn, nil
	}
	v.resolved()
	if len(v.addrs) == 0 {
		return nil, failed(Unreachable, "%s has no address", strconv.Quote(v.target.Host))
	}
	conn, err := race(ctx, v.addrs, func(ctx context.Context, addr netip.AddrPort) (net.Conn, error) {
		return v.dial(ctx, addr, quick)
	})
	if err != nil {
		return nil, v.undialled(ctx, err)
	}
	return conn, nil
}

// sendProxy sends the PROXY header that the server wants to begin with, if it does.
// Version 2 says LOCAL. Version 1 has no word for that: it names the two ends of this
// very connection, as its specification asks of checks (haproxy,
// doc/proxy-protocol.txt, 2.1), since some servers turn UNKNOWN away.
func (v *visit) sendProxy(conn net.Conn) error {
	version := v.target.SendProxy
	if version == 0 {
		return nil
	}
	header := preface.Proxy{Local: true, Source: addrPortOf(conn.LocalAddr()), Destination: addrPortOf(conn.RemoteAddr())}
	return v.talk(conn).send("a PROXY header", preface.AppendProxy(nil, version, &header, nil))
}

// addrPortOf returns the address of one end of a connection, which is not valid for a
// unix socket.
func addrPortOf(addr net.Addr) netip.AddrPort {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// bounded is a connection that a context bounds.
type bounded struct {
	net.Conn
	release func() bool
}

func (b *bounded) Close() error {
	b.release()
	return b.Conn.Close()
}
