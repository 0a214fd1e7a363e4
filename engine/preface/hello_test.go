package preface

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// vec is content behind its length of that many bytes.
func vec(lengthBytes int, content ...string) string {
	s := strings.Join(content, "")
	length := binary.BigEndian.AppendUint32(nil, uint32(len(s)))
	return string(length[4-lengthBytes:]) + s
}

func extension(kind uint16, content ...string) string {
	return string(binary.BigEndian.AppendUint16(nil, kind)) + vec(2, content...)
}

func serverName(names ...string) string {
	list := ""
	for _, name := range names {
		list += "\x00" + vec(2, name)
	}
	return extension(extensionServerName, vec(2, list))
}

func alpn(protocols ...string) string {
	list := ""
	for _, protocol := range protocols {
		list += vec(1, protocol)
	}
	return extension(extensionALPN, vec(2, list))
}

// before is a ClientHello up to its extensions.
var before = "\x03\x03" + strings.Repeat("r", 32) + vec(1, strings.Repeat("s", 32)) + vec(2, "\x13\x01\x13\x02") + vec(1, "\x00")

// message is a ClientHello with those extensions.
func message(extensions ...string) string {
	return "\x01" + vec(3, before+vec(2, extensions...))
}

// records cuts a message into records of that many bytes.
func records(message string, size int) string {
	var b strings.Builder
	for fragment := range slices.Chunk([]byte(message), size) {
		b.WriteString("\x16\x03\x01" + vec(2, string(fragment)))
	}
	return b.String()
}

func record(message string) string { return records(message, recordMax) }

// unpacked is the message in one record.
func unpacked(hello []byte) string {
	return string(hello[recordHeader:])
}

var (
	longName = strings.Repeat("a", 63) + "." + strings.Repeat("b", 63) + "." + strings.Repeat("c", 63) + "." + strings.Repeat("d", 63)
	many     = slices.Repeat([]string{"p"}, 100)
	padding  = func(n int) string { return extension(21, strings.Repeat("\x00", n)) }
	// unpadded is the size of a hello in one record with a name and an empty padding.
	unpadded = len(record(message(serverName("example.net"), padding(0))))
)

