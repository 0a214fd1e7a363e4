package preface

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/pires/go-proxyproto"
	"pgregory.net/rapid"
)

// v2 is a header of version 2 with that command and family, and the length of what
// stands behind it.
func v2(command, family byte, behind ...string) string {
	body := strings.Join(behind, "")
	length := binary.BigEndian.AppendUint16(nil, uint16(len(body)))
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, family}) + string(length) + body
}

// tlv is one entry.
func tlv(kind byte, value string) string {
	return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
}

// sealed is a header whose checksum, which is zero in it, is set right.
func sealed(header string) string {
	at := strings.Index(header, "\x03\x00\x04\x00\x00\x00\x00") + 3
	sum := crc32.Checksum([]byte(header), crc32.MakeTable(crc32.Castagnoli))
	return header[:at] + string(binary.BigEndian.AppendUint32(nil, sum)) + header[at+4:]
}

func padded(path string) string { return path + strings.Repeat("\x00", 108-len(path)) }

const (
	four = "\xc0\x00\x02\x01" + "\xc6\x33\x64\x02" + "\xdc\x04" + "\x01\xbb" // 192.0.2.1:56324 198.51.100.2:443
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\xdc\x04" + "\x01\xbb"
	mapped = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xc0\x00\x02\x01" +
		"\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02" + "\xdc\x04" + "\x01\xbb"
	noSum = "\x03\x00\x04\x00\x00\x00\x00"

	longest4 = "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"
	longest6 = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
	longest  = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
)

var (
	source4      = netip.MustParseAddrPort("192.0.2.1:56324")
	destination4 = netip.MustParseAddrPort("198.51.100.2:443")
	source6      = netip.MustParseAddrPort("[2001:db8::1]:56324")
	destination6 = netip.MustParseAddrPort("[2001:db8::2]:443")
)

