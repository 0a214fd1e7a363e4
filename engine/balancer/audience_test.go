package balancer

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAudience(t *testing.T) {
	networks := func(list string) (networks []netip.Prefix) {
		for text := range strings.FieldsSeq(list) {
			networks = append(networks, netip.MustParsePrefix(text))
		}
		return networks
	}
	for _, test := range []struct {
		names, alpn, from string // of the audience
		name, protocols   string // of the client
		addr              string
		has               bool
	}{
		{"", "", "", "", "", "192.0.2.1", true},
		{"a.example", "", "", "a.example", "", "192.0.2.1", true},
		{"A.Example", "", "", "a.example", "", "192.0.2.1", true},
		{"a.example", "", "", "", "", "192.0.2.1", false},
		{"a.example", "", "", "b.a.example", "", "192.0.2.1", false},
		{"a.example b.example", "", "", "b.example", "", "192.0.2.1", true},
		{"*.example", "", "", "a.example", "", "192.0.2.1", true},
		{"*.example", "", "", "a.b.example", "", "192.0.2.1", false},
		{"*.example", "", "", "example", "", "192.0.2.1", false},
		{"*.example", "", "", ".example", "", "192.0.2.1", false},
		{"*.example", "", "", "", "", "192.0.2.1", false},
		{"*.b.example a.example", "", "", "a.b.example", "", "192.0.2.1", true},
		{"", "h2", "", "", "http/1.1 h2", "192.0.2.1", true},
		{"", "h2 http/1.1", "", "", "http/1.1", "192.0.2.1", true},
		{"", "h2", "", "", "H2", "192.0.2.1", false},
		{"", "h2", "", "a.example", "", "192.0.2.1", false},
		{"a.example", "h2", "", "a.example", "h2", "192.0.2.1", true},
		{"a.example", "h2", "", "a.example", "spdy", "192.0.2.1", false},
		{"", "", "192.0.2.0/24", "", "", "192.0.2.1", true},
		{"", "", "192.0.2.0/24", "", "", "192.0.3.1", false},
		{"", "", "192.0.2.1/32 2001:db8::/32", "", "", "2001:db8::1", true},
		{"", "", "192.0.2.1/32 2001:db8::/32", "", "", "2001:db9::1", false},
		{"", "", "fe80::/10", "", "", "fe80::1%1", true},
		{"", "", "0.0.0.0/0", "", "", "2001:db8::1", false},
		{"", "", "::/0", "", "", "192.0.2.1", false},
		{"", "", "0.0.0.0/0 ::/0", "", "", "", false}, // a client of a unix socket has no address
		{"a.example", "", "", "a.example", "", "", true},
		{"a.example", "", "192.0.2.0/24", "a.example", "", "192.0.3.1", false},
	} {
		a := NewAudience(strings.Fields(test.names), strings.Fields(test.alpn), networks(test.from))
		c := Client{ServerName: test.name, ALPN: strings.Fields(test.protocols)}
		c.Addr, _ = netip.ParseAddr(test.addr)
		if a.Has(c) != test.has {
			t.Errorf("%+v: %t", test, a.Has(c))
		}
		if (a == nil) != (test.names+test.alpn+test.from == "") || a.Names() != (test.names+test.alpn != "") {
			t.Errorf("%+v: nil %t, names %t", test, a == nil, a.Names())
		}
	}
}

// TestGroupsForOthers passes over the groups that are not for a client, and says so.
func TestGroupsForOthers(t *testing.T) {
	a, b, rest := rr("a"), rr("b"), rr("c")
	a.For = NewAudience([]string{"a.example"}, nil, nil)
	b.For = NewAudience([]string{"b.example", "*.b.example"}, []string{"h2"}, nil)
	rest.For = NewAudience(nil, nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	r := NewRouter([]Group{a, b, rest}, Options{}, nil)
	near, far := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.7")
	for _, test := range []struct {
		client    Client
		served    string
		rejection Rejection
		words     string
	}{
		{Client{Addr: near, ServerName: "a.example"}, "a", 0, "chosen"},
		{Client{Addr: near, ServerName: "x.b.example", ALPN: []string{"h2"}}, "b", 0,
			`passed over: it is for other server names than "x.b.example", chosen`},
		{Client{Addr: near, ServerName: "b.example"}, "c", 0,
			`passed over: it is for other server names than "b.example", passed over: it is for certain protocols, and the client offers none, chosen`},
		{Client{Addr: near}, "c", 0,
			"passed over: it is for certain server names, and the client names none, passed over: it is for certain server names, and the client names none, chosen"},
		{Client{Addr: far}, "", ForOthers,
			"passed over: it is for certain server names, and the client names none, passed over: it is for certain server names, and the client names none, passed over: it is for other networks"},
		{Client{Addr: far, Like: b.For}, "b", 0, "passed over: what its ClientHello named is not known any more, chosen"},
		{Client{Addr: far, Like: NewAudience([]string{"a.example"}, nil, nil)}, "a", 0, "chosen"},
		{Client{Addr: near, Like: rest.For}, "c", 0,
			"passed over: what its ClientHello named is not known any more, passed over: what its ClientHello named is not known any more, chosen"},
	} {
		var words []string
		for _, v := range r.Why(test.client, 0) {
			words = append(words, v.Words)
		}
		if got := strings.Join(words, ", "); got != test.words {
			t.Errorf("%+v: why says %s", test.client, got)
		}
		route := r.Route(test.client, 0)
		served := ""
		if route.Next(0) == Dial {
			served = route.Channel().Key().Host
		}
		if served != test.served || served == "" && route.Rejection() != test.rejection {
			t.Errorf("%+v: served by %q, or turned away as %s", test.client, served, route.Rejection())
		}
		route.Close(0)
	}
}
