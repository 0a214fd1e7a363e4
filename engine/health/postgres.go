package health

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"balance/engine/spec"
)

// postgresKind begins a session, as pg_isready does, and goes no further than the
// first answer. A request for TLS would not do: a server that is still starting up
// answers that like one that serves. Every answer means that the server lives but
// the error 57P03: it is starting up, shutting down or recovering.
//
// The session is for the user "balance" of the database "postgres". Where the
// server asks for a password, it logs nothing, since it is left before that fails.
// Where it has no rule for balance's address, or trusts it and has no such user, it
// logs a line for each check.
type postgresKind struct{}

func newPostgres(*spec.Check) (kind, error) { return conversation{postgresKind{}}, nil }

const cannotConnectNow = "57P03" // PostgreSQL, appendix A

func (postgresKind) talk(t *talk) (string, error) {
	if err := t.send("a startup message", startupMessage()); err != nil {
		return "", err
	}
	for {
		kind, body, err := postgresMessage(t)
		if err != nil {
			return "", err
		}
		switch kind {
		case 'v', 'N': // it negotiates the version, or has a notice
		case 'R':
			if len(body) >= 4 && binary.BigEndian.Uint32(body) == 0 {
				t.answered("welcome")
				// It lets everybody in. It is told that this is the end, and heard
				// out, lest it log that the connection was lost.
				if _, err := t.conn.Write([]byte{'X', 0, 0, 0, 4}); err == nil {
					io.Copy(io.Discard, t.in)
				}
			} else {
				t.answered("a request for credentials")
			}
			return fmt.Sprintf("%s answered to a startup message", t.visit.target.server()), nil
		case 'E':
			code, message := postgresError(body)
			t.answered(quote(message))
			if string(code) == cannotConnectNow {
				return "", failed(Answered, "%s answered %s to a startup message", t.visit.target.server(), quote(message))
			}
			return fmt.Sprintf("%s lives, it answered %s", t.visit.target.server(), quote(message)), nil
		default:
			return "", t.wrong(append([]byte{kind}, body...), "which is not PostgreSQL")
		}
	}
}

func startupMessage() []byte {
	const fields = "user\x00balance\x00database\x00postgres\x00\x00"
	message := binary.BigEndian.AppendUint32(nil, uint32(8+len(fields)))
	message = binary.BigEndian.AppendUint32(message, 3<<16) // protocol 3.0
	return append(message, fields...)
}

// postgresMessage returns the next message of the server.
func postgresMessage(t *talk) (kind byte, body []byte, err error) {
	head, err := t.bytes(5)
	if err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length < 4 || length > maxAnswer {
		// Also a server that cannot start a process: it says why in plain text.
		return 0, nil, t.wrong(head, "which is not PostgreSQL")
	}
	body, err = t.bytes(int(length) - 4)
	return head[0], body, err
}

// postgresError returns the code and the words of an error: fields that end with
// a zero byte, each after a letter.
func postgresError(body []byte) (code, message []byte) {
	for len(body) > 0 && body[0] != 0 {
		letter := body[0]
		value, rest, found := bytes.Cut(body[1:], []byte{0})
		if !found {
			break
		}
		switch letter {
		case 'C':
			code = value
		case 'M':
			message = value
		}
		body = rest
	}
	return code, message
}
