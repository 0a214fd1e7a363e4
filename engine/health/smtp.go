package health

import (
	"fmt"
	"net"
	"strings"

	"balance/engine/spec"
)

// smtpKind waits to be greeted with 220, says EHLO, waits for 250, and takes its
// leave.
type smtpKind struct{}

func newSMTP(*spec.Check) (kind, error) { return conversation{smtpKind{}}, nil }

func (smtpKind) talk(t *talk) (string, error) {
	greeting, err := smtpReply(t, "220")
	if err != nil {
		return "", err
	}
	words := fmt.Sprintf("%s greeted with %s", t.visit.target.server(), greeting)
	if err := t.send("EHLO", []byte("EHLO "+literal(t.conn.LocalAddr())+"\r\n")); err != nil {
		return "", err
	}
	if _, err := smtpReply(t, "250"); err != nil {
		return "", err
	}
	// It has shown that it lives, whatever becomes of this.
	if t.send("QUIT", []byte("QUIT\r\n")) == nil {
		smtpReply(t, "221")
	}
	return words, nil
}

// smtpReply reads a reply, which is to have a code, and returns its last line in
// quotes (RFC 5321, 4.2).
func smtpReply(t *talk, code string) (string, error) {
	for {
		line, err := t.line()
		if err != nil {
			return "", err
		}
		rest, found := strings.CutPrefix(string(line), code)
		switch {
		case !found || rest != "" && rest[0] != ' ' && rest[0] != '-':
			return "", t.wrong(line, "not "+code)
		case rest == "" || rest[0] == ' ':
			t.answered(quote(line))
			return quote(line), nil
		}
	}
}

// literal is what a client calls itself that has no name (RFC 5321, 4.1.3); one that
// has come over a unix socket is on this machine.
func literal(addr net.Addr) string {
	ip := addrPortOf(addr).Addr().Unmap().WithZone("")
	if !ip.IsValid() {
		return "localhost"
	}
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
