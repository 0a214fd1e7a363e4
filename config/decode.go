package config

import (
	"balance/engine/spec"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/BurntSushi/toml"
)

// Decode returns the configuration that a TOML document declares; it has
// passed Validate. name stands in errors for the file. The error prints one
// line for each fault, "name:line: where: what was found and what is allowed",
// in the order of the document; the spec.Fault can be had with errors.As.
// What cannot be read as TOML gives one fault, the first.
func Decode(name string, data []byte) (*spec.Config, error) { return decode(name, data, linesOf) }

// decode is Decode with what finds the lines. That is a parser of its own, which is
// asked once it is certain that there are faults, and has no say in what they are.
func decode(name string, data []byte, linesOf func([]byte) positions) (*spec.Config, error) {
	if line, err := guard(data); err != nil {
		return nil, join(located(name, line, err))
	}
	values := map[string]any{}
	if _, err := toml.Decode(string(data), &values); err != nil {
		return nil, join(syntaxError(name, err))
	}
	d := decoder{config: spec.DefaultConfig(), derived: map[spec.Path]spec.Path{}}
	d.document(values)
	d.validate(d.config, d.derived)
	if len(d.list) == 0 {
		return d.config, nil
	}
	lines := linesOf(data)
	d.sort(lines)
	var errs []error
	for _, fault := range d.list {
		errs = append(errs, located(name, lines.find(fault.Path), fault))
	}
	return nil, join(errs...)
}

func located(name string, line int, err error) error {
	if line == 0 {
		return fmt.Errorf("%s: %w", name, err)
	}
	return fmt.Errorf("%s:%d: %w", name, line, err)
}

// syntaxError returns what the parser says as one printable line.
func syntaxError(name string, err error) error {
	line, problem := 0, err.Error()
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		line, problem = parse.Position.Line, parse.Message
	}
	var b strings.Builder
	for _, r := range problem {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return located(name, line, fmt.Errorf("not valid TOML: %s", b.String()))
}

type decoder struct {
	faults
	config   *spec.Config
	defaults spec.Listener
	checks   checks                  // of [defaults.check]
	written  table                   // [defaults]
	derived  map[spec.Path]spec.Path // see faults.validate
}

func (d *decoder) document(values map[string]any) {
	document := d.open(spec.RootTable, wholeFile, "", values)
	for _, kind := range spec.DaemonTables {
		t := document.table(kind)
		read(t, spec.DaemonSettings, d.config)
		if kind == spec.DefaultsTable {
			d.inherited(t)
		}
	}
	for i, value := range document.array(spec.KeyListeners.Name(), "an array of tables: write [[listener]]") {
		d.listener(i, value)
	}
}

// inherited reads what [defaults] says of listeners. It checks that table by
// itself, so that a fault is not found again in each listener.
func (d *decoder) inherited(t table) {
	d.written = t
	d.checks = d.check(t, spec.DefaultsCheckTable, checks{Check: spec.DefaultCheck()})
	d.defaults = spec.Defaults()
	read(t, spec.ListenerSettings, &d.defaults)
	wrong := check(t, spec.DaemonSettings, d.config)
	if check(t, spec.ListenerSettings, &d.defaults) || wrong {
		d.defaults = spec.Defaults()
	}
}

// check reports the values of the table that are wrong by themselves.
func check[T any](t table, settings []spec.Setting[T], of *T) (wrong bool) {
	for _, s := range settings {
		if problem := s.Problem(of); s.In(t.kind) && problem != "" {
			t.fault(s.Name(), "%s", problem)
			wrong = true
		}
	}
	return wrong
}

func (d *decoder) listener(i int, value any) {
	t := d.open(spec.ListenerTable, spec.ListenerAt(i), "listener "+label(i, value), value)
	l := d.defaults
	read(t, spec.ListenerSettings, &l)
	for _, kind := range spec.ListenerTables {
		read(t.table(kind), spec.ListenerSettings, &l)
	}
	if _, ok := t.values[spec.KeyName.Name()].(string); !ok {
		if len(l.Listen) > 0 {
			l.Name = l.Listen[0]
		}
		d.derived[t.path.Key(spec.KeyName)] = t.path.Key(spec.KeyListen).Element(0)
	}
	d.holdOff(t)
	inherited := d.listen(t, &l)
	d.useless(t, &l)
	checks := d.check(t, spec.ListenerCheckTable, d.checks)
	for g, value := range t.array(spec.KeyGroups.Name(), "an array of tables: write [[listener.group]]") {
		l.Groups = append(l.Groups, d.group(t.path.Group(g), fmt.Sprintf("%s group %d", t.where, g), value, inherited, &checks))
	}
	d.untyped(t, checks)
	d.config.Listeners = append(d.config.Listeners, l)
}

// holdOff notes which key it comes from that hold_off is longer than hold_off_max,
// if it does not stand in the listener.
func (d *decoder) holdOff(t table) {
	for _, from := range []table{t, d.written} {
		for _, key := range []spec.Key{spec.KeyHoldOff, spec.KeyHoldOffMax} {
			if _, ok := from.values[key.Name()]; ok {
				d.derived[t.path.Key(spec.KeyHoldOff)] = from.path.Key(key)
				return
			}
		}
	}
}

