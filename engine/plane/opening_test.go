package plane

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"balance/engine/balancer"
	"balance/engine/preface"
)

// What a channel is sent first, by what came in. Of who has no address nothing is said,
// so that HAProxy takes it.
func TestOpening(t *testing.T) {
	client, local := netip.MustParseAddrPort("198.51.100.1:1"), netip.MustParseAddrPort("192.0.2.80:80")
	source, destination := netip.MustParseAddrPort("203.0.113.7:1234"), netip.MustParseAddrPort("203.0.113.80:443")
	const tlv = "\xea\x00\x01x"
	for name, test := range map[string]struct {
		client   netip.AddrPort
		greeting *Greeting
		version  int
		want     preface.Proxy // TLVs: the beginning
		agreed   bool
	}{
		"None":     {client: client},
		"V1":       {client: client, version: 1, want: preface.Proxy{Source: client, Destination: local}},
		"V2":       {client: client, version: 2, want: preface.Proxy{Source: client, Destination: local}},
		"PassedOn": {client: source, greeting: &Greeting{proxy: &preface.Proxy{Source: source, Destination: destination, TLVs: []byte(tlv)}}, version: 2, want: preface.Proxy{Source: source, Destination: destination, TLVs: []byte(tlv)}},
		"V1PassedOn": {client: source, greeting: &Greeting{proxy: &preface.Proxy{Source: source, Destination: destination, TLVs: []byte(tlv)}}, version: 1,
			want: preface.Proxy{Source: source, Destination: destination}},
		"Unknown":     {client: client, greeting: &Greeting{proxy: &preface.Proxy{TLVs: []byte(tlv)}}, version: 2, want: preface.Proxy{Source: client, Destination: local, TLVs: []byte(tlv)}},
		"Local":       {client: client, greeting: &Greeting{proxy: &preface.Proxy{Local: true}}, version: 2, want: preface.Proxy{Source: client, Destination: local}},
		"Unix":        {version: 2, want: preface.Proxy{Local: true}},
		"UnixV1":      {version: 1},
		"Postgres":    {client: client, greeting: &Greeting{postgres: true}, agreed: true},
		"PostgresToo": {client: client, greeting: &Greeting{postgres: true}, version: 1, want: preface.Proxy{Source: client, Destination: local}, agreed: true},
	} {
		t.Run(name, func(t *testing.T) {
			l, channels := listening(1)
			channels[0].SetSendProxy(test.version)
			var s Search
			s.Begin(&Options{}, l, 42, test.client, test.greeting, 1)
			defer s.Close(1)
			s.Next(1)
			opening, agreed := s.Opening([]byte("before"), func() netip.AddrPort { return local })
			rest, ok := strings.CutPrefix(string(opening), "before")
			if test.agreed {
				rest, ok = strings.CutSuffix(rest, preface.SSLRequestMessage)
			}
			if !ok || agreed != test.agreed {
				t.Fatalf("%q, agreed %t", opening, agreed)
			}
			if test.version == 0 {
				if rest != "" {
					t.Errorf("sent %q", rest)
				}
				return
			}
			got, size, err := preface.ReadProxy([]byte(rest))
			if err != nil || size != len(rest) || got.Version != test.version || got.Local != test.want.Local || got.Source != test.want.Source || got.Destination != test.want.Destination {
				t.Errorf("sent %q: %+v, %v", rest, got, err)
			}
			tlvs, ok := strings.CutPrefix(string(got.TLVs), string(test.want.TLVs))
			if named := strings.HasSuffix(tlvs, "-42") && strings.HasPrefix(tlvs, "\x05\x00"); !ok || named != (test.version == 2 && !got.Local) {
				t.Errorf("sent the entries %q", got.TLVs)
			}
			if len(rest) > MaxOpening {
				t.Errorf("%d bytes are more than %d", len(rest), MaxOpening)
			}
		})
	}
}

