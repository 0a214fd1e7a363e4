package preface

import (
	"strings"
	"testing"
)

func TestMatchName(t *testing.T) {
	for _, test := range []struct {
		pattern, name string
		want          bool
	}{
		{"example.net", "example.net", true},
		{"Example.NET", "example.net", true},
		{"example.net", "EXAMPLE.net", true},
		{"example.net", "www.example.net", false},
		{"www.example.net", "example.net", false},
		{"example.net", "example.ne", false},
		{"example.net", "", false},
		{"", "", false},
		{"*.example.net", "www.example.net", true},
		{"*.Example.net", "WWW.example.NET", true},
		{"*.example.net", "example.net", false},
		{"*.example.net", ".example.net", false},
		{"*.example.net", "a.b.example.net", false},
		{"*.example.net", "www.example.com", false},
		{"*.example.net", "wwwexample.net", false},
		{"*.example.net", "*.example.net", true},
		{"*.example.net", "", false},
		{"*.net", "example.net", true},
		{"*.net", "net", false},
		{"*.", "a", false},
		{"*.", "a.", false},
		{"xn--bcher-kva.example", "xn--bcher-kva.example", true},
	} {
		if got := MatchName(test.pattern, test.name); got != test.want {
			t.Errorf("%q is one of %q: %v", test.name, test.pattern, got)
		}
	}
}

func TestMatchNameAllocates(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { MatchName("*.example.net", "www.example.net") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestValidName(t *testing.T) {
	for _, pattern := range []string{
		"example.net", "*.example.net", "*.net", "localhost", "Example.NET", "xn--bcher-kva.example", "_dmarc.example.net", "1.2.3.4", "a-.b",
		longName, "*." + longName[2:],
	} {
		if err := ValidName(pattern); err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
	}
	for pattern, want := range map[string]string{
		"":                      "empty",
		"*.":                    "empty",
		"*":                     "first",
		"*.*.net":               "first",
		"www.*.net":             "first",
		"w*.example.net":        "first",
		"*example.net":          "first",
		"example.net.":          "dot at the end",
		"*.example.net.":        "dot at the end",
		"bücher.example":        "ASCII",
		"a..b":                  "no host name",
		".net":                  "no host name",
		"a b":                   "no host name",
		"a\x00b":                `"a\x00b"`,
		"example.net:443":       "no host name",
		"https://example.net":   "no host name",
		"[::1]":                 "no host name",
		strings.Repeat("a", 64): "no host name",
		longName + ".e":         "no host name",
		"*." + longName:         "no host name",
	} {
		if err := ValidName(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}
