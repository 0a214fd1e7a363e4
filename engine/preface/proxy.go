package preface

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// The PROXY protocol, by HAProxy's doc/proxy-protocol.txt. "Section" is one of it.

// Proxy is what a PROXY header says: between whom a connection is that somebody
// else relays.
type Proxy struct {
	// Version is 1 or 2.
	Version int

	// Local says that the sender speaks for itself (version 2, LOCAL): the
	// addresses of the connection count, and all else here is empty.
	Local bool

	// Source is the client, Destination what it connected to. An IPv4 address that
	// came as an IPv6 one (::ffff:192.0.2.1) is an IPv4 one here, so that a client
	// is the same however it came. They are invalid where the header names none
	// that are of TCP; then the addresses of the connection count.
	Source, Destination netip.AddrPort

	// Unix are the paths of source and destination if those are unix sockets
	// (version 2), without the zeros behind them. Each has at most 108 bytes. It may
	// be empty, begin with a zero (an abstract one, unix(7)), and hold bytes that no
	// terminal should see.
	Unix [2]string

	// TLVs are the type-length-value entries of version 2 (section 2.2), one behind
	// the other as they came, without the checksum. From ReadProxy it is a copy.
	TLVs []byte
}

const (
	// MaxProxy is the longest header that is accepted, in bytes. Version 2 could
	// announce 64 KiB; nginx has the same bound, and no sender is known that comes
	// near: the specification wants a header to fit in a segment of 536 bytes. One
	// of version 1 has at most 107.
	MaxProxy = 4096

	// MaxUniqueID is the longest unique id, in bytes (section 2.2.5).
	MaxUniqueID = 128

	// MaxSent is the most that AppendProxy appends, for the TLVs of a header that
	// was accepted: theirs, addresses of unix sockets, a unique id and a checksum.
	MaxSent = MaxProxy + unixSize + 3 + MaxUniqueID + checksumSize
)

const (
	maxV1 = 107 // with the CRLF: section 2.1

	signatureV1 = "PROXY "
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"

	fixedSize    = 16 // signature, version and command, family, length
	ipv4Size     = 4 + 4 + 2 + 2
	ipv6Size     = 16 + 16 + 2 + 2
	unixPath     = 108
	unixSize     = 2 * unixPath
	checksumSize = 3 + 4

	familyUnspec = 0x00
	familyTCP4   = 0x11
	familyUDP4   = 0x12
	familyTCP6   = 0x21
	familyUDP6   = 0x22
	familyUnix   = 0x31
	familyUnixD  = 0x32

	tlvChecksum = 0x03
	tlvUniqueID = 0x05
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	noChecksum = make([]byte, checksumSize-3) // what stands in its place while it is computed
)

// errTLVs is a fault of its own, since what stands behind an unknown family need
// not be TLVs.
var errTLVs = errors.New("PROXY header: an entry is longer than the header")

// ReadProxy reads the PROXY header at the beginning of b, and says how many bytes
// it takes. ErrShort means that more are needed. Any other error says, in
// printable words, why this is no header that is accepted: its sender is refused.
//
// UNKNOWN, UNSPEC and LOCAL are accepted, with whatever they bring, and so are
// the families for datagrams; what they name is not the other end of a
// connection, and they count as UNSPEC (section 2.2). TLVs must fit, a checksum
// must be right.
func ReadProxy(b []byte) (p Proxy, size int, err error) {
	v1, short1 := begins(b, signatureV1)
	v2, short2 := begins(b, signatureV2)
	switch {
	case short1 || short2:
		return Proxy{}, 0, ErrShort
	case v1:
		p, size, err = readV1(b)
	case v2:
		p, size, err = readV2(b)
	default:
		err = errors.New("no PROXY header")
	}
	if err != nil {
		return Proxy{}, 0, err
	}
	return p, size, nil
}

// readV1 reads "PROXY TCP4 SOURCE DESTINATION PORT PORT" and its kind.
func readV1(b []byte) (Proxy, int, error) {
	p := Proxy{Version: 1}
	line := b[:min(len(b), maxV1)]
	family, rest := "", line[len(signatureV1):]
	for _, f := range [...]string{"TCP4 ", "TCP6 ", "UNKNOWN"} {
		ok, short := begins(rest, f)
		if short {
			return p, 0, ErrShort
		}
		if ok {
			family, rest = f, rest[len(f):]
			break
		}
	}
	if family == "" {
		return p, 0, errors.New("PROXY header: neither TCP4, TCP6 nor UNKNOWN")
	}
	if family == "UNKNOWN" {
		if ok, short := begins(rest, "\r\n"); !ok && !short && rest[0] != ' ' {
			return p, 0, errors.New("PROXY header: neither TCP4, TCP6 nor UNKNOWN")
		}
	}

	end := bytes.Index(rest, []byte("\r\n"))
	switch {
	case end >= 0:
	case len(line) == maxV1:
		return p, 0, fmt.Errorf("PROXY header: no end within %d bytes", maxV1)
	case family != "UNKNOWN" && bytes.IndexByte(rest, '\n') >= 0:
		return p, 0, errors.New("PROXY header: the line ends without CR")
	default:
		return p, 0, ErrShort
	}
	size := len(line) - len(rest) + end + len("\r\n")
	if family == "UNKNOWN" {
		return p, size, nil
	}

	text := string(rest[:end])
	source, text, _ := strings.Cut(text, " ")
	destination, text, _ := strings.Cut(text, " ")
	sourcePort, destinationPort, _ := strings.Cut(text, " ")
	var err error
	if p.Source, err = parseEnd(family, source, sourcePort); err != nil {
		return p, 0, err
	}
	if p.Destination, err = parseEnd(family, destination, destinationPort); err != nil {
		return p, 0, err
	}
	return p, size, nil
}