func TestAgreed(t *testing.T) {
	var s Search
	if err := s.Agreed('S'); err != nil {
		t.Error(err)
	}
	for _, answer := range []byte{'N', 'E', 0, 0xff} {
		if err := s.Agreed(answer); err == nil || !utf8.ValidString(err.Error()) || strings.Contains(err.Error(), "\x00") {
			t.Errorf("%q: %v", answer, err)
		}
	}
	if err := Unagreed(os.ErrDeadlineExceeded); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	if err := Unagreed(io.EOF); err.Error() != "no answer to the request for TLS: the connection ends" {
		t.Error(err)
	}
}

// Where a channel is dialled from.
func TestSource(t *testing.T) {
	own := netip.MustParseAddr("192.0.2.9")
	for name, test := range map[string]struct {
		transparent  bool
		client, to   string
		source       netip.Addr
		asTheClient  bool
		unattainable bool
	}{
		"Own":         {to: "192.0.2.1:1", client: "203.0.113.7:1", source: own},
		"Transparent": {transparent: true, to: "192.0.2.1:1", client: "203.0.113.7:1", source: netip.MustParseAddr("203.0.113.7"), asTheClient: true},
		"IPv6":        {transparent: true, to: "[2001:db8::1]:1", client: "[2001:db8::7]:1", source: netip.MustParseAddr("2001:db8::7"), asTheClient: true},
		"Families":    {transparent: true, to: "[2001:db8::1]:1", client: "203.0.113.7:1", unattainable: true},
		"FromUnix":    {transparent: true, to: "192.0.2.1:1", source: own},
		"ToUnix":      {transparent: true, client: "203.0.113.7:1"},
		"OwnToUnix":   {client: "203.0.113.7:1"},
	} {
		t.Run(name, func(t *testing.T) {
			var s Search
			var a Attempt
			s.service = &Service{Transparent: test.transparent, Source: own}
			if test.client != "" {
				s.client = netip.MustParseAddrPort(test.client)
			}
			if test.to != "" {
				a.Addr = netip.MustParseAddrPort(test.to)
			}
			source, transparent, err := s.Source(a)
			if source != test.source || transparent != test.asTheClient || (err != nil) != test.unattainable {
				t.Errorf("%s, %t, %v", source, transparent, err)
			}
			if err != nil && !balancer.Local(err) {
				t.Errorf("%v is said to be the channel's fault", err)
			}
		})
	}
}

// A channel whose backlog is full is tried again, and has failed when the time is over.
func TestBacklogIsTriedAgain(t *testing.T) {
	at := func(d time.Duration) int64 { return 1 + int64(d) }
	channel := balancer.NewChannel(balancer.Key{Host: "unix:/run/app.sock"})
	channel.SetAddresses([]netip.AddrPort{{}})
	l := new(Listener)
	service := serving(channel)
	service.ConnectTimeout = time.Second
	l.SetService(service)
	s := begin(l, at(0))
	defer s.Close(at(0))
	s.Next(at(0))
	now, tries := time.Duration(0), 0
	for pause, ok := s.Wait(at(now)); ok; pause, ok = s.Wait(at(now)) {
		now += pause
		for a, due := s.Attempt(at(now)); due; a, due = s.Attempt(at(now)) {
			tries++
			s.AttemptFailed(a, DialError(channel.Key(), a.Addr, ErrBacklog), 0, at(now))
		}
	}
	s.Failed(at(now))
	if now < 900*time.Millisecond || tries != 20 {
		t.Errorf("%d attempts in %s", tries, now)
	}
	if !errors.Is(s.err, ErrBacklog) || balancer.Local(s.err) || Exhausted(s.err) || s.lacking {
		t.Errorf("it fails for %v", s.err)
	}
	if text := s.err.Error(); text != "dial unix /run/app.sock: too many wait to be accepted" {
		t.Error(text)
	}
	if errors.Is(s.err, syscall.EAGAIN) {
		t.Error("the words for it would be of something else")
	}
}
