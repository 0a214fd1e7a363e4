package config

import (
	"encoding"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// Marshal returns a TOML document that declares c, which must be valid: Decode
// turns it back into an equal Config, if the addresses to listen on are in the
// form that Decode and Parse give them. What equals the documented default is
// left out.
func Marshal(c *spec.Config) []byte {
	var w writer
	preset := spec.DefaultConfig()
	w.table("[defaults]", changed(daemonSettings, c, preset))
	w.table("[process]", changed(processSettings, &c.Process, &preset.Process))
	w.table("[log]", changed(logSettings, &c.Log, &preset.Log))
	w.table("[control]", changed(controlSettings, &c.Control, &preset.Control))
	for i := range c.Listeners {
		w.listener(&c.Listeners[i])
	}
	return []byte(w.String())
}

type writer struct{ strings.Builder }

// table writes a table, unless it has no lines.
func (w *writer) table(header string, lines []string) {
	if len(lines) == 0 {
		return
	}
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.WriteString(header + "\n" + strings.Join(lines, "\n") + "\n")
}

func (w *writer) listener(l *spec.Listener) {
	var lines []string
	if l.Name != l.Listen[0] {
		lines = append(lines, "name = "+quote(l.Name))
	}
	if len(l.Listen) == 1 {
		lines = append(lines, "listen = "+quote(l.Listen[0]))
	} else {
		lines = append(lines, "listen = "+array(l.Listen, quote))
	}
	if l.Source.IsValid() {
		lines = append(lines, "source = "+quote(l.Source.String()))
	}
	preset := spec.Defaults()
	w.table("[[listener]]", slices.Concat(lines, changed(settings, l, &preset)))
	for _, group := range l.Groups {
		lines := []string{"channels = " + array(group.Channels, channelValue)}
		if group.Mode != balancer.RoundRobin {
			lines = slices.Insert(lines, 0, "mode = "+quote(group.Mode.String()))
		}
		w.table("[[listener.group]]", lines)
	}
}

// changed returns a line for each key whose value is not that of preset.
func changed[T any](keys []key[T], from, preset *T) []string {
	var lines []string
	for _, k := range keys {
		if text := value(k.field(from)); text != value(k.field(preset)) {
			lines = append(lines, k.name+" = "+text)
		}
	}
	return lines
}

// value returns what a key is set to, given its field.
func value(field any) string {
	switch field := field.(type) {
	case *bool:
		return strconv.FormatBool(*field)
	case *string:
		return quote(*field)
	case *int:
		return strconv.Itoa(*field)
	case *time.Duration:
		return quote(shortDuration(*field))
	default:
		text, _ := field.(encoding.TextMarshaler).MarshalText()
		return quote(string(text))
	}
}

// shortDuration leaves out the zeros of "1h0m0s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// channelValue returns the short form of a channel, if that says all of it.
func channelValue(c spec.Channel) string {
	short := c.String()
	if c.MaxConns != 0 {
		short += fmt.Sprintf(":%d", c.MaxConns)
	}
	if again, wrong := parseChannel(short, listening{}); len(wrong.list) == 0 && again == c {
		return quote(short)
	}
	fields := []string{"host = " + quote(c.Host), fmt.Sprintf("port = %d", c.Port)}
	if c.MaxConns != 0 {
		fields = append(fields, fmt.Sprintf("maxc = %d", c.MaxConns))
	}
	if c.Disabled {
		fields = append(fields, "disabled = true")
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

func array[T any](values []T, format func(T) string) string {
	var elements []string
	for _, v := range values {
		elements = append(elements, format(v))
	}
	return "[" + strings.Join(elements, ", ") + "]"
}

// quote returns text as a basic string. The strings of a valid configuration
// are printable, and of those Go escapes what TOML does in the same way.
func quote(text string) string { return strconv.Quote(text) }
