package health

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"time"

	"balance/engine/spec"
)

// tcpKind connects, by TLS if it is asked to, and may send and expect something.
type tcpKind struct {
	tls    *tls.Config // nil for none
	send   []byte
	expect *regexp.Regexp // nil if a connection is enough
}

func newTCP(check *spec.Check) (kind, error) {
	k := &tcpKind{send: []byte(check.Send)}
	var err error
	if check.SendHex != "" {
		if k.send, err = hex.DecodeString(check.SendHex); err != nil {
			return nil, fmt.Errorf("send_hex: %w", err)
		}
	}
	if k.expect, err = newExpect(check); err != nil {
		return nil, err
	}
	k.tls, err = newTLS(check)
	return k, err
}

// newExpect returns the expression that an answer has to match, nil for none.
func newExpect(check *spec.Check) (*regexp.Regexp, error) {
	if check.Expect == "" {
		return nil, nil
	}
	expect, err := regexp.Compile(check.Expect)
	if err != nil {
		return nil, fmt.Errorf("expect: %w", err)
	}
	return expect, nil
}

func (k *tcpKind) ask(ctx context.Context, v *visit) (string, error) {
	connectsOnly := len(k.send) == 0 && k.expect == nil && k.tls == nil
	conn, err := v.connect(ctx, connectsOnly && v.target.silent())
	if err != nil {
		return "", err
	}
	defer conn.Close()
	words := connectedWords(v.target, addrPortOf(conn.RemoteAddr()))
	if k.tls != nil {
		secured, err := v.secure(ctx, conn, k.tls)
		if err != nil {
			return "", err
		}
		defer secured.Close()
		conn = secured
		words += " by TLS"
	}
	t := v.talk(conn)
	if len(k.send) > 0 {
		if err := t.send(quote(k.send), k.send); err != nil {
			return "", err
		}
	}
	if k.expect == nil {
		return words, nil
	}
	said, err := t.expect(ctx, k.expect)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s answered %s%s", v.target.server(), quote(said), t.to()), nil
}

// pause is how long the rest of an answer is waited for before what is there is
// looked at.
const pause = 10 * time.Millisecond

// expect reads until what was read matches. Since the server says in which pieces
// it comes, an answer is not looked at for each of them, but whenever it has doubled
// or pauses: so that costs at most one look in a pause.
func (t *talk) expect(ctx context.Context, expression *regexp.Regexp) ([]byte, error) {
	end, _ := ctx.Deadline()
	answer := make([]byte, 0, 4096)
	looked := 0 // how much of it did not match
	for {
		if len(answer) == cap(answer) {
			answer = append(answer, 0)[:len(answer)]
		}
		until := end
		if soon := time.Now().Add(pause); len(answer) > looked && soon.Before(end) {
			until = soon
		}
		t.conn.SetReadDeadline(until)
		if ctx.Err() != nil { // whose end may have set a deadline just before
			return nil, t.broken(os.ErrDeadlineExceeded)
		}
		n, err := t.in.Read(answer[len(answer):min(cap(answer), maxAnswer)])
		answer = answer[:len(answer)+n]
		t.got = len(answer)
		more := err == nil && len(answer) < maxAnswer
		if more && len(answer) < 2*looked {
			continue
		}
		if len(answer) > looked {
			t.looks++
			if expression.Match(answer) {
				t.answered(quote(answer))
				return answer, nil
			}
			looked = len(answer)
		}
		late := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case more, late && until != end && ctx.Err() == nil:
		case len(answer) > 0 && late:
			t.answered(quote(answer))
			return nil, failed(TimedOut, "%s answered %s%s within %s, not what is expected",
				t.visit.target.server(), quote(answer), t.to(), t.visit.target.Check.Timeout)
		case len(answer) > 0 && (err == nil || errors.Is(err, io.EOF)):
			return nil, t.wrong(answer, "not what is expected")
		default:
			return nil, t.broken(err)
		}
	}
}

// connected returns what came of a check that only connected to one address.
func (t *target) connected(addr netip.AddrPort, began time.Time, err error) Result {
	if err != nil {
		v := visit{target: &t.Target, addrs: []netip.AddrPort{addr}, began: began}
		return v.result("", v.undialled(context.Background(), &unaddressed{addr, err}))
	}
	if t.connectedTo != addr {
		t.connectedTo, t.connectedWords = addr, printable(connectedWords(&t.Target, addr))
	}
	return Result{Time: began, Took: time.Since(began), Outcome: Passed, Answer: t.connectedWords}
}

// connectedWords says where a check has connected to; the address is not valid for a
// unix socket.
func connectedWords(t *Target, addr netip.AddrPort) string {
	words := "connected to " + t.server()
	if text := addr.String(); addr.IsValid() && text != t.server() {
		words += " (" + text + ")"
	}
	return words
}