var hellos = []struct {
	name  string
	bytes string
	want  Hello
}{
	{"without extensions", record("\x01" + vec(3, before)), Hello{}},
	{"of SSL 3", "\x16\x03\x00" + vec(2, "\x01"+vec(3, "\x03\x00"+before[2:])), Hello{}},
	{"with no extension", record(message()), Hello{}},
	{"name", record(message(serverName("example.net"))), Hello{ServerName: "example.net"}},
	{"name in upper case", record(message(serverName("WWW.Example.NET"))), Hello{ServerName: "www.example.net"}},
	{"dot at the end", record(message(serverName("example.net."))), Hello{ServerName: "example.net"}},
	{"name of one label", record(message(serverName("localhost"))), Hello{ServerName: "localhost"}},
	{"name with all there may be", record(message(serverName("xn--bcher-kva_9.example.net"))), Hello{ServerName: "xn--bcher-kva_9.example.net"}},
	{"longest name", record(message(serverName(longName))), Hello{ServerName: longName}},
	{"longest name with a dot", record(message(serverName(longName + "."))), Hello{ServerName: longName}},
	{"name too long", record(message(serverName(longName+".e"), alpn("h2"))), Hello{ALPN: []string{"h2"}}},
	{"label too long", record(message(serverName(strings.Repeat("a", 64) + ".net"))), Hello{}},
	{"dot alone", record(message(serverName("."))), Hello{}},
	{"two dots", record(message(serverName("a..b"))), Hello{}},
	{"two dots at the end", record(message(serverName("a.."))), Hello{}},
	{"dot first", record(message(serverName(".net"))), Hello{}},
	{"space", record(message(serverName("example net"))), Hello{}},
	{"zero in it", record(message(serverName("example.net\x00.evil"))), Hello{}},
	{"line end", record(message(serverName("example.net\r\n"))), Hello{}},
	{"UTF-8", record(message(serverName("bücher.example"))), Hello{}},
	{"asterisk", record(message(serverName("*.example.net"))), Hello{}},
	{"IPv6 address", record(message(serverName("2001:db8::1"))), Hello{}},
	{"another kind of name before", record(message(extension(extensionServerName, vec(2, "\x07"+vec(2, "x")+"\x00"+vec(2, "example.net"))))), Hello{ServerName: "example.net"}},
	{"ALPN", record(message(alpn("h2", "http/1.1"))), Hello{ALPN: []string{"h2", "http/1.1"}}},
	{"ALPN of any bytes", record(message(alpn("\x0a\x0a", "\x00", strings.Repeat("x", 255)))), Hello{ALPN: []string{"\x0a\x0a", "\x00", strings.Repeat("x", 255)}}},
	{"ALPN, too many", record(message(alpn(many...), serverName("example.net"))), Hello{ServerName: "example.net", ALPN: many[:64]}},
	{"both, GREASE and others around", record(message(extension(0x0a0a), alpn("h2"), extension(51, strings.Repeat("k", 1300)), serverName("example.net"), extension(0xfafa, "\x00"))), Hello{ServerName: "example.net", ALPN: []string{"h2"}}},
	{"ECH", record(message(extension(0xfe0d, strings.Repeat("e", 200)), serverName("outer.example"))), Hello{ServerName: "outer.example"}},
	{"record of TLS 1.2", "\x16\x03\x03" + record(message(serverName("example.net")))[3:], Hello{ServerName: "example.net"}},
	{"record of TLS 1.3", "\x16\x03\x04" + record(message(serverName("example.net")))[3:], Hello{ServerName: "example.net"}},
	{"records of different versions", "\x16\x03\x01" + vec(2, message(serverName("example.net"))[:20]) + "\x16\x03\x03" + vec(2, message(serverName("example.net"))[20:]), Hello{ServerName: "example.net"}},
	{"records of 1 byte", records(message(serverName("example.net"), alpn("h2")), 1), Hello{ServerName: "example.net", ALPN: []string{"h2"}}},
	{"records of 4 bytes", records(message(serverName("example.net"), alpn("h2")), 4), Hello{ServerName: "example.net", ALPN: []string{"h2"}}},
	{"records of 7 bytes", records(message(serverName("example.net"), alpn("h2")), 7), Hello{ServerName: "example.net", ALPN: []string{"h2"}}},
	{"longest", record(message(serverName("example.net"), padding(MaxHello-unpadded))), Hello{ServerName: "example.net"}},
	{"many 1-byte records", records(message(serverName("example.net"), padding(2720-unpadded)), 1), Hello{ServerName: "example.net"}},
}

// TestReadHello gives each hello whole, with data behind it, and every part of it:
// that must never be an answer.
func TestReadHello(t *testing.T) {
	for _, test := range hellos {
		t.Run(test.name, func(t *testing.T) { wholeAndInPart(t, test.bytes, test.want) })
	}
}

func wholeAndInPart(t *testing.T, hello string, want Hello) {
	t.Helper()
	for _, data := range []string{"", "\x16", "\x14\x03\x03\x00\x01\x01", strings.Repeat("\x00", MaxHello)} {
		if h, err := ReadHello([]byte(hello + data)); err != nil || !reflect.DeepEqual(h, want) {
			t.Fatalf("with %d bytes behind it: %+v, %v; want %+v", len(data), h, err, want)
		}
	}
	step := 1
	if len(hello) > 12<<10 {
		step = 5 // no part of a record of 1 byte, which has 6 with its header
	}
	for n := 0; n < len(hello); n += step {
		if h, err := ReadHello([]byte(hello[:n])); err != ErrShort || !reflect.DeepEqual(h, Hello{}) {
			t.Fatalf("its first %d of %d bytes: %+v, %v", n, len(hello), h, err)
		}
	}
}

// TestHelloEnds: it ends where its length says, also within a record.
func TestHelloEnds(t *testing.T) {
	whole := message(serverName("example.net"))
	for _, size := range []int{1, 10, len(whole) - 1, len(whole), len(whole) + 1, recordMax} {
		b := records(whole+"\x0b\x00\x00\x10more of the handshake", size)
		if h, err := ReadHello([]byte(b)); err != nil || h.ServerName != "example.net" {
			t.Errorf("in records of %d bytes: %+v, %v", size, h, err)
		}
	}
}

// TestReadHelloKeeps: what it returns does not change with the buffer.
func TestReadHelloKeeps(t *testing.T) {
	for _, test := range hellos {
		b := []byte(test.bytes)
		h, _ := ReadHello(b)
		clear(b)
		if !reflect.DeepEqual(h, test.want) {
			t.Errorf("%s: %+v", test.name, h)
		}
	}
}