// parseEnd reads an address and its port. Of IPv6 the form with an IPv4 address
// at its end is taken too: the specification has it not, but HAProxy sends it.
func parseEnd(family, address, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(address)
	if err != nil || a.Zone() != "" || a.Is4() != (family == "TCP4 ") {
		return netip.AddrPort{}, fmt.Errorf("PROXY header: %+q is no address of %s", address, strings.TrimSpace(family))
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || len(port) > 1 && port[0] == '0' {
		return netip.AddrPort{}, fmt.Errorf("PROXY header: %+q is no port", port)
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(n)), nil
}

// readV2 reads the binary form. Each field is judged as soon as it is there, what
// the length spans when all of it is.
func readV2(b []byte) (Proxy, int, error) {
	p := Proxy{Version: 2}
	if len(b) < 13 {
		return p, 0, ErrShort
	}
	switch b[12] {
	case 0x20:
		p.Local = true
	case 0x21:
	default:
		return p, 0, fmt.Errorf("PROXY header: version and command %#02x are neither LOCAL nor PROXY of version 2", b[12])
	}

	if len(b) < 14 {
		return p, 0, ErrShort
	}
	family, addresses := b[13], 0
	switch {
	case p.Local: // the family is ignored
	case family == familyUnspec:
	case family == familyTCP4 || family == familyUDP4:
		addresses = ipv4Size
	case family == familyTCP6 || family == familyUDP6:
		addresses = ipv6Size
	case family == familyUnix || family == familyUnixD:
		addresses = unixSize
	default:
		return p, 0, fmt.Errorf("PROXY header: unknown family and protocol %#02x", family)
	}

	if len(b) < fixedSize {
		return p, 0, ErrShort
	}
	size := fixedSize + int(binary.BigEndian.Uint16(b[14:]))
	if size > MaxProxy {
		return p, 0, fmt.Errorf("PROXY header: %d bytes are more than %d", size, MaxProxy)
	}
	if size < fixedSize+addresses {
		return p, 0, fmt.Errorf("PROXY header: a length of %d bytes is too short for its addresses", size-fixedSize)
	}
	if len(b) < size {
		return p, 0, ErrShort
	}
	header := b[:size]
	if p.Local {
		return p, size, nil
	}

	a := header[fixedSize:]
	switch family {
	case familyTCP4:
		p.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a)), binary.BigEndian.Uint16(a[8:]))
		p.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:])), binary.BigEndian.Uint16(a[10:]))
	case familyTCP6:
		p.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a)).Unmap(), binary.BigEndian.Uint16(a[32:]))
		p.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(a[16:])).Unmap(), binary.BigEndian.Uint16(a[34:]))
	case familyUnix:
		p.Unix = [2]string{unixName(a[:unixPath]), unixName(a[unixPath:unixSize])}
	}

	var err error
	p.TLVs, err = readTLVs(header, fixedSize+addresses)
	if err == errTLVs && family == familyUnspec {
		err = nil // then they are addresses, which are ignored
	}
	return p, size, err
}

// readTLVs judges the TLVs of a header, which begin at that offset, and gives a
// copy of them without the checksum.
func readTLVs(header []byte, from int) ([]byte, error) {
	checksum := 0 // where its TLV begins
	for rest := header[from:]; len(rest) > 0; {
		at := len(header) - len(rest)
		kind := rest[0]
		value, behind, ok := vector(rest[1:], 2)
		if !ok {
			return nil, errTLVs
		}
		rest = behind
		switch {
		case kind == tlvChecksum && len(value) != checksumSize-3:
			return nil, fmt.Errorf("PROXY header: a checksum of %d bytes", len(value))
		case kind == tlvChecksum && checksum != 0:
			return nil, errors.New("PROXY header: two checksums")
		case kind == tlvChecksum:
			checksum = at
		case kind == tlvUniqueID && len(value) > MaxUniqueID:
			return nil, fmt.Errorf("PROXY header: a unique id of %d bytes is longer than %d", len(value), MaxUniqueID)
		}
	}
	if checksum == 0 {
		return slices.Concat(header[from:]), nil
	}

	behind := checksum + checksumSize
	sum := crc32.Update(0, castagnoli, header[:checksum+3])
	sum = crc32.Update(sum, castagnoli, noChecksum)
	sum = crc32.Update(sum, castagnoli, header[behind:])
	if sum != binary.BigEndian.Uint32(header[checksum+3:]) {
		return nil, errors.New("PROXY header: wrong checksum")
	}
	return slices.Concat(header[from:checksum], header[behind:]), nil
}

