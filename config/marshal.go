package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"balance/engine/spec"
)

// Marshal returns a TOML document that declares c, which must be valid: Decode
// turns it back into an equal Config, if the addresses to listen on and the names of
// servers are in the form that Decode and Parse give them. What equals the documented
// default is left out, and so is what is of no use to a listener or a group.
func Marshal(c *spec.Config) []byte {
	var w writer
	preset := spec.DefaultConfig()
	for _, table := range spec.DaemonTables {
		w.table(fmt.Sprintf("[%s]", table), changed(table, spec.DaemonSettings, c, preset))
	}
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
	preset, presetCheck := spec.Defaults(), spec.DefaultCheck()
	preset.Name = l.Listen[0]
	w.table("[[listener]]", changed(spec.ListenerTable, spec.ListenerSettings, l, &preset))
	for _, table := range spec.ListenerTables {
		w.table(fmt.Sprintf("[%s]", table), changed(table, l.Settings(), l, &preset))
	}
	for i := range l.Groups {
		group := &l.Groups[i]
		channels := "channels = " + array(group.Channels, func(c spec.Channel) string { return channelValue(c, group.SendProxy) })
		w.table("[[listener.group]]", append(changed(spec.GroupTable, group.Settings(), group, &spec.Group{}), channels))
		w.table("[listener.group.check]", changed(spec.GroupCheckTable, group.Check.Settings(), &group.Check, &presetCheck))
	}
}

// changed returns a line for each key of a table whose value is not that of
// preset.
func changed[T any](table spec.Table, settings []spec.Setting[T], from, preset *T) []string {
	var lines []string
	for _, s := range settings {
		if text := value(s.Field(from)); s.In(table) && text != value(s.Field(preset)) {
			lines = append(lines, s.Name()+" = "+text)
		}
	}
	return lines
}

// value returns what a key is set to, given its field.
func value(field any) string {
	switch field := field.(type) {
	case *bool, *int, *uint16, spec.Integer:
		return spec.Text(field)
	case *[]string:
		if len(*field) == 1 {
			return quote((*field)[0])
		}
		return array(*field, quote)
	case *map[string]string:
		var values []string
		for _, key := range slices.Sorted(maps.Keys(*field)) {
			values = append(values, quote(key)+" = "+quote((*field)[key]))
		}
		return "{" + strings.Join(values, ", ") + "}"
	default:
		return quote(spec.Text(field))
	}
}

// channelValue returns the short form of a channel, if that says all of it in a group
// that has sendProxy.
func channelValue(c spec.Channel, sendProxy spec.SendProxy) string {
	short := c.String()
	if c.MaxConns != 0 {
		short += fmt.Sprintf(":%d", c.MaxConns)
	}
	var wrong faults
	again := wrong.shortChannel(wholeFile, "", short, listening{})
	again.SendProxy = sendProxy
	if len(wrong.list) == 0 && again == c {
		return quote(short)
	}
	return "{" + strings.Join(changed(spec.ChannelTable, spec.ChannelSettings, &c, &spec.Channel{SendProxy: sendProxy}), ", ") + "}"
}

func array[T any](values []T, format func(T) string) string {
	var elements []string
	for _, v := range values {
		elements = append(elements, format(v))
	}
	return "[" + strings.Join(elements, ", ") + "]"
}

// quote returns text as a basic string (TOML 1.0): what cannot be printed is
// escaped by its number.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