// accepted are headers and what they say.
var accepted = []struct {
	name   string
	header string
	want   Proxy
}{
	{"v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Proxy{Version: 1, Source: source4, Destination: destination4}},
	{"v1 TCP4 longest", longest4, Proxy{Version: 1,
		Source:      netip.MustParseAddrPort("255.255.255.255:65535"),
		Destination: netip.MustParseAddrPort("255.255.255.255:65535")}},
	{"v1 TCP4 shortest", "PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Proxy{Version: 1,
		Source:      netip.MustParseAddrPort("0.0.0.0:0"),
		Destination: netip.MustParseAddrPort("0.0.0.0:0")}},
	{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:DB8:0:0::2 56324 443\r\n", Proxy{Version: 1, Source: source6, Destination: destination6}},
	{"v1 TCP6 longest", longest6, Proxy{Version: 1,
		Source:      netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
		Destination: netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}},
	{"v1 TCP6 mapped", "PROXY TCP6 ::ffff:c000:201 2001:db8::2 56324 443\r\n", Proxy{Version: 1, Source: source4, Destination: destination6}},
	{"v1 TCP6 mapped with dots", "PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 56324 443\r\n", Proxy{Version: 1, Source: source4, Destination: destination4}},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", Proxy{Version: 1}},
	{"v1 UNKNOWN and a space", "PROXY UNKNOWN \r\n", Proxy{Version: 1}},
	{"v1 UNKNOWN longest", longest, Proxy{Version: 1}},
	{"v1 UNKNOWN with anything", "PROXY UNKNOWN \xff\x00\n\r\r \n\r\n", Proxy{Version: 1}},
	{"v2 TCP4", v2(0x21, 0x11, four), Proxy{Version: 2, Source: source4, Destination: destination4}},
	{"v2 TCP6", v2(0x21, 0x21, six), Proxy{Version: 2, Source: source6, Destination: destination6}},
	{"v2 TCP6 mapped", v2(0x21, 0x21, mapped), Proxy{Version: 2, Source: source4, Destination: destination6}},
	{"v2 UDP4", v2(0x21, 0x12, four, tlv(1, "h2")), Proxy{Version: 2, TLVs: []byte(tlv(1, "h2"))}},
	{"v2 UDP6", v2(0x21, 0x22, six), Proxy{Version: 2}},
	{"v2 unix", v2(0x21, 0x31, padded("/run/a"), padded("/run/b")), Proxy{Version: 2, Unix: [2]string{"/run/a", "/run/b"}}},
	{"v2 unix without names", v2(0x21, 0x31, padded(""), padded("")), Proxy{Version: 2}},
	{"v2 unix longest, abstract", v2(0x21, 0x31, strings.Repeat("x", 108), padded("\x00a\x00b")), Proxy{Version: 2, Unix: [2]string{strings.Repeat("x", 108), "\x00a\x00b"}}},
	{"v2 unix with rubbish behind the name", v2(0x21, 0x31, padded("/run/a\x00b"), padded("c\x00")), Proxy{Version: 2, Unix: [2]string{"/run/a", "c"}}},
	{"v2 unix datagrams", v2(0x21, 0x32, padded("/run/a"), padded("/run/b")), Proxy{Version: 2}},
	{"v2 UNSPEC", v2(0x21, 0x00), Proxy{Version: 2}},
	{"v2 UNSPEC with TLVs", sealed(v2(0x21, 0x00, tlv(2, "example.net"), noSum)), Proxy{Version: 2, TLVs: []byte(tlv(2, "example.net"))}},
	{"v2 UNSPEC with addresses", v2(0x21, 0x00, four), Proxy{Version: 2}},
	{"v2 LOCAL", v2(0x20, 0x00), Proxy{Version: 2, Local: true}},
	{"v2 LOCAL with addresses", v2(0x20, 0x11, four), Proxy{Version: 2, Local: true}},
	{"v2 LOCAL with too few", v2(0x20, 0x21, "abc"), Proxy{Version: 2, Local: true}},
	{"v2 LOCAL of no family, with a wrong checksum", v2(0x20, 0xff, noSum), Proxy{Version: 2, Local: true}},
	{"v2 checksum alone", sealed(v2(0x21, 0x11, four, noSum)), Proxy{Version: 2, Source: source4, Destination: destination4}},
	{"v2 checksum first", sealed(v2(0x21, 0x11, four, noSum, tlv(1, "h2"))), Proxy{Version: 2, Source: source4, Destination: destination4, TLVs: []byte(tlv(1, "h2"))}},
	{"v2 checksum between", sealed(v2(0x21, 0x21, six, tlv(4, "pad"), noSum, tlv(5, "id"))), Proxy{Version: 2, Source: source6, Destination: destination6, TLVs: []byte(tlv(4, "pad") + tlv(5, "id"))}},
	{"v2 noop, and of no bytes", v2(0x21, 0x11, four, tlv(4, ""), tlv(4, "xx"), tlv(0xff, "")), Proxy{Version: 2, Source: source4, Destination: destination4, TLVs: []byte(tlv(4, "") + tlv(4, "xx") + tlv(0xff, ""))}},
	{"v2 SSL, whose entries do not fit in it", v2(0x21, 0x11, four, tlv(0x20, "\x01\x00\x00\x00\x00\x21\xff\xff1.3")), Proxy{Version: 2, Source: source4, Destination: destination4, TLVs: []byte(tlv(0x20, "\x01\x00\x00\x00\x00\x21\xff\xff1.3"))}},
	{"v2 unique id longest", v2(0x21, 0x11, four, tlv(5, strings.Repeat("u", 128))), Proxy{Version: 2, Source: source4, Destination: destination4, TLVs: []byte(tlv(5, strings.Repeat("u", 128)))}},
	{"v2 longest", v2(0x21, 0x11, four, tlv(4, strings.Repeat("n", MaxProxy-16-12-3))), Proxy{Version: 2, Source: source4, Destination: destination4, TLVs: []byte(tlv(4, strings.Repeat("n", MaxProxy-16-12-3)))}},
}

// TestReadProxy gives each header whole, with data behind it, and every part of
// it: that must never be an answer.
func TestReadProxy(t *testing.T) {
	for _, test := range accepted {
		t.Run(test.name, func(t *testing.T) {
			for _, data := range []string{"", "\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", strings.Repeat("\x00", 5000)} {
				p, size, err := ReadProxy([]byte(test.header + data))
				if err != nil || size != len(test.header) || !reflect.DeepEqual(p, test.want) {
					t.Fatalf("with %d bytes behind it: %+v, %d bytes, %v; want %+v, %d bytes", len(data), p, size, err, test.want, len(test.header))
				}
			}
			for n := range test.header {
				if p, size, err := ReadProxy([]byte(test.header[:n])); err != ErrShort || size != 0 || !reflect.DeepEqual(p, Proxy{}) {
					t.Fatalf("its first %d bytes: %+v, %d bytes, %v", n, p, size, err)
				}
			}
		})
	}
}

// TestReadProxyKeeps: what it returns does not change with the buffer.
func TestReadProxyKeeps(t *testing.T) {
	for _, test := range accepted {
		b := []byte(test.header)
		p, _, _ := ReadProxy(b)
		clear(b)
		if !reflect.DeepEqual(p, test.want) {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

// TestReadProxyRefuses says of each how many bytes decide it.
func TestReadProxyRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		header  string
		decided int
	}{
		{"plain text", "GET / HTTP/1.1\r\n\r\n", 1},
		{"a ClientHello", "\x16\x03\x01\x02\x00", 1},
		{"zeros", "\x00\x00", 1},
		{"lower case", "proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", 1},
		{"POST", "POST / HTTP/1.1\r\n\r\n", 2},
		{"no space", "PROXYTCP4 192.0.2.1 198.51.100.2 56324 443\r\n", 6},
		{"two spaces", "PROXY  TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", 7},
		{"TCP5", "PROXY TCP5 192.0.2.1 198.51.100.2 56324 443\r\n", 10},
		{"UDP4", "PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", 8},
		{"TCP4 and a tab", "PROXY TCP4\t192.0.2.1 198.51.100.2 56324 443\r\n", 11},
		{"UNKNOWNS", "PROXY UNKNOWNS\r\n", 14},
		{"UNKNOWN, LF", "PROXY UNKNOWN\n", 14},
		{"UNKNOWN, CR alone", "PROXY UNKNOWN\rx\r\n", 15},
		{"UNKNOWN without an end", "PROXY UNKNOWN " + strings.Repeat("x", 200), 107},
		{"UNKNOWN, its end too late", "PROXY UNKNOWN " + strings.Repeat("x", 92) + "\r\n", 107},
		{"TCP4 without an end", "PROXY TCP4 " + strings.Repeat("1", 200), 107},
		{"LF alone", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", 44},
		{"LF before the end", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n\r\n", 44},
		{"CR in the middle", "PROXY TCP4 192.0.2.1\r198.51.100.2 56324 443\r\n", 45},
		{"nothing", "PROXY TCP4 \r\n", 13},
		{"one address", "PROXY TCP4 192.0.2.1\r\n", 22},
		{"no ports", "PROXY TCP4 192.0.2.1 198.51.100.2\r\n", 35},
		{"one port", "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", 41},
		{"three ports", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 80\r\n", 48},
		{"a space at the end", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", 46},
		{"two spaces between", "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443\r\n", 46},
		{"port too high", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n", 45},
		{"port with a zero before it", "PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n", 43},
		{"port with a sign", "PROXY TCP4 192.0.2.1 198.51.100.2 +56 443\r\n", 43},
		{"port in hexadecimal", "PROXY TCP4 192.0.2.1 198.51.100.2 0x1 443\r\n", 43},
		{"octal", "PROXY TCP4 192.0.02.1 198.51.100.2 56324 443\r\n", 46},
		{"three numbers", "PROXY TCP4 192.0.2 198.51.100.2 56324 443\r\n", 43},
		{"a number too high", "PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n", 47},
		{"six in TCP4", "PROXY TCP4 2001:db8::1 198.51.100.2 56324 443\r\n", 47},
		{"mapped in TCP4", "PROXY TCP4 ::ffff:192.0.2.1 198.51.100.2 56324 443\r\n", 52},
		{"four in TCP6", "PROXY TCP6 192.0.2.1 2001:db8::2 56324 443\r\n", 44},
		{"a zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 56324 443\r\n", 47},
		{"a bracket", "PROXY TCP6 [2001:db8::1] 2001:db8::2 56324 443\r\n", 48},
		{"nine groups", "PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::2 56324 443\r\n", 52},
		{"two gaps", "PROXY TCP6 1::2::3 2001:db8::2 56324 443\r\n", 42},
		{"escapes", "PROXY TCP4 \x1b[31m\xff\x00 198.51.100.2 56324 443\r\n", 43},

		{"v2 signature, last byte", "\r\n\r\n\x00\r\nQUIT\r" + strings.Repeat("\x00", 20), 12},
		{"version 1 in it", v2(0x11, 0x11, four), 13},
		{"version 3", v2(0x31, 0x11, four), 13},
		{"unknown command", v2(0x22, 0x11, four), 13},
		{"unknown family", v2(0x21, 0x41, four), 14},
		{"unknown protocol", v2(0x21, 0x13, four), 14},
		{"family without a protocol", v2(0x21, 0x10, four), 14},
		{"protocol without a family", v2(0x21, 0x01, four), 14},
		{"TCP4 too short", v2(0x21, 0x11, four[1:]), 16},
		{"TCP6 too short", v2(0x21, 0x21, six[1:]), 16},
		{"UDP4 too short", v2(0x21, 0x12, four[1:]), 16},
		{"unix too short", v2(0x21, 0x31, padded(""), padded("")[1:]), 16},
		{"TCP4 of no length", v2(0x21, 0x11), 16},
		{"too long", v2(0x21, 0x11, four, tlv(4, strings.Repeat("n", MaxProxy-16-12-3+1))), 16},
		{"LOCAL too long", v2(0x20, 0x00, strings.Repeat("n", MaxProxy-16+1))[:100], 16},
		{"longest", v2(0x20, 0x00, strings.Repeat("n", 65535))[:100], 16},
		{"one byte behind the addresses", v2(0x21, 0x11, four, "\x04"), 29},
		{"an entry without its length", v2(0x21, 0x11, four, "\x04\x00"), 30},
		{"an entry too long", v2(0x21, 0x11, four, "\x04\x00\x02x"), 32},
		{"wrong checksum", v2(0x21, 0x11, four, tlv(3, "\x12\x34\x56\x78")), 35},
		{"checksum over the data, too", v2(0x21, 0x11, four, noSum) + "data", 35},
		{"wrong checksum of UNSPEC", v2(0x21, 0x00, noSum), 23},
		{"checksum too short", v2(0x21, 0x11, four, tlv(3, "\x00\x00\x00")), 34},
		{"checksum too long", v2(0x21, 0x11, four, tlv(3, "\x00\x00\x00\x00\x00")), 36},
		{"two checksums", sealed(v2(0x21, 0x11, four, tlv(3, "\x12\x34\x56\x78"), noSum)), 42},
		{"unique id too long", v2(0x21, 0x11, four, tlv(5, strings.Repeat("u", 129))), 160},
	} {
		t.Run(test.name, func(t *testing.T) {
			for n := range len(test.header) + 1 {
				p, size, err := ReadProxy([]byte(test.header[:n]))
				if (err == ErrShort) != (n < test.decided) || err == nil || size != 0 || !reflect.DeepEqual(p, Proxy{}) {
					t.Fatalf("the first %d bytes, of which %d decide: %+v, %d bytes, %v", n, test.decided, p, size, err)
				}
				if strings.ContainsFunc(err.Error(), func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }) {
					t.Fatalf("%q cannot be printed", err)
				}
			}
		})
	}
}

func TestAppendProxy(t *testing.T) {
	both := Proxy{Source: source4, Destination: destination4}
	tlvs := tlv(4, "x") + tlv(2, "example.net")
	for _, test := range []struct {
		name    string
		version int
		p       Proxy
		id      string
		want    string
	}{
		{"v1 TCP4", 1, both, "id", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"},
		{"v1 TCP6", 1, Proxy{Source: source6, Destination: destination6}, "", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"},
		{"v1 mixed", 1, Proxy{Source: source4, Destination: destination6}, "", "PROXY TCP6 ::ffff:c000:201 2001:db8::2 56324 443\r\n"},
		{"v1 mapped", 1, Proxy{Source: netip.MustParseAddrPort("[::ffff:192.0.2.1]:56324"), Destination: destination4}, "", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"},
		{"v1 zone", 1, Proxy{Source: netip.MustParseAddrPort("[fe80::1%eth0]:1"), Destination: destination6}, "", "PROXY TCP6 fe80::1 2001:db8::2 1 443\r\n"},
		{"v1 longest", 1, Proxy{
			Source:      netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
			Destination: netip.MustParseAddrPort("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")}, "", longest6},
		{"v1 unix", 1, Proxy{Unix: [2]string{"/a", "/b"}}, "", "PROXY UNKNOWN\r\n"},
		{"v1 nothing", 1, Proxy{}, "id", "PROXY UNKNOWN\r\n"},
		{"v1 one end", 1, Proxy{Source: source4}, "", "PROXY UNKNOWN\r\n"},
		{"v1 LOCAL", 1, Proxy{Local: true, Source: source4, Destination: destination4}, "", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"},
		{"v2 TCP4", 2, both, "", sealed(v2(0x21, 0x11, four, noSum))},
		{"v2 TCP4, unique id", 2, both, "id", sealed(v2(0x21, 0x11, four, tlv(5, "id"), noSum))},
		{"v2 TCP6", 2, Proxy{Source: source6, Destination: destination6}, "", sealed(v2(0x21, 0x21, six, noSum))},
		{"v2 mixed", 2, Proxy{Source: source4, Destination: destination6}, "", sealed(v2(0x21, 0x21, mapped, noSum))},
		{"v2 TLVs", 2, Proxy{Source: source4, Destination: destination4, TLVs: []byte(tlvs)}, "id", sealed(v2(0x21, 0x11, four, tlvs, tlv(5, "id"), noSum))},
		{"v2 has a unique id", 2, Proxy{Source: source4, Destination: destination4, TLVs: []byte(tlvs + tlv(5, "theirs"))}, "id", sealed(v2(0x21, 0x11, four, tlvs, tlv(5, "theirs"), noSum))},
		{"v2 unique id too long", 2, both, strings.Repeat("u", 200), sealed(v2(0x21, 0x11, four, tlv(5, strings.Repeat("u", 128)), noSum))},
		{"v2 unix", 2, Proxy{Unix: [2]string{"", "/b"}}, "", sealed(v2(0x21, 0x31, padded(""), padded("/b"), noSum))},
		{"v2 unix longest", 2, Proxy{Unix: [2]string{strings.Repeat("a", 108), "\x00b"}}, "", sealed(v2(0x21, 0x31, strings.Repeat("a", 108), padded("\x00b"), noSum))},
		{"v2 nothing", 2, Proxy{TLVs: []byte(tlvs)}, "id", v2(0x20, 0x00)},
		{"v2 one end", 2, Proxy{Source: source4}, "", v2(0x20, 0x00)},
		{"v2 LOCAL", 2, Proxy{Local: true}, "id", v2(0x20, 0x00)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := AppendProxy([]byte("before"), test.version, &test.p, []byte(test.id)); string(got) != "before"+test.want {
				t.Errorf("%q, want %q", got, "before"+test.want)
			}
		})
	}
}

// TestMaxSent: it is reached, and by nothing passed.
func TestMaxSent(t *testing.T) {
	header := v2(0x21, 0x00, tlv(4, strings.Repeat("n", MaxProxy-16-3)))
	p, _, err := ReadProxy([]byte(header))
	if err != nil {
		t.Fatal(err)
	}
	p.Unix[0] = "/run/a"
	if n := len(AppendProxy(nil, 2, &p, make([]byte, MaxUniqueID))); n != MaxSent {
		t.Errorf("%d bytes, want %d", n, MaxSent)
	}
}

// Generators. Both ends are of the same family, or the round trip would change
// nothing but the spelling.
var (
	ports     = rapid.Uint16()
	addresses = rapid.Custom(func(t *rapid.T) [2]netip.AddrPort {
		var ends [2]netip.AddrPort
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		for i := range ends {
			a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
			ends[i] = netip.AddrPortFrom(a.Unmap(), ports.Draw(t, "port"))
		}
		return ends
	})
	entries = rapid.Custom(func(t *rapid.T) []proxyproto.TLV {
		return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) proxyproto.TLV {
			kind := rapid.Byte().Filter(func(b byte) bool { return b != tlvChecksum }).Draw(t, "type")
			value := rapid.SliceOfN(rapid.Byte(), 0, 128).Draw(t, "value")
			if kind == 4 {
				value = nil // the oracle forgets it
			}
			return proxyproto.TLV{Type: proxyproto.PP2Type(kind), Value: value}
		}), 0, 8).Draw(t, "TLVs")
	})
	paths   = rapid.StringMatching(`/[a-z/]{0,107}`)
	proxies = rapid.Custom(func(t *rapid.T) Proxy {
		p := Proxy{Version: 2}
		switch rapid.SampledFrom([]string{"TCP", "unix", "LOCAL"}).Draw(t, "kind") {
		case "TCP":
			ends := addresses.Draw(t, "ends")
			p.Source, p.Destination = ends[0], ends[1]
		case "unix":
			p.Unix = [2]string{paths.Draw(t, "source"), paths.Draw(t, "destination")}
		case "LOCAL":
			p.Local = true
			return p
		}
		p.TLVs, _ = proxyproto.JoinTLVs(entries.Draw(t, "TLVs"))
		return p
	})
)

// TestProxyRoundTrip reads what was sent, in both versions, and sees a changed
// byte.
func TestProxyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := proxies.Draw(t, "proxy")
		header := AppendProxy(nil, 2, &p, nil)
		back, size, err := ReadProxy(header)
		if err != nil || size != len(header) || size > MaxSent || !reflect.DeepEqual(back, p) {
			t.Fatalf("version 2: %+v, %d of %d bytes, %v", back, size, len(header), err)
		}
		if !p.Local {
			// Another byte in a TLV may hide the checksum; in the addresses and in the
			// checksum itself it is seen.
			at := len(header) - 1 - rapid.IntRange(0, 3).Draw(t, "from the end")
			if n := len(header) - fixedSize - checksumSize - len(p.TLVs); rapid.Bool().Draw(t, "in the addresses") {
				at = fixedSize + rapid.IntRange(0, n-1).Draw(t, "from the beginning")
			}
			header[at] ^= rapid.ByteRange(1, 255).Draw(t, "change")
			if back, _, err := ReadProxy(header); err == nil || err == ErrShort {
				t.Fatalf("byte %d changed: %+v, %v", at, back, err)
			}
		}

		header = AppendProxy(nil, 1, &p, nil)
		back, size, err = ReadProxy(header)
		want := Proxy{Version: 1, Source: p.Source, Destination: p.Destination}
		if err != nil || size != len(header) || size > maxV1 || !reflect.DeepEqual(back, want) {
			t.Fatalf("version 1: %+v, %d of %d bytes, %v", back, size, len(header), err)
		}
	})
}

// oracle reads with go-proxyproto.
func oracle(header []byte) (*proxyproto.Header, int, error) {
	r := bufio.NewReaderSize(bytes.NewReader(header), 1<<16)
	h, err := proxyproto.Read(r)
	if err != nil {
		return nil, 0, err
	}
	return h, len(header) - r.Buffered(), nil
}

// agrees compares what it read with what we did.
func agrees(h *proxyproto.Header, p Proxy) error {
	if int(h.Version) != p.Version {
		return errors.New("another version")
	}
	if source, destination, ok := h.TCPAddrs(); ok && !p.Local {
		if unmapped(source) != p.Source || unmapped(destination) != p.Destination {
			return errors.New("other addresses")
		}
	} else if p.Source.IsValid() || p.Destination.IsValid() {
		return errors.New("addresses")
	}
	if source, destination, ok := h.UnixAddrs(); ok && h.TransportProtocol == proxyproto.UnixStream && !p.Local {
		if source.Name != p.Unix[0] || destination.Name != p.Unix[1] {
			return errors.New("other paths")
		}
	} else if p.Unix != [2]string{} {
		return errors.New("paths")
	}
	if p.Local {
		return nil
	}
	theirs, err := h.TLVs()
	if err != nil {
		return err
	}
	theirs = without(theirs)
	ours, err := proxyproto.SplitTLVs(p.TLVs)
	if err != nil {
		return err
	}
	if len(ours)+len(theirs) > 0 && !reflect.DeepEqual(ours, theirs) {
		return errors.New("other TLVs")
	}
	return nil
}

func unmapped(a *net.TCPAddr) netip.AddrPort {
	end := a.AddrPort()
	return netip.AddrPortFrom(end.Addr().Unmap(), end.Port())
}

// without takes the checksum out.
func without(tlvs []proxyproto.TLV) (rest []proxyproto.TLV) {
	for _, t := range tlvs {
		if t.Type != proxyproto.PP2_TYPE_CRC32C {
			rest = append(rest, t)
		}
	}
	return rest
}

// TestProxyOracle has go-proxyproto read what we send, and us what it sends.
func TestProxyOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 0, 16).Draw(t, "data")
		p := proxies.Draw(t, "proxy")
		for version := 1; version <= 2; version++ {
			header := AppendProxy(nil, version, &p, []byte("unique"))
			h, size, err := oracle(append(bytes.Clone(header), data...))
			if err != nil || size != len(header) {
				t.Fatalf("it reads %q: %d bytes, %v", header, size, err)
			}
			back, _, err := ReadProxy(header)
			if err != nil {
				t.Fatal(err)
			}
			if err := agrees(h, back); err != nil {
				t.Fatalf("version %d: it reads %+v, we %+v: %v", version, h, back, err)
			}
		}

		h := generated(t)
		header, err := h.Format()
		if err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		back, size, err := ReadProxy(append(bytes.Clone(header), data...))
		if err != nil || size != len(header) {
			t.Fatalf("we read %q: %d bytes, %v", header, size, err)
		}
		if err := agrees(h, back); err != nil {
			t.Fatalf("it sent %+v, we read %+v: %v", h, back, err)
		}
	})
}