// TestHelloNamesNothing says of each how many bytes decide it; 0 stands for all.
func TestHelloNamesNothing(t *testing.T) {
	good := message(serverName("example.net"))
	short := func(what string, cut int) string { return what[:len(what)-cut] }
	for _, test := range []struct {
		name    string
		bytes   string
		decided int
	}{
		{"HTTP", "GET / HTTP/1.1\r\nHost: example.net\r\n\r\n", 1},
		{"SSH", "SSH-2.0-OpenSSH_9.2\r\n", 1},
		{"PostgreSQL", SSLRequestMessage, 1},
		{"PROXY", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n" + record(good), 1},
		{"SSL 2", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + strings.Repeat("x", 37), 1},
		{"alert", "\x15\x03\x01\x00\x02\x02\x28", 1},
		{"DTLS", "\x16\xfe\xff\x00\x00", 2},
		{"TLS 4", "\x16\x04\x00\x00\x05", 2},
		{"empty record", "\x16\x03\x01\x00\x00" + record(good), 5},
		{"record too long", "\x16\x03\x01\x40\x01" + good, 5},
		{"ServerHello", record("\x02" + good[1:]), 6},
		{"too long", "\x16\x03\x01\x40\x00\x01\x00\x3f\xf8", 9},
		{"much too long", "\x16\x03\x01\x40\x00\x01\xff\xff\xff", 9},
		{"too long by one", record(message(serverName("example.net"), padding(MaxHello+1-unpadded))), 9},
		{"too long by its records", records(message(serverName("example.net"), padding(2740-unpadded)), 1), MaxHello},
		{"alert between", "\x16\x03\x01" + vec(2, good[:20]) + "\x15\x03\x01\x00\x02\x02\x28", 26},
		{"version between", "\x16\x03\x01" + vec(2, good[:20]) + "\x16\x02\x01", 27},
		{"empty record between", "\x16\x03\x01" + vec(2, good[:20]) + "\x16\x03\x01\x00\x00", 30},
		{"empty", record("\x01\x00\x00\x00"), 0},
		{"hello of another version", record("\x01" + vec(3, "\x02"+before[1:])), 0},
		{"random too short", record("\x01" + vec(3, before[:33])), 0},
		{"no session id", record("\x01" + vec(3, before[:34])), 0},
		{"session id too long", record("\x01" + vec(3, before[:34], vec(1, strings.Repeat("s", 33)), before[67:])), 0},
		{"session id longer than all", record("\x01" + vec(3, before[:34], "\x20xxx")), 0},
		{"no cipher suites", record("\x01" + vec(3, before[:67])), 0},
		{"empty cipher suites", record("\x01" + vec(3, before[:67], vec(2), vec(1, "\x00"))), 0},
		{"half a cipher suite", record("\x01" + vec(3, before[:67], vec(2, "\x13\x01\x13"), vec(1, "\x00"))), 0},
		{"no compressions", record("\x01" + vec(3, before[:67], vec(2, "\x13\x01"))), 0},
		{"empty compressions", record("\x01" + vec(3, before[:67], vec(2, "\x13\x01"), vec(1))), 0},
		{"half a length of extensions", record("\x01" + vec(3, before, "\x00")), 0},
		{"extensions too short", record("\x01" + vec(3, before, "\x00\x20", serverName("example.net"))), 0},
		{"something behind the extensions", record("\x01" + vec(3, before, vec(2, serverName("example.net")), "x")), 0},
		{"half a type", record(message(serverName("example.net"), "\x00")), 0},
		{"half a length", record(message(serverName("example.net"), "\x00\x10\x00")), 0},
		{"extension longer than all", record(message(short(extension(99, "xxxx"), 1))), 0},
		{"empty server_name", record(message(extension(extensionServerName))), 0},
		{"empty list of names", record(message(extension(extensionServerName, vec(2)))), 0},
		{"empty name", record(message(serverName(""))), 0},
		{"list of names too short", record(message(extension(extensionServerName, short(vec(2, "\x00"+vec(2, "a")), 1)))), 0},
		{"name too short", record(message(extension(extensionServerName, vec(2, short("\x00"+vec(2, "abc"), 1))))), 0},
		{"something behind the names", record(message(extension(extensionServerName, vec(2, "\x00"+vec(2, "a")), "x"))), 0},
		{"two names", record(message(serverName("a.example", "b.example"))), 0},
		{"two server_name", record(message(serverName("a.example"), serverName("b.example"))), 0},
		{"empty ALPN", record(message(extension(extensionALPN))), 0},
		{"empty list of protocols", record(message(alpn())), 0},
		{"empty protocol", record(message(alpn("h2", ""))), 0},
		{"protocol too short", record(message(extension(extensionALPN, vec(2, "\x03h2")))), 0},
		{"something behind the protocols", record(message(extension(extensionALPN, vec(2, "\x02h2"), "x"))), 0},
		{"two ALPN", record(message(alpn("h2"), alpn("h2"))), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			decided := test.decided
			if decided == 0 {
				decided = len(test.bytes)
			}
			for n := range len(test.bytes) + 1 {
				h, err := ReadHello([]byte(test.bytes[:n]))
				if (err == ErrShort) != (n < decided) || err == nil || !reflect.DeepEqual(h, Hello{}) {
					t.Fatalf("the first %d of %d bytes, of which %d decide: %+v, %v", n, len(test.bytes), decided, h, err)
				}
				if strings.ContainsFunc(err.Error(), func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsPrint(r) }) {
					t.Fatalf("%q cannot be printed", err)
				}
			}
		})
	}
}

