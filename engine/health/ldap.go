package health

import (
	"errors"
	"fmt"

	"balance/engine/spec"
)

// ldapKind binds as nobody, and unbinds. A server that wants more of those who
// bind lives as well.
type ldapKind struct{}

func newLDAP(*spec.Check) (kind, error) { return conversation{ldapKind{}}, nil }

var (
	anonymousBind = []byte{0x30, 0x0c, 0x02, 0x01, 0x01, 0x60, 0x07, 0x02, 0x01, 0x03, 0x04, 0x00, 0x80, 0x00} // RFC 4511, 4.2
	unbind        = []byte{0x30, 0x05, 0x02, 0x01, 0x02, 0x42, 0x00}                                           // RFC 4511, 4.3
)

func (ldapKind) talk(t *talk) (string, error) {
	if err := t.send("a bind as nobody", anonymousBind); err != nil {
		return "", err
	}
	message, err := ldapMessage(t)
	if err != nil {
		return "", err
	}
	code, said, err := ldapResult(message)
	if err != nil {
		return "", t.wrong(message, "which is not LDAP")
	}
	result := fmt.Sprintf("result %d", code)
	if len(said) > 0 {
		result += " " + quote(said)
	}
	t.answered(result)
	words := t.visit.target.server() + " answered " + result + t.to()
	t.conn.Write(unbind)
	switch code {
	case 0, // success
		8,  // strongerAuthRequired
		13, // confidentialityRequired
		48, // inappropriateAuthentication
		49, // invalidCredentials
		50: // insufficientAccessRights
		return words, nil
	}
	return "", failed(Answered, "%s", words)
}

// ldapMessage reads the contents of a message of the server.
func ldapMessage(t *talk) ([]byte, error) {
	head, err := t.bytes(2)
	if err != nil {
		return nil, err
	}
	if head[0] != 0x30 {
		return nil, t.wrong(head, "which is not LDAP")
	}
	length := int(head[1])
	if length >= 0x80 {
		size := length - 0x80
		if size < 1 || size > 3 {
			return nil, t.wrong(head, "which is not LDAP")
		}
		more, err := t.bytes(size)
		if err != nil {
			return nil, err
		}
		length = 0
		for _, b := range more {
			length = length<<8 | int(b)
		}
	}
	if length > maxAnswer {
		return nil, t.wrong(head, fmt.Sprintf("a message of %d bytes", length))
	}
	return t.bytes(length)
}

var errNoLDAP = errors.New("not LDAP")

// ldapResult returns the result code and the words of the contents of a message:
// the answer to the bind, or notice that the server disconnects (RFC 4511, 4.1.9,
// 4.2.2 and 4.4.1).
func ldapResult(message []byte) (code int, said []byte, err error) {
	const integer, enumerated, octets, bindResponse, extendedResponse = 0x02, 0x0a, 0x04, 0x61, 0x78
	_, rest, err := element(message, integer)
	if err != nil {
		return 0, nil, err
	}
	result, _, err := element(rest, bindResponse)
	if err != nil {
		if result, _, err = element(rest, extendedResponse); err != nil {
			return 0, nil, err
		}
	}
	value, rest, err := element(result, enumerated)
	if err != nil || len(value) != 1 {
		return 0, nil, errNoLDAP
	}
	_, rest, err = element(rest, octets) // the name that was found
	if err != nil {
		return 0, nil, err
	}
	said, _, err = element(rest, octets)
	return int(value[0]), said, err
}

// element takes the first element of a text in BER, which has to have a tag, apart
// (X.690).
func element(text []byte, tag byte) (value, rest []byte, err error) {
	if len(text) < 2 || text[0] != tag {
		return nil, nil, errNoLDAP
	}
	length, text := int(text[1]), text[2:]
	if length >= 0x80 {
		size := length - 0x80
		if size < 1 || size > 3 || size > len(text) {
			return nil, nil, errNoLDAP
		}
		length = 0
		for _, b := range text[:size] {
			length = length<<8 | int(b)
		}
		text = text[size:]
	}
	if length > len(text) {
		return nil, nil, errNoLDAP
	}
	return text[:length], text[length:], nil
}
