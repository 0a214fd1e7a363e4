// Package preface reads what a client says before a channel is chosen: a PROXY
// header, a ClientHello, the request with which PostgreSQL asks for encryption.
//
// It is pure: bytes in, answer out. Each reader is given all bytes that have
// come, from the first one on, and remembers nothing; it says ErrShort until it
// can decide, and its answer never changes with what comes behind. A caller that
// peeks can so leave in the socket what is not its own.
package preface

import "errors"

// ErrShort says that the bytes so far do not decide: ask again with more.
var ErrShort = errors.New("more bytes are needed")

// begins says whether b begins with s, or is still too short to say.
func begins(b []byte, s string) (ok, short bool) {
	n := min(len(b), len(s))
	if string(b[:n]) != s[:n] {
		return false, false
	}
	return n == len(s), n < len(s)
}

// vector cuts off b what stands behind a length of that many bytes, as in TLS
// (RFC 8446, section 3.4) and in the TLVs of PROXY.
func vector(b []byte, lengthBytes int) (content, rest []byte, ok bool) {
	if len(b) < lengthBytes {
		return nil, nil, false
	}
	n := 0
	for _, c := range b[:lengthBytes] {
		n = n<<8 | int(c)
	}
	b = b[lengthBytes:]
	if len(b) < n {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
