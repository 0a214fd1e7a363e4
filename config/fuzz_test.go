package config

import (
	"balance/engine/spec"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

// FuzzDecode: no document makes Decode panic; every fault fits one line; what
// is accepted survives Marshal.
func FuzzDecode(f *testing.F) {
	paths, err := filepath.Glob("../examples/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range append(paths, example) {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("listener=[{listen=':1',group=[{channels=['h1',{host='h2'}]}]}]"))
	f.Add([]byte("[defaults]\nhold_off='2s'\ncheck={type='http',tls=true,status=[200,'3-4'],headers={a='b'},command=['x']}\n[[listener]]\nlisten=':1'\n[listener.check]\nsend=\"a\\u0000\"\n[[listener.group]]\nchannels=['h1']\n[listener.group.check]\ntype='tcp'\n"))
	f.Add([]byte("[[listener]]\nlisten=['unix:/a','unix:9']\nadmit={rate='2/s',burst=3,deny=['::1',''],allow_file='/x'}\nunix.mode='0600'\nproxy_protocol.accept='10.0.0.0/8'\ngroup=[{send_proxy='v1',server_name='*.a',alpn=['h2'],channels=['unix:/b:3',{host='unix:/c',port=1}]}]\n"))
	f.Add([]byte("a.b.c={d=[[1,{e='''x'''}],\"\"\"y\"\"\"]}\r\n[[a.x]]\n[a.x.y]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Decode("f", data)
		checkVerdict(t, data, c, err)
		if err != nil {
			checkLines(t, err)
			return
		}
		roundTrip(t, c)
	})
}

// checkVerdict fails if the parser that finds the lines has a say in what is a fault.
func checkVerdict(t *testing.T, data []byte, c *spec.Config, err error) {
	t.Helper()
	bare, bareErr := decode("f", data, func([]byte) positions { return nil })
	if !reflect.DeepEqual(c, bare) || !slices.Equal(problems(err), problems(bareErr)) {
		t.Errorf("without lines: %v\n%v\nwith lines:%v\n%v", bare, bareErr, c, err)
	}
}

// problems returns what an error of Decode says of each fault, without the line.
func problems(err error) []string {
	if err == nil {
		return nil
	}
	var list []string
	for _, one := range Flatten(err) {
		list = append(list, placed.ReplaceAllString(one.Error(), ""))
	}
	slices.Sort(list)
	return list
}

var placed = regexp.MustCompile(`^f(:[0-9]+)?: `)

// FuzzLines: where the parser that reads a document accepts it, the one that finds
// the lines finds every key of it, on a line that is there.
func FuzzLines(f *testing.F) {
	for _, document := range []string{
		"a.b.c={d=[[1,{e='x'}],\"y\"]}\r\n[[a.x]]\n[a.x.y]\nz=1",
		"[a]\n\"b c\".'d' = 1\n[[e]]\n[[e.f]]\ng=[\n1,\n2]\n",
		"x=\"\"\"\n\n\"\"\"\ny=1",
	} {
		f.Add([]byte(document))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		values := map[string]any{}
		if _, err := guard(data); err != nil {
			return
		}
		if _, err := toml.Decode(string(data), &values); err != nil {
			return
		}
		lines := linesOf(data)
		for path, line := range lines {
			if line < 1 || line > 1+bytes.Count(data, []byte("\n")) {
				t.Errorf("%q is on line %d", path, line)
			}
		}
		eachKey(wholeFile, values, func(path spec.Path) {
			if _, ok := lines[path]; !ok {
				t.Errorf("%q has no line in %q", path, data)
			}
		})
	})
}

// eachKey calls yield for each key in a value of a document.
func eachKey(path spec.Path, value any, yield func(spec.Path)) {
	switch value := value.(type) {
	case map[string]any:
		for key, value := range value {
			yield(path.Written(key))
			eachKey(path.Written(key), value, yield)
		}
	case []map[string]any:
		for i, value := range value {
			eachKey(path.Element(i), value, yield)
		}
	case []any:
		for i, value := range value {
			eachKey(path.Element(i), value, yield)
		}
	}
}

// FuzzParse: no command line makes Parse panic; every fault fits one line;
// what is accepted survives Marshal.
func FuzzParse(f *testing.F) {
	f.Add("", "", int64(0), int64(0), uint8(0), "8888\nlocalhost::12\n!\nlocalhost::4\n!\nlocalhost::2\nlocalhost::2\n!\nlocalhost:25")
	f.Add("::1", "192.0.2.1", int64(3e9), int64(60e9), uint8(15), "pop3\nh1\nh2\n!\nfo1")
	f.Add("[::1]", "fe80::1%eth0", int64(1), int64(1), uint8(1), "0\n[2001:db8::1]:80:16\n%\ndb:smtp:16\n%")
	f.Fuzz(func(t *testing.T, bind, source string, connect, idle int64, flags uint8, operands string) {
		d, err := Parse(Classic{
			Bind: bind, Source: source,
			ConnectTimeout: time.Duration(connect), IdleTimeout: time.Duration(idle),
			AutoDisable: flags&1 != 0, HashFailover: flags&2 != 0, IPv6: flags&4 != 0, Debug: flags&8 != 0,
			Args: strings.Split(operands, "\n"),
		})
		if err != nil {
			checkLines(t, err)
			return
		}
		roundTrip(t, d.Config)
	})
}

// checkLines fails if an error could disturb a terminal.
func checkLines(t *testing.T, err error) {
	t.Helper()
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("a line that cannot be printed: %q", line)
		}
	}
}
