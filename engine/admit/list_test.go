package admit

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// rules reads a list as people write it down: "+10.0.0.0/8" allows and "-10.1.0.0/16"
// denies. Each has the number of its line.
func rules(text string) (rules []Rule) {
	for i, word := range strings.Fields(text) {
		network := word[1:]
		if !strings.Contains(network, "/") {
			network += "/32"
		}
		rules = append(rules, Rule{netip.MustParsePrefix(network), word[0] == '+', "", i + 1})
	}
	return rules
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		list, addr string
		admitted   bool
		line       int // of the rule that decides; 0 for none
	}{
		{"", "10.0.0.1", true, 0},
		{"-10.0.0.0/8", "10.0.0.1", false, 1},
		{"-10.0.0.0/8", "11.0.0.0", true, 0},
		{"-10.0.0.0/8", "9.255.255.255", true, 0},
		{"-10.0.0.0/8", "10.255.255.255", false, 1},
		{"+10.0.0.0/8", "10.0.0.1", true, 1},
		{"+10.0.0.0/8", "11.0.0.1", false, 0},
		{"+10.0.0.0/8", "2001:db8::1", false, 0},
		{"-10.0.0.0/8", "2001:db8::1", true, 0},
		{"+10.0.0.0/8 -10.1.0.0/16 +10.1.2.0/24 -10.1.2.3", "10.1.2.3", false, 4},
		{"+10.0.0.0/8 -10.1.0.0/16 +10.1.2.0/24 -10.1.2.3", "10.1.2.4", true, 3},
		{"+10.0.0.0/8 -10.1.0.0/16 +10.1.2.0/24 -10.1.2.3", "10.1.3.0", false, 2},
		{"+10.0.0.0/8 -10.1.0.0/16 +10.1.2.0/24 -10.1.2.3", "10.2.0.0", true, 1},
		{"+10.0.0.0/8 -10.0.0.0/8", "10.0.0.1", false, 2},
		{"-10.0.0.0/8 +10.0.0.0/8", "10.0.0.1", false, 1},
		{"-10.0.0.0/8 -10.0.0.0/8", "10.0.0.1", false, 1},
		{"+10.0.0.0/8 +10.0.0.0/8", "10.0.0.1", true, 1},
		{"-0.0.0.0/0", "0.0.0.0", false, 1},
		{"-0.0.0.0/0 +255.255.255.255", "255.255.255.255", true, 2},
		{"-0.0.0.0/0 +255.255.255.255", "255.255.255.254", false, 1},
		{"-0.0.0.0/0", "::1", true, 0},
		{"-::/0", "::", false, 1},
		{"-::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false, 1},
		{"-::/0", "10.0.0.1", true, 0},
		{"-::/0", "::ffff:10.0.0.1", true, 0},
		{"-10.0.0.0/8", "::ffff:10.0.0.1", false, 1},
		{"-::ffff:10.0.0.0/104", "10.0.0.1", false, 1},
		{"-::ffff:10.0.0.0/104", "11.0.0.1", true, 0},
		{"-fe80::/10", "fe80::1%eth0", false, 1},
		{"-2001:db8::/64 +2001:db8::8000:0:0:0/65 -2001:db8::8000:0:0:1/128", "2001:db8::7fff:ffff:ffff:ffff", false, 1},
		{"-2001:db8::/64 +2001:db8::8000:0:0:0/65 -2001:db8::8000:0:0:1/128", "2001:db8::8000:0:0:0", true, 2},
		{"-2001:db8::/64 +2001:db8::8000:0:0:0/65 -2001:db8::8000:0:0:1/128", "2001:db8::8000:0:0:1", false, 3},
		{"-2001:db8::/64 +2001:db8::8000:0:0:0/65 -2001:db8::8000:0:0:1/128", "2001:db8:0:1::", false, 0},
	} {
		list := rules(test.list)
		addr := netip.MustParseAddr(test.addr)
		admitted, rule, ok := NewList(list).Verdict(addr)
		if admitted != test.admitted || rule.Line != test.line || ok != (test.line > 0) {
			t.Errorf("%q of %q: %v by %v, %v", addr, test.list, admitted, rule, ok)
		}
	}
}

