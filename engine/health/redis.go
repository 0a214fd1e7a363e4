package health

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"balance/engine/spec"
)

// redisKind sends PING, or asks for the role if one is wanted. A server that asks
// for credentials (NOAUTH, NOPERM) lives, but does not tell its role: it is no
// answer to that. One that is loading its data, or has lost its master and serves
// no stale data, is of no use to clients, and says so by an error.
type redisKind struct{ role string }

func newRedis(check *spec.Check) (kind, error) {
	return conversation{&redisKind{role: check.Role}}, nil
}

func (k *redisKind) talk(t *talk) (string, error) {
	if k.role == "" {
		return k.ping(t)
	}
	role, err := askRole(t)
	if err != nil {
		return "", err
	}
	t.answered(quote(role))
	if string(role) != k.role {
		return "", failed(Answered, "%s has the role %s, not %q", t.visit.target.server(), quote(role), k.role)
	}
	return fmt.Sprintf("%s has the role %q", t.visit.target.server(), k.role), nil
}

func (k *redisKind) ping(t *talk) (string, error) {
	if err := t.send("PING", command("PING")); err != nil {
		return "", err
	}
	line, err := t.line()
	if err != nil {
		return "", err
	}
	if string(line) != "+PONG" && !bytes.HasPrefix(line, []byte("-NOAUTH ")) && !bytes.HasPrefix(line, []byte("-NOPERM ")) {
		return "", t.wrong(line, "")
	}
	t.answered(quote(line))
	return fmt.Sprintf("%s answered %s to PING", t.visit.target.server(), quote(line)), nil
}

// askRole returns the role of the server. Servers before 2.8.12 do not know ROLE,
// but tell it in INFO.
func askRole(t *talk) ([]byte, error) {
	if err := t.send("ROLE", command("ROLE")); err != nil {
		return nil, err
	}
	line, err := t.line()
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(line, []byte("-ERR unknown command")) {
		if err := t.send("INFO replication", command("INFO", "replication")); err != nil {
			return nil, err
		}
		return infoRole(t)
	}
	if len(line) == 0 || line[0] != '*' {
		return nil, t.wrong(line, "")
	}
	return bulk(t)
}

// bulk returns the next string of the answer.
func bulk(t *talk) ([]byte, error) {
	line, err := t.line()
	if err != nil {
		return nil, err
	}
	n, err := bulkLength(line)
	if err != nil {
		return nil, t.wrong(line, "")
	}
	text, err := t.bytes(n + len("\r\n"))
	if err != nil {
		return nil, err
	}
	return text[:n], nil
}

// bulkLength returns how long the string is that a line announces: "$6".
func bulkLength(line []byte) (int, error) {
	if len(line) == 0 || line[0] != '$' {
		return 0, errors.New("no string")
	}
	n, err := strconv.ParseUint(string(line[1:]), 10, 16)
	return int(n), err // so less than maxAnswer
}

func infoRole(t *talk) ([]byte, error) {
	text, err := bulk(t)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if role, found := bytes.CutPrefix(line, []byte("role:")); found {
			return bytes.TrimSpace(role), nil
		}
	}
	return nil, t.wrong(text, "no role in it")
}

// command returns a command in the form of the protocol.
func command(words ...string) []byte {
	text := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, word := range words {
		text = fmt.Appendf(text, "$%d\r\n%s\r\n", len(word), word)
	}
	return text
}
