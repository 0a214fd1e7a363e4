package health

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"balance/engine/spec"
)

// mysqlKind waits to be greeted, and logs in as the user "balance" without a
// password, which as a rule comes to nothing. A client that left after the greeting
// would be counted as one that broke the handshake, and after max_connect_errors of
// them the server would turn all away that come from its address. A login that is
// denied does not count, but is logged as a warning unless there is such a user. One
// without any privilege is enough for that. Every answer to it means that the server lives; an error
// in the place of the greeting (too many connections, a host that is not let in) is
// what clients would get.
type mysqlKind struct{}

func newMySQL(*spec.Check) (kind, error) { return conversation{mysqlKind{}}, nil }

// First bytes of packets of the server.
const (
	mysqlOK    = 0x00
	mysqlError = 0xff
)

func (mysqlKind) talk(t *talk) (string, error) {
	number, greeting, err := mysqlPacket(t)
	if err != nil {
		return "", err
	}
	version, err := mysqlGreeting(greeting)
	if err != nil {
		t.answered(err.Error())
		return "", failed(Answered, "%s answered %s", t.visit.target.server(), err)
	}
	words := fmt.Sprintf("%s greeted as MySQL %s", t.visit.target.server(), quote(version))
	t.answered("MySQL " + quote(version))
	// It has shown that it lives, whatever becomes of this.
	if t.send("a login", mysqlFrame(number+1, mysqlLogin())) != nil {
		return words, nil
	}
	for range 4 { // ways to log in
		number, answer, err := mysqlPacket(t)
		if err != nil || len(answer) == 0 {
			return words, nil
		}
		switch answer[0] {
		case mysqlError:
			t.answered(mysqlErrorWords(answer))
			return words, nil
		case mysqlOK:
			t.answered("welcome")
			t.conn.Write(mysqlFrame(0, []byte{1})) // COM_QUIT
			return words, nil
		}
		// An empty password is an empty packet, whatever it asks for.
		if t.send("no password", mysqlFrame(number+1, nil)) != nil {
			return words, nil
		}
	}
	return words, nil
}

// mysqlPacket returns the next packet of the server, and its number.
func mysqlPacket(t *talk) (number byte, body []byte, err error) {
	head, err := t.bytes(4)
	if err != nil {
		return 0, nil, err
	}
	length := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if length == 0 || length > maxAnswer {
		return 0, nil, t.wrong(head, "which is not MySQL")
	}
	body, err = t.bytes(length)
	return head[3], body, err
}

func mysqlFrame(number byte, body []byte) []byte {
	n := len(body)
	return append([]byte{byte(n), byte(n >> 8), byte(n >> 16), number}, body...)
}

// mysqlGreeting returns the version of a server that greets by protocol 10. The
// error is in printable words.
func mysqlGreeting(packet []byte) (version []byte, err error) {
	switch {
	case len(packet) > 0 && packet[0] == mysqlError:
		return nil, &failure{Answered, mysqlErrorWords(packet)}
	case len(packet) == 0 || packet[0] != 10:
		return nil, &failure{Answered, quote(packet) + ", which is not MySQL"}
	}
	version, _, found := bytes.Cut(packet[1:], []byte{0})
	if !found {
		return nil, &failure{Answered, quote(packet) + ", which is not MySQL"}
	}
	return version, nil
}

// mysqlErrorWords returns what an error says: a code and a text, before which may
// be a state of five characters.
func mysqlErrorWords(packet []byte) string {
	if len(packet) < 3 {
		return "an error"
	}
	code, text := binary.LittleEndian.Uint16(packet[1:]), packet[3:]
	if len(text) >= 6 && text[0] == '#' {
		text = text[6:]
	}
	return fmt.Sprintf("error %d %s", code, quote(text))
}

// mysqlLogin is the answer to the greeting (HandshakeResponse41 in the manual of
// the protocol).
func mysqlLogin() []byte {
	const protocol41, secureConnection, pluginAuth = 1 << 9, 1 << 15, 1 << 19
	const utf8 = 33
	login := binary.LittleEndian.AppendUint32(nil, protocol41|secureConnection|pluginAuth)
	login = binary.LittleEndian.AppendUint32(login, maxAnswer)
	login = append(login, utf8)
	login = append(login, make([]byte, 23)...)
	login = append(login, "balance\x00\x00mysql_native_password\x00"...)
	return login
}