// written is the first flight of crypto/tls.
func written(t interface{ Fatal(...any) }, config *tls.Config) []byte {
	ours, theirs := net.Pipe()
	defer ours.Close()
	done := make(chan error, 1)
	go func() {
		defer theirs.Close()
		done <- tls.Client(theirs, config).Handshake()
	}()
	b := make([]byte, MaxHello)
	n, err := ours.Read(b) // one Write of a net.Pipe, one record
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	<-done
	return b[:n]
}

// TestHelloOfGo has crypto/tls name what rapid draws, and cuts its hello as
// drawn.
func TestHelloOfGo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Hello{
			ServerName: rapid.StringMatching(`[a-z0-9_]{1,20}(\.[a-z][a-z0-9-]{0,20}[a-z]){0,5}`).Draw(t, "name"),
			ALPN:       rapid.SliceOfNDistinct(rapid.StringN(1, 20, 255), 1, 10, rapid.ID).Draw(t, "ALPN"),
		}
		hello := written(t, &tls.Config{
			ServerName:         strings.ToUpper(want.ServerName),
			NextProtos:         want.ALPN,
			InsecureSkipVerify: true,
			MaxVersion:         rapid.SampledFrom([]uint16{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS13}).Draw(t, "version"),
			MinVersion:         tls.VersionTLS10,
		})
		if net.ParseIP(want.ServerName) != nil {
			want.ServerName = "" // crypto/tls does not send it
		}
		size := rapid.IntRange(1, len(hello)).Draw(t, "records")
		for _, b := range [][]byte{hello, []byte(records(unpacked(hello), size))} {
			if h, err := ReadHello(b); err != nil || !reflect.DeepEqual(h, want) {
				t.Fatalf("%+v, %v; want %+v", h, err, want)
			}
			n := rapid.IntRange(0, len(b)-1).Draw(t, "prefix")
			if h, err := ReadHello(b[:n]); err != ErrShort {
				t.Fatalf("its first %d bytes: %+v, %v", n, h, err)
			}
		}
	})
}

// TestHelloCaptured reads what real clients sent: testdata/README.md.
func TestHelloCaptured(t *testing.T) {
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			hello, err := os.ReadFile(filepath.Join("testdata", client.name+".hello"))
			if err != nil {
				t.Fatal(err)
			}
			wholeAndInPart(t, string(hello), client.want)
			for _, size := range []int{1, 3, 4, 5, 100, 1000, len(hello) - recordHeader - 1} {
				wholeAndInPart(t, records(unpacked(hello), size), client.want)
			}
		})
	}
	chromium, err := os.ReadFile("testdata/chromium.hello")
	if err != nil {
		t.Fatal(err)
	}
	const mss = 1460
	if len(chromium) <= mss || !bytes.Contains(chromium, []byte("\x11\xec\x04\xc0")) {
		t.Errorf("the hello of Chromium, of %d bytes, fits in a segment, or has no share for X25519MLKEM768", len(chromium))
	}
}