// generated is a header of go-proxyproto.
func generated(t *rapid.T) *proxyproto.Header {
	ends := addresses.Draw(t, "ends")
	h := &proxyproto.Header{
		Version: rapid.SampledFrom([]byte{1, 2}).Draw(t, "version"),
		Command: rapid.SampledFrom([]proxyproto.ProtocolVersionAndCommand{proxyproto.PROXY, proxyproto.LOCAL}).Draw(t, "command"),
	}
	switch kind := rapid.SampledFrom([]string{"TCP", "UDP", "unix", "unixgram", "UNSPEC"}).Draw(t, "kind"); {
	case kind == "TCP" || h.Version == 1 && kind != "UNSPEC":
		h.TransportProtocol = proxyproto.TCPv6
		if ends[0].Addr().Is4() && ends[1].Addr().Is4() {
			h.TransportProtocol = proxyproto.TCPv4
		}
		h.SourceAddr, h.DestinationAddr = net.TCPAddrFromAddrPort(ends[0]), net.TCPAddrFromAddrPort(ends[1])
	case kind == "UDP":
		h.TransportProtocol = proxyproto.UDPv6
		if ends[0].Addr().Is4() && ends[1].Addr().Is4() {
			h.TransportProtocol = proxyproto.UDPv4
		}
		h.SourceAddr, h.DestinationAddr = net.UDPAddrFromAddrPort(ends[0]), net.UDPAddrFromAddrPort(ends[1])
	case kind == "UNSPEC":
		h.TransportProtocol = proxyproto.UNSPEC
	default:
		h.TransportProtocol = proxyproto.UnixStream
		if kind == "unixgram" {
			h.TransportProtocol = proxyproto.UnixDatagram
		}
		h.SourceAddr = &net.UnixAddr{Name: paths.Draw(t, "source"), Net: kind}
		h.DestinationAddr = &net.UnixAddr{Name: paths.Draw(t, "destination"), Net: kind}
	}
	if h.Version == 2 {
		if err := h.SetTLVs(entries.Draw(t, "TLVs")); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// FuzzReadProxy holds ReadProxy to what it promises of any bytes, and to what
// go-proxyproto says of them.
func FuzzReadProxy(f *testing.F) {
	for _, test := range accepted {
		f.Add([]byte(test.header))
		f.Add([]byte(test.header + "data"))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, size, err := ReadProxy(b)
		if err != nil {
			if size != 0 || !reflect.DeepEqual(p, Proxy{}) {
				t.Fatalf("%+v, %d bytes, with %v", p, size, err)
			}
			if err == ErrShort && len(b) >= MaxProxy {
				t.Fatal("undecided beyond the bound")
			}
			return
		}
		if size <= 0 || size > len(b) || size > MaxProxy {
			t.Fatalf("%d of %d bytes", size, len(b))
		}
		for n := range size {
			if _, _, err := ReadProxy(b[:n]); err != ErrShort {
				t.Fatalf("the first %d of %d bytes: %v", n, size, err)
			}
		}
		if again, n, err := ReadProxy(b[:size:size]); err != nil || n != size || !reflect.DeepEqual(again, p) {
			t.Fatalf("without what is behind it: %+v, %d bytes, %v", again, n, err)
		}
		sent := AppendProxy(nil, 2, &p, nil)
		back, n, err := ReadProxy(sent)
		back.Version = p.Version
		want := p
		if !p.Source.IsValid() && p.Unix == [2]string{} {
			want.Local, want.TLVs = true, nil // so that is sent
		}
		if len(sent) > MaxProxy {
			if len(sent) > MaxSent {
				t.Fatalf("%d bytes are sent", len(sent))
			}
		} else if err != nil || n != len(sent) || !reflect.DeepEqual(back, want) {
			t.Fatalf("%+v, sent as %q, is read as %+v, %d bytes, %v", p, sent, back, n, err)
		}

		h, theirs, err := oracle(b)
		switch {
		case p.Version == 2 && b[13] == familyUnspec && !p.Local: // it refuses UNSPEC
		case p.Version == 2 && p.Local: // it refuses families that it does not know
		case p.Version == 1 && bytes.IndexByte(b[:size-2], '\n') >= 0: // it ends an UNKNOWN at the first LF
		case p.Version == 2 && (b[13]&0xf0 == 0x30): // it cuts abstract names
		case err != nil || theirs != size:
			t.Fatalf("we read %+v, %d bytes; it reads %d bytes, %v", p, size, theirs, err)
		default:
			if err := agrees(h, p); err != nil {
				t.Fatalf("we read %+v, it reads %+v: %v", p, h, err)
			}
		}
	})
}

// TestReadProxyAllocates: the addresses cost nothing, TLVs their copy, and a
// line of version 1 its text.
func TestReadProxyAllocates(t *testing.T) {
	for _, test := range []struct {
		header string
		want   float64
	}{
		{v2(0x21, 0x11, four), 0},
		{sealed(v2(0x21, 0x21, six, noSum)), 0},
		{v2(0x20, 0x00), 0},
		{v2(0x21, 0x11, four)[:20], 0},
		{sealed(v2(0x21, 0x11, four, tlv(2, "example.net"), noSum, tlv(4, "x"))), 1},
		{longest6, 1},
		{"PROXY UNKNOWN\r\n", 0},
	} {
		b := []byte(test.header)
		if n := testing.AllocsPerRun(100, func() { _, _, _ = ReadProxy(b) }); n > test.want {
			t.Errorf("%q: %v allocations", test.header, n)
		}
	}
	p, buffer := Proxy{Source: source6, Destination: destination4, TLVs: []byte(tlv(2, "example.net"))}, make([]byte, 0, MaxSent)
	if n := testing.AllocsPerRun(100, func() { AppendProxy(buffer, 2, &p, []byte("id")) }); n > 0 {
		t.Errorf("AppendProxy: %v allocations", n)
	}
}

func BenchmarkReadProxy(b *testing.B) {
	for name, header := range map[string]string{
		"v1":      "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
		"v2":      v2(0x21, 0x11, four),
		"v2 TLVs": sealed(v2(0x21, 0x21, six, tlv(1, "h2"), tlv(2, "example.net"), tlv(5, "0123456789abcdef"), noSum)),
		"longest": sealed(v2(0x21, 0x11, four, noSum, strings.Repeat(tlv(4, ""), (MaxProxy-16-12-7)/3))),
	} {
		b.Run(name, func(b *testing.B) {
			bytes := []byte(header)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := ReadProxy(bytes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendProxy(b *testing.B) {
	p, buffer, id := Proxy{Source: source6, Destination: destination6}, make([]byte, 0, MaxSent), []byte("0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		AppendProxy(buffer, 2, &p, id)
	}
}