// unixName is the path in a field of that size: up to the first zero, as behind it
// there may be anything, or of an abstract one up to the zeros at its end.
func unixName(field []byte) string {
	if field[0] == 0 {
		return string(bytes.TrimRight(field, "\x00"))
	}
	path, _, _ := bytes.Cut(field, []byte{0})
	return string(path)
}

// AppendProxy appends to b the header that says p in that version, 1 or 2, which
// need not be the one that p came with.
//
// Version 2 has the addresses, the TLVs of p, uniqueID if it is not empty and p
// has none (of more than MaxUniqueID bytes the first), and a checksum as the
// last. LOCAL is 16 bytes and nothing behind them, as the specification asks for,
// and without addresses it is LOCAL as well: it could be UNSPEC, but HAProxy 2.6
// and go-proxyproto refuse that. HAProxy 2.6 refuses unix sockets, too.
//
// Version 1 has no LOCAL, and checks that use it should have the addresses of
// their own connection (section 2.1). What it has no words for is UNKNOWN.
//
// An IPv4 address that stands together with an IPv6 one is sent as ::ffff:0:0/96.
func AppendProxy(b []byte, version int, p *Proxy, uniqueID []byte) []byte {
	source := netip.AddrPortFrom(p.Source.Addr().Unmap().WithZone(""), p.Source.Port())
	destination := netip.AddrPortFrom(p.Destination.Addr().Unmap().WithZone(""), p.Destination.Port())
	known := source.IsValid() && destination.IsValid()
	ipv4 := known && source.Addr().Is4() && destination.Addr().Is4()
	if version == 1 {
		return appendV1(b, source, destination, known, ipv4)
	}

	from := len(b)
	b = append(b, signatureV2...)
	if p.Local || !known && p.Unix == [2]string{} {
		return append(b, 0x20, familyUnspec, 0, 0)
	}
	switch {
	case ipv4:
		b = append(b, 0x21, familyTCP4, 0, 0)
		b = append(b, source.Addr().AsSlice()...)
		b = append(b, destination.Addr().AsSlice()...)
	case known:
		b = append(b, 0x21, familyTCP6, 0, 0)
		s, d := source.Addr().As16(), destination.Addr().As16()
		b = append(append(b, s[:]...), d[:]...)
	default:
		b = append(b, 0x21, familyUnix, 0, 0)
		for _, path := range p.Unix {
			var field [unixPath]byte
			copy(field[:], path)
			b = append(b, field[:]...)
		}
	}
	if known {
		b = binary.BigEndian.AppendUint16(b, source.Port())
		b = binary.BigEndian.AppendUint16(b, destination.Port())
	}
	b = append(b, p.TLVs...)
	if len(uniqueID) > 0 && !hasTLV(p.TLVs, tlvUniqueID) {
		uniqueID = uniqueID[:min(len(uniqueID), MaxUniqueID)]
		b = append(b, tlvUniqueID, 0, byte(len(uniqueID)))
		b = append(b, uniqueID...)
	}
	b = append(b, tlvChecksum, 0, checksumSize-3)
	b = append(b, noChecksum...)
	header := b[from:]
	binary.BigEndian.PutUint16(header[14:], uint16(len(header)-fixedSize))
	binary.BigEndian.PutUint32(header[len(header)-4:], crc32.Checksum(header, castagnoli))
	return b
}

func appendV1(b []byte, source, destination netip.AddrPort, known, ipv4 bool) []byte {
	b = append(b, signatureV1...)
	switch {
	case ipv4:
		b = append(b, "TCP4 "...)
	case known:
		b = append(b, "TCP6 "...)
	default:
		return append(b, "UNKNOWN\r\n"...)
	}
	for _, end := range [...]netip.AddrPort{source, destination} {
		if a := end.Addr(); a.Is4() && !ipv4 {
			// The specification has no dots in an IPv6 address.
			four := a.As4()
			b = fmt.Appendf(b, "::ffff:%x:%x ", binary.BigEndian.Uint16(four[:]), binary.BigEndian.Uint16(four[2:]))
		} else {
			b = append(a.AppendTo(b), ' ')
		}
	}
	b = strconv.AppendUint(b, uint64(source.Port()), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(destination.Port()), 10)
	return append(b, "\r\n"...)
}

// hasTLV says whether there is a TLV of that kind.
func hasTLV(tlvs []byte, kind byte) bool {
	for len(tlvs) > 0 {
		if tlvs[0] == kind {
			return true
		}
		_, rest, ok := vector(tlvs[1:], 2)
		if !ok {
			return false
		}
		tlvs = rest
	}
	return false
}