func TestVerdictOfNothing(t *testing.T) {
	var none *List
	if admitted, _, ok := none.Verdict(netip.MustParseAddr("10.0.0.1")); !admitted || ok {
		t.Error("a nil list has a word to say")
	}
	if admitted, _, ok := NewList(rules("-0.0.0.0/0 -::/0 +10.0.0.0/8")).Verdict(netip.Addr{}); !admitted || ok {
		t.Error("a client of a unix socket is not let in")
	}
	if admitted, _, _ := NewList([]Rule{{}, {Allow: true}}).Verdict(netip.MustParseAddr("10.0.0.1")); !admitted {
		t.Error("a rule without a network counts")
	}
}

func TestVerdictDoesNotAllocate(t *testing.T) {
	list := NewList(rules("+10.0.0.0/8 -2001:db8::/32"))
	for _, addr := range []string{"10.0.0.1", "11.0.0.1", "2001:db8::1", "::1", "::ffff:10.0.0.1"} {
		addr := netip.MustParseAddr(addr)
		if allocations := testing.AllocsPerRun(100, func() { list.Verdict(addr) }); allocations > 0 {
			t.Errorf("%v: %v allocations", addr, allocations)
		}
	}
}

// drawNetwork draws from few bits, so that networks contain one another and meet at
// their ends.
func drawNetwork(t *rapid.T) netip.Prefix {
	addr := drawAddr(t)
	return netip.PrefixFrom(addr, rapid.IntRange(0, addr.BitLen()).Draw(t, "bits"))
}

func drawAddr(t *rapid.T) netip.Addr {
	bytes := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 0, 1, 0x80, 0xff, 0xff}), 16, 16).Draw(t, "addr")
	switch rapid.IntRange(0, 4).Draw(t, "family") {
	case 0, 1:
		return netip.AddrFrom4([4]byte(bytes[:4]))
	case 2:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte(bytes[:4])).As16())
	}
	return netip.AddrFrom16([16]byte(bytes))
}

// TestListIsLongestMatch compares a list with a look at all rules.
func TestListIsLongestMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Rule {
			return Rule{
				drawNetwork(t), rapid.Bool().Draw(t, "allow"),
				rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "file"), rapid.IntRange(0, 99).Draw(t, "line"),
			}
		}), 0, 30).Draw(t, "rules")
		list := NewList(rules)
		check := func(addr netip.Addr) {
			var best *Rule
			want := true
			for i := range rules {
				r := rules[i]
				want = want && !r.Allow
				r.Network = unmap(r.Network.Masked())
				if r.Network.Contains(addr.Unmap()) && (best == nil || r.Network.Bits() > best.Network.Bits() ||
					r.Network.Bits() == best.Network.Bits() && best.Allow && !r.Allow) {
					best = &r
				}
			}
			if best == nil {
				best = new(Rule)
			} else {
				want = best.Allow
			}
			if admitted, rule, ok := list.Verdict(addr); admitted != want || rule != *best || ok != best.Network.IsValid() {
				t.Fatalf("%v: %v by %v, want %v by %v", addr, admitted, rule, want, *best)
			}
		}
		for _, rule := range rules { // at its ends, where a mistake by one would be
			first := rule.Network.Masked().Addr()
			check(first)
			if before := first.Prev(); before.IsValid() {
				check(before)
			}
		}
		for range 10 {
			check(drawAddr(t))
		}
	})
}

func TestParseList(t *testing.T) {
	got, err := ParseList("f", []byte("# head\n\n10.0.0.0/8\r\n\t 192.0.2.1  # one\n2001:db8::/32\n::ffff:10.1.0.0/112\n::1"), true)
	if err != nil {
		t.Fatal(err)
	}
	want := "[{10.0.0.0/8 true f 3} {192.0.2.1/32 true f 4} {2001:db8::/32 true f 5} {10.1.0.0/16 true f 6} {::1/128 true f 7}]"
	if fmt.Sprint(got) != want {
		t.Errorf("%v", got)
	}
	for text, want := range map[string]string{
		"10.0.0.0/8\nx":           `f:2: "x" is neither a network such as "10.0.0.0/8" nor an address`,
		"\n\n10.0.0.1/8":          `f:3: "10.0.0.1/8" is an address in the network "10.0.0.0/8": one or the other is meant`,
		"10.0.0.0/33":             `f:1: "10.0.0.0/33" is neither a network such as "10.0.0.0/8" nor an address`,
		"fe80::1%eth0":            `f:1: "fe80::1%eth0" is neither a network such as "10.0.0.0/8" nor an address`,
		"10.0.0.0/8 10.1.0.0/16":  `f:1: "10.0.0.0/8 10.1.0.0/16" is neither a network such as "10.0.0.0/8" nor an address`,
		"\x1b[2J":                 `f:1: "\x1b[2J" is neither a network such as "10.0.0.0/8" nor an address`,
		strings.Repeat("x", 1000): `f:1: "` + strings.Repeat("x", 60) + `" is neither a network such as "10.0.0.0/8" nor an address`,
	} {
		if rules, err := ParseList("f", []byte(text), false); err == nil || err.Error() != want || rules != nil {
			t.Errorf("%q: %v %v", text, rules, err)
		}
	}
}

