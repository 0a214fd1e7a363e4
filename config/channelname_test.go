package config

import (
	"strings"
	"testing"
)

func TestChannelNames(t *testing.T) {
	const document = `[[listener]]
listen = ":80"

[[listener.group]]
channels = [{name = "w1", host = "h1", port = 80}, {name = "Zürich-2.a_b", host = "h2", port = 80, maxc = 4}, "h3:80"]

[[listener.group]]
channels = [{name = "h4", host = "h4", port = 80}]

[[listener]]
listen = ":81"

[[listener.group]]
channels = [{name = "w1", host = "h1", port = 80}]
`
	c, err := Decode("f", []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners[0].Groups[0].Channels[0].Name; got != "w1" {
		t.Errorf("the channel is called %q", got)
	}
	if got := string(Marshal(c)); got != document {
		t.Errorf("got\n%s\nwant\n%s", got, document)
	}
}

func TestChannelNameFaults(t *testing.T) {
	const not = ` is not letters, digits, '-', '_' and '.', the first not '-'`
	for _, c := range []struct{ channels, want string }{
		{`{name = 5, host = "a"}`, `channel 0: name is the integer 5, not a string`},
		{`{name = "7", host = "a"}`, `channel 0: name "7" is a number, and channels have numbers by their place`},
		{`{name = "a b", host = "a"}`, `channel 0: name "a b"` + not},
		{`{name = "web/a", host = "a"}`, `channel 0: name "web/a"` + not},
		{`{name = "w*", host = "a"}`, `channel 0: name "w*"` + not},
		{`{name = "w?", host = "a"}`, `channel 0: name "w?"` + not},
		{`{name = "-json", host = "a"}`, `channel 0: name "-json"` + not},
		{`{name = "b:80", host = "a"}, "b"`, `channel 0: name "b:80"` + not},
		{`{name = "\u001b", host = "a"}`, `channel 0: name "\x1b"` + not},
		{`{name = "` + strings.Repeat("x", 64) + `", host = "a"}`, `channel 0: name "` + strings.Repeat("x", 60) + `" is longer than 63 bytes`},
		{`{name = "w", host = "a"}, {name = "w", host = "b"}`, `channel 1: the name "w" is taken by group 0 channel 0 already`},
		{`{name = "b", host = "a"}, "B"`, `channel 0: the name "b" is the host of group 0 channel 1`},
		{`{name = "10.0.0.1", host = "a"}, "10.0.0.1:81"`, `channel 0: the name "10.0.0.1" is the host of group 0 channel 1`},
	} {
		_, err := Decode("f", []byte("[[listener]]\nlisten = \":80\"\n[[listener.group]]\nchannels = ["+c.channels+"]\n"))
		if want := `f:4: listener ":80" group 0 ` + c.want; err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.channels, err, want)
		}
	}
}
