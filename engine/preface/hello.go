package preface

import (
	"encoding/binary"
	"errors"
)

// Hello is what the ClientHello of a TLS client says of where it wants to go.
type Hello struct {
	// ServerName is the host that it names, in lower case and without a dot at its
	// end: letters, digits, "-", "_" and dots, at most 255 bytes. It is empty if
	// there is none, or one that no host can have. With Encrypted Client Hello it is
	// the outer name.
	ServerName string

	// ALPN are the application protocols that it offers, as they came, in its order
	// of preference. Of more than 64 it is the first. They may hold bytes that no
	// terminal should see.
	ALPN []string
}

// MaxHello is the longest ClientHello that is read, in bytes and with the headers
// of its records. One with a post-quantum key share has about 1800, and a few
// thousand if it resumes with tickets.
const MaxHello = 16 << 10

// The names are those of RFC 8446, sections 4.1.2, 4.2 and 5.1.
const (
	recordHeader    = 5
	recordMax       = 1 << 14
	recordHandshake = 22

	messageHeader      = 4
	messageClientHello = 1

	extensionServerName = 0  // RFC 6066, section 3
	extensionALPN       = 16 // RFC 7301, section 3.1

	maxALPN = 64
	maxName = 255
)

var (
	errNoHello   = errors.New("no ClientHello")
	errLongHello = errors.New("the ClientHello is longer than 16 KiB")
	errHello     = errors.New("the ClientHello is malformed")
)

// ReadHello reads the ClientHello at the beginning of b, and does not mind what
// stands behind it. It says ErrShort as long as b can become one. With any other
// error it is none, or none that is read: such a client names nothing. That is
// so for SSL 2, too, whose messages have another form.
func ReadHello(b []byte) (Hello, error) {
	m, err := clientHello(b)
	if err != nil {
		return Hello{}, err
	}
	h, ok := parseHello(m)
	if !ok {
		return Hello{}, errHello
	}
	return h, nil
}

// clientHello gives the body of the message, which is a part of b if it came in
// one record, and otherwise put together when all of it is there.
func clientHello(b []byte) ([]byte, error) {
	more := ErrShort
	if len(b) >= MaxHello {
		b, more = b[:MaxHello], errLongHello
	}
	var header [messageHeader]byte
	have, want := 0, 0 // bytes of the message, its header with them
	for rest := b; ; {
		if len(rest) > 0 && rest[0] != recordHandshake || len(rest) > 1 && rest[1] != 3 {
			return nil, errNoHello // the minor version says nothing: section 5.1
		}
		if len(rest) < recordHeader {
			return nil, more
		}
		size := int(binary.BigEndian.Uint16(rest[3:]))
		if size == 0 || size > recordMax {
			return nil, errNoHello
		}
		fragment := rest[recordHeader:]
		whole := len(fragment) >= size
		if whole {
			fragment, rest = fragment[:size], fragment[size:]
		}
		if have < messageHeader {
			copy(header[have:], fragment)
		}
		have += len(fragment)
		if have > 0 && header[0] != messageClientHello {
			return nil, errNoHello
		}
		if have >= messageHeader {
			want = messageHeader + (int(header[1])<<16 | int(header[2])<<8 | int(header[3]))
			if want > MaxHello-recordHeader {
				return nil, errLongHello
			}
			if have >= want {
				break
			}
		}
		if !whole {
			return nil, more
		}
	}

	if first := b[recordHeader:]; int(binary.BigEndian.Uint16(b[3:])) >= want {
		return first[messageHeader:want], nil
	}
	m := make([]byte, 0, want)
	for rest := b; len(m) < want; {
		size := min(int(binary.BigEndian.Uint16(rest[3:])), len(rest)-recordHeader)
		m = append(m, rest[recordHeader:recordHeader+min(size, want-len(m))]...)
		rest = rest[recordHeader+size:]
	}
	return m[messageHeader:], nil
}

// parseHello reads the body of a ClientHello.
func parseHello(b []byte) (h Hello, ok bool) {
	if len(b) < 2+32 || b[0] != 3 { // version and random
		return h, false
	}
	session, b, ok := vector(b[2+32:], 1)
	if !ok || len(session) > 32 {
		return h, false
	}
	suites, b, ok := vector(b, 2)
	if !ok || len(suites) < 2 || len(suites)%2 != 0 {
		return h, false
	}
	compressions, b, ok := vector(b, 1)
	if !ok || len(compressions) < 1 {
		return h, false
	}
	if len(b) == 0 { // before TLS 1.2 there need not be extensions
		return h, true
	}
	extensions, b, ok := vector(b, 2)
	if !ok || len(b) != 0 {
		return h, false
	}

	// One that came twice could mean one thing here and another to the server.
	var named, offered bool
	for len(extensions) > 0 {
		if len(extensions) < 2 {
			return h, false
		}
		kind := binary.BigEndian.Uint16(extensions)
		var value []byte
		if value, extensions, ok = vector(extensions[2:], 2); !ok {
			return h, false
		}
		switch kind {
		case extensionServerName:
			h.ServerName, ok = parseServerName(value)
			if !ok || named {
				return h, false
			}
			named = true
		case extensionALPN:
			h.ALPN, ok = parseALPN(value)
			if !ok || offered {
				return h, false
			}
			offered = true
		}
	}
	return h, true
}

// parseServerName finds the one host name of the list.
func parseServerName(b []byte) (name string, ok bool) {
	list, b, ok := vector(b, 2)
	if !ok || len(b) != 0 || len(list) == 0 {
		return "", false
	}
	named := false
	for len(list) > 0 {
		kind := list[0]
		var value []byte
		if value, list, ok = vector(list[1:], 2); !ok {
			return "", false
		}
		if kind != 0 { // no other kind is defined
			continue
		}
		if named || len(value) == 0 {
			return "", false
		}
		name, named = HostName(value), true
	}
	return name, true
}

func parseALPN(b []byte) (protocols []string, ok bool) {
	list, b, ok := vector(b, 2)
	if !ok || len(b) != 0 || len(list) == 0 {
		return nil, false
	}
	n := 0
	for rest := list; len(rest) > 0; n++ {
		var protocol []byte
		if protocol, rest, ok = vector(rest, 1); !ok || len(protocol) == 0 {
			return nil, false
		}
	}
	protocols = make([]string, min(n, maxALPN))
	for i := range protocols {
		var protocol []byte
		protocol, list, _ = vector(list, 1)
		protocols[i] = string(protocol)
	}
	return protocols, true
}
