package config

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/BurntSushi/toml"
)

func TestGuard(t *testing.T) {
	wide := []byte{0xff, 0xfe}
	for _, unit := range utf16.Encode([]rune(small)) {
		wide = binary.LittleEndian.AppendUint16(wide, unit)
	}
	swapped := []byte{0xfe, 0xff}
	for _, unit := range utf16.Encode([]rune(small)) {
		swapped = binary.BigEndian.AppendUint16(swapped, unit)
	}
	for _, c := range []struct {
		name, data, want string
	}{
		{"byte order mark", "\xef\xbb\xbf" + small, "f:1: the file begins with a byte order mark: save it as UTF-8 without one"},
		{"little-endian UTF-16", string(wide), "f:1: the file is in UTF-16: save it as UTF-8"},
		{"big-endian UTF-16", string(swapped), "f:1: the file is in UTF-16: save it as UTF-8"},
		{"UTF-16 without a mark", string(wide[2:]), "f:1: the file holds a NUL byte: it is not text in UTF-8"},
		{"NUL in a comment", small + "# \x00\n", "f:5: the file holds a NUL byte: it is not text in UTF-8"},
		{"Latin-1", small + "# caf\xe9\n", "f:5: the byte 0xe9 is not UTF-8: save the file as UTF-8"},
		{"5 MB of brackets", strings.Repeat("[", 5<<20), "f: it is larger than 1048576 bytes"},
		{"1 MiB of brackets", strings.Repeat("[", 1<<20), "f:1: tables and arrays nest deeper than 64 levels"},
		{"brackets in lines", "x = " + strings.Repeat("[\n", 65), "f:65: tables and arrays nest deeper than 64 levels"},
		{"braces", "x = " + strings.Repeat("{a=", 65), "f:1: tables and arrays nest deeper than 64 levels"},
		{"dotted key", "x" + strings.Repeat(" . x", 65) + " = 1", "f:1: tables and arrays nest deeper than 64 levels"},
		{"dotted header", "\n[x" + strings.Repeat(".x", 65) + "]", "f:2: tables and arrays nest deeper than 64 levels"},
		{"dots and braces", strings.Repeat("a.b.c = {", 22), "f:1: tables and arrays nest deeper than 64 levels"},
		{"behind many quotes", `x = ["""a""""", ` + strings.Repeat("[", 70), "f:1: tables and arrays nest deeper than 64 levels"},
		{"behind an escaped quote", `x = ["\"", ` + strings.Repeat("[", 70), "f:1: tables and arrays nest deeper than 64 levels"},
		{"behind an open string", "x = \"\ny = " + strings.Repeat("[", 70), "f:2: tables and arrays nest deeper than 64 levels"},
		{"behind a comment", "x = [ # \"'\n" + strings.Repeat("[", 70), "f:2: tables and arrays nest deeper than 64 levels"},
	} {
		_, err := Decode("f", []byte(c.data))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got\n%.200s\nwant\n%s", c.name, fmt.Sprint(err), c.want)
		}
	}
}

func TestGuardLetsThrough(t *testing.T) {
	brackets := strings.Repeat("[{.", 100)
	for _, data := range []string{
		small + "# " + brackets,
		small + "# \"\n# '''\n",
		strings.ReplaceAll(small, "\n", "\r\n"),
		"[log]\nlevel = \"\"\"info\"\"\" # " + brackets + "\n" + small,
		"[log]\nlevel = '''info''' # " + brackets + "\n" + small,
		"[log]\n\"level\" = 'info' # " + brackets + "\n" + small,
	} {
		if _, err := Decode("f", []byte(data)); err != nil {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// The depth that the guard counts is never less than that of what the parser
// makes of the document.
func TestGuardCountsEnough(t *testing.T) {
	pieces := []string{`"`, `""`, `"""`, `'`, `''`, `'''`, `\`, `\\`, `#`, "\n", "[", "[[", "]", "]]", "{", "}", "=", "x=", ",", ".", "a", "a.b", "1"}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	accepted := 0
	for range 300_000 {
		var b strings.Builder
		b.WriteString([]string{"x = [", "x = {a=", "", "x = "}[random.IntN(4)])
		for range random.IntN(12) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		b.WriteString([]string{"]", "}", "", "\n"}[random.IntN(4)])
		data := b.String()
		values := map[string]any{}
		if _, err := toml.Decode(data, &values); err != nil {
			continue
		}
		accepted++
		if counted, is := countedDepth(data), depth(values)-1; counted < is {
			t.Fatalf("the guard counts %d levels, not %d, in %q", counted, is, data)
		}
	}
	if accepted < 1000 {
		t.Errorf("only %d of the documents mean anything", accepted)
	}
}

// countedDepth asks the guard how deep data is, by nesting it in ever more
// levels until that is too deep.
func countedDepth(data string) int {
	for extra := range maxDepth + 1 {
		if tooDeep([]byte(strings.Repeat("[", maxDepth-extra)+"\n"+data)) < 0 {
			return extra
		}
	}
	return maxDepth + 1
}

func depth(value any) int {
	deepest := 0
	switch value := value.(type) {
	case map[string]any:
		for _, v := range value {
			deepest = max(deepest, depth(v))
		}
	case []map[string]any:
		for _, v := range value {
			deepest = max(deepest, depth(v))
		}
	case []any:
		for _, v := range value {
			deepest = max(deepest, depth(v))
		}
	default:
		return 0
	}
	return deepest + 1
}

// However bad a file is, what is told of it is short.
func TestWhatIsToldIsBounded(t *testing.T) {
	var many strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&many, "unknown%d = 1\n", i)
	}
	for name, data := range map[string]string{
		"many faults":   many.String(),
		"a long key":    strings.Repeat("x", 500<<10) + " = 1\n",
		"a long value":  small + "mode = \"" + strings.Repeat("x", 500<<10) + "\"\n",
		"a long syntax": strings.Repeat("é", 200<<10),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode("f", []byte(data))
			if err == nil {
				t.Fatal("no fault")
			}
			if text := err.Error(); len(text) > 128<<10 || strings.Count(text, "\n") > maxFaults {
				t.Errorf("%d bytes in %d lines", len(text), strings.Count(text, "\n")+1)
			}
		})
	}
}