func TestParseListBounds(t *testing.T) {
	one := "1.1.1.1\n"
	full := strings.Repeat(one, MaxNetworks)
	if rules, err := ParseList("f", []byte(full+"# and no more\n"), false); err != nil || len(rules) != MaxNetworks {
		t.Errorf("%d rules, %v", len(rules), err)
	}
	if _, err := ParseList("f", []byte(full+one), false); err == nil || err.Error() != "f:1000001: more than 1000000 networks" {
		t.Errorf("one too many: %v", err)
	}
	if _, err := ParseList("f", make([]byte, MaxListBytes+1), false); err == nil || err.Error() != "f: larger than 64 MiB" {
		t.Errorf("one byte too many: %v", err)
	}
}

func FuzzParseList(f *testing.F) {
	for _, seed := range []string{"", "10.0.0.0/8\n", "::/0 # all", "::ffff:0:0/96", "::ffff:0:0/95", "fe80::1%x", "1.2.3.4/", "/8", "1.2.3.4/08", "\r\n\r"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		parsed, err := ParseList("f", text, true)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("error %q", err)
			}
			return
		}
		var again strings.Builder
		for i, rule := range parsed {
			if rule.Network != rule.Network.Masked() || rule.Network.Addr().Is4In6() && rule.Network.Bits() >= 96 || !rule.Network.IsValid() {
				t.Fatalf("network %v", rule.Network)
			}
			if i > 0 && rule.Line <= parsed[i-1].Line {
				t.Fatalf("line %d after %d", rule.Line, parsed[i-1].Line)
			}
			fmt.Fprintln(&again, rule.Network)
			if admitted, by, ok := NewList(parsed).Verdict(rule.Network.Addr()); len(parsed) < 100 && (!admitted || !ok || by.Network.Bits() < rule.Network.Bits()) {
				t.Fatalf("%v: by %v", rule, by)
			}
		}
		reparsed, err := ParseList("f", []byte(again.String()), true)
		if err != nil || len(reparsed) != len(parsed) {
			t.Fatalf("not read again: %v", err)
		}
	})
}

// networks writes a list as it could be: mostly of IPv4, from /12 to /32, or of IPv6, from
// /24 to /64.
func networks(n int, v6 bool) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for range n {
		var addr netip.Addr
		bits := 12 + random.IntN(21)
		if v6 {
			addr, bits = randomAddr(random, true), 24+random.IntN(41)
		} else {
			addr = randomAddr(random, false)
		}
		text = netip.PrefixFrom(addr, bits).Masked().AppendTo(text)
		text = append(text, '\n')
	}
	return text
}

func randomAddr(random *rand.Rand, v6 bool) netip.Addr {
	var bytes [16]byte
	for i := range bytes {
		bytes[i] = byte(random.Uint32())
	}
	if v6 {
		bytes[0], bytes[1] = 0x20, bytes[1]&0x0f
		return netip.AddrFrom16(bytes)
	}
	return netip.AddrFrom4([4]byte(bytes[:4]))
}

const long = 100_000

func BenchmarkVerdict(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(fmt.Sprintf("v6=%v", v6), func(b *testing.B) {
			rules, err := ParseList("f", networks(long, v6), false)
			if err != nil {
				b.Fatal(err)
			}
			list := NewList(rules)
			random := rand.New(rand.NewPCG(3, 4))
			addrs := make([]netip.Addr, 1<<16)
			for i := range addrs {
				addrs[i] = randomAddr(random, v6)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				list.Verdict(addrs[i%len(addrs)])
				i++
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(fmt.Sprintf("v6=%v", v6), func(b *testing.B) {
			text := networks(long, v6)
			b.ReportAllocs()
			for b.Loop() {
				rules, err := ParseList("f", text, false)
				if err != nil {
					b.Fatal(err)
				}
				NewList(rules)
			}
		})
	}
}