// served is what the server of crypto/tls makes of these bytes.
func served(b []byte) (*tls.ClientHelloInfo, error) {
	var info *tls.ClientHelloInfo
	errDone := errors.New("that is enough")
	err := tls.Server(&played{r: bytes.NewReader(b)}, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(i *tls.ClientHelloInfo) (*tls.Config, error) {
			info = i
			return nil, errDone
		},
	}).HandshakeContext(context.Background())
	return info, err
}

// played is a connection from which these bytes come.
type played struct {
	net.Conn
	r io.Reader
}

func (p *played) Read(b []byte) (int, error)       { return p.r.Read(b) }
func (p *played) Write(b []byte) (int, error)      { return len(b), nil }
func (p *played) Close() error                     { return nil }
func (p *played) SetWriteDeadline(time.Time) error { return nil }

// FuzzReadHello holds ReadHello to what it promises of any bytes, and to what the
// server of crypto/tls sees in them.
func FuzzReadHello(f *testing.F) {
	for _, test := range hellos {
		f.Add([]byte(test.bytes))
	}
	captured, _ := filepath.Glob("testdata/*.hello")
	for _, name := range captured {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add([]byte(records(unpacked(b), 100)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ReadHello(b)
		if err == ErrShort && len(b) >= MaxHello {
			t.Fatal("undecided beyond the bound")
		}
		if err != nil {
			if !reflect.DeepEqual(h, Hello{}) {
				t.Fatalf("%+v, with %v", h, err)
			}
			return
		}
		if h.ServerName != "" && !isHostName(h.ServerName) || h.ServerName != strings.ToLower(h.ServerName) {
			t.Fatalf("the name %q", h.ServerName)
		}
		if len(h.ALPN) > maxALPN {
			t.Fatalf("%d protocols", len(h.ALPN))
		}
		decided := 0
		for ; decided < len(b); decided++ {
			if _, err := ReadHello(b[:decided]); err == nil {
				break
			} else if err != ErrShort {
				t.Fatalf("the first %d bytes: %v", decided, err)
			}
		}
		if again, err := ReadHello(b[:decided:decided]); err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("without what is behind it: %+v, %v", again, err)
		}

		info, _ := served(b)
		if info == nil {
			return // it is more strict
		}
		if name := strings.ToLower(info.ServerName); name != h.ServerName && (h.ServerName != "" || isHostName(name)) {
			t.Fatalf("it is to %q here, and to %q there", h.ServerName, info.ServerName)
		}
		if theirs := info.SupportedProtos; !slices.Equal(h.ALPN, theirs[:min(len(theirs), maxALPN)]) {
			t.Fatalf("it offers %q here, and %q there", h.ALPN, theirs)
		}
	})
}

// TestReadHelloAllocates: the name, the list and its protocols, and what is put
// together from records.
func TestReadHelloAllocates(t *testing.T) {
	whole := message(serverName("example.net"), alpn("h2", "http/1.1"))
	for _, test := range []struct {
		bytes string
		want  float64
	}{
		{record(whole), 4},
		{record(message(serverName("example.net"))), 1},
		{record(whole)[:100], 0},
		{records(whole, 1)[:500], 0},
		{records(whole, 1), 5},
		{"GET / HTTP/1.1\r\n", 0},
	} {
		b := []byte(test.bytes)
		if n := testing.AllocsPerRun(100, func() { _, _ = ReadHello(b) }); n > test.want {
			t.Errorf("%d bytes: %v allocations", len(b), n)
		}
	}
}

func BenchmarkReadHello(b *testing.B) {
	chromium, err := os.ReadFile("testdata/chromium.hello")
	if err != nil {
		b.Fatal(err)
	}
	for name, hello := range map[string][]byte{
		"Chromium":              chromium,
		"Chromium, short":       chromium[:len(chromium)-1],
		"records of 1 byte":     []byte(records(unpacked(chromium), 1)),
		"longest":               []byte(record(message(serverName("example.net"), padding(MaxHello-unpadded)))),
		"longest in extensions": []byte(record(message(strings.Repeat(extension(99), (MaxHello-unpadded)/4), serverName("example.net")))),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ReadHello(hello); err != nil && err != ErrShort {
					b.Fatal(err)
				}
			}
		})
	}
}