// label returns how faults call a listener: its name, or its number if it has
// none.
func label(i int, value any) string {
	values, _ := value.(map[string]any)
	name, ok := values["name"].(string)
	if !ok {
		switch listen := values["listen"].(type) {
		case string:
			name = listen
		case []any:
			if len(listen) > 0 {
				name, _ = listen[0].(string)
			}
		}
	}
	if name == "" {
		return strconv.Itoa(i)
	}
	return strconv.Quote(name)
}

// listen gives the addresses of a listener the form that they have in a Config.
// One that is not valid stays as it is written, so that the others keep their
// places. The port is that of the first which is no unix socket.
func (d *decoder) listen(t table, l *spec.Listener) listening {
	first, found := listening{ok: len(l.Listen) > 0, unix: true}, false
	for i, text := range l.Listen {
		path := t.path.Key(spec.KeyListen).Element(i)
		address, port, err := parseListen(text)
		if err == nil {
			l.Listen[i] = address
		} else if !d.covers(path) {
			d.add(path, t.where, "%s", err)
		}
		if !found && !isSocket(text) {
			first, found = listening{port: port, ok: err == nil}, true
		}
	}
	return first
}

func (d *decoder) group(path spec.Path, where string, value any, inherited listening, outer *checks) spec.Group {
	t := d.open(spec.GroupTable, path, where, value)
	var group spec.Group
	read(t, spec.GroupSettings, &group)
	for i, name := range group.ServerName {
		group.ServerName[i] = lower(name)
	}
	d.uselessToMode(t, &group)
	group.Check = d.groupCheck(t, outer)
	for k, value := range t.array(spec.KeyChannels.Name(), "an array of channels") {
		group.Channels = append(group.Channels, d.channel(path.Channel(k), fmt.Sprintf("%s channel %d", where, k), value, inherited, group.SendProxy))
	}
	return group
}

// lower returns a name with the letters of ASCII in lower case: what else there is
// stays, to be told as it was written.
func lower(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}

// useless reports the keys that stand in the tables of a listener and are of no use
// without another one, unless they say the default.
func (d *decoder) useless(t table, l *spec.Listener) {
	preset := spec.Defaults()
	for _, s := range spec.ListenerSettings {
		needed := l.Useless(s.Key)
		values, _ := t.values[s.Table().Name()].(map[string]any)
		if _, ok := values[s.Name()]; !ok || needed == nil || value(s.Field(l)) == value(s.Field(&preset)) ||
			slices.ContainsFunc(needed, func(key spec.Key) bool { return d.covers(t.path.Key(key)) }) {
			continue
		}
		var names []string
		for _, key := range needed {
			names = append(names, key.Name())
		}
		without := strings.Join(names, " or ")
		if needed[0] == spec.KeyListen {
			without = "a unix socket in listen"
		}
		d.add(t.path.Key(s.Key), t.where+" "+s.Table().Name(), "%s is of no use without %s", s.Name(), without)
	}
}

// uselessToMode reports the keys that stand in a group and are of no use to its mode,
// unless they say the default.
func (d *decoder) uselessToMode(t table, group *spec.Group) {
	if d.covers(t.path.Key(spec.KeyMode)) {
		return
	}
	preset := spec.Group{}
	for _, s := range spec.GroupSettings {
		if _, ok := t.values[s.Name()]; ok && group.Useless(s.Key) && value(s.Field(group)) != value(s.Field(&preset)) {
			t.fault(s.Name(), "%s is of no use to mode %q", s.Name(), group.Mode)
		}
	}
}

func (d *decoder) channel(path spec.Path, where string, value any, inherited listening, sendProxy spec.SendProxy) spec.Channel {
	switch value := value.(type) {
	case string:
		channel := d.shortChannel(path, where, value, inherited)
		channel.SendProxy = sendProxy
		return channel
	case map[string]any:
		return d.channelTable(d.open(spec.ChannelTable, path, where, value), inherited, sendProxy)
	default:
		d.add(path, where, "the channel is %s, not a string such as \"host:port:maxc\" or a table such as {host = \"host\"}", describe(value))
		return spec.Channel{}
	}
}

func (d *decoder) channelTable(t table, inherited listening, sendProxy spec.SendProxy) spec.Channel {
	channel := spec.Channel{Port: inherited.port, SendProxy: sendProxy}
	read(t, spec.ChannelSettings, &channel)
	path := t.path.Key(spec.KeyHost)
	if _, ok := t.values[spec.KeyHost.Name()]; !ok && !d.covers(path) {
		d.add(path, t.where, "host is missing")
	}
	switch _, ok := t.values[spec.KeyPort.Name()]; {
	case ok: // of a unix socket, too, which Validate finds
	case channel.IsUnix():
		channel.Port = 0
	default:
		d.inherit(t.path, t.where, inherited)
	}
	return channel
}
