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
func Decode(name string, data []byte) (*spec.Config, error) {
	if line, err := guard(data); err != nil {
		return nil, join(located(name, line, err))
	}
	values := map[string]any{}
	if _, err := toml.Decode(string(data), &values); err != nil {
		return nil, join(syntaxError(name, err))
	}
	d := decoder{config: spec.DefaultConfig(), derived: map[string]string{}}
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
	derived  map[string]string // see faults.validate
}

func (d *decoder) document(values map[string]any) {
	document := d.open(root, "", "", values)
	d.settings(document.table(defaultsTable, "defaults"))
	read(document.table(processTable, "process"), processSettings, &d.config.Process)
	read(document.table(logTable, "log"), logSettings, &d.config.Log)
	read(document.table(controlTable, "control"), controlSettings, &d.config.Control)
	for i, value := range document.array("listener", "an array of tables: write [[listener]]") {
		d.listener(i, value)
	}
}

// settings reads [defaults]. It checks them by themselves, so that a fault is
// not found again in each listener.
func (d *decoder) settings(t table) {
	d.defaults = spec.Defaults()
	read(t, daemonSettings, d.config)
	read(t, settings, &d.defaults)
	alone := spec.Config{ShutdownTimeout: d.config.ShutdownTimeout, Listeners: []spec.Listener{d.defaults}}
	for _, fault := range alone.Validate() {
		in, name, _ := strings.Cut(fault.Path, ".")
		if in == "defaults" || slices.Contains(names(settings), name) {
			t.fault(name, "%s", fault.Problem)
			d.defaults = spec.Defaults()
		}
	}
}

func (d *decoder) listener(i int, value any) {
	path := elementPath("listener", i)
	t := d.open(listenerTable, path, "listener "+label(i, value), value)
	l := d.defaults
	addresses := t.addresses()
	if name, ok := t.text("name"); ok {
		l.Name = name
	} else {
		if len(addresses) > 0 {
			l.Name = addresses[0]
		}
		d.derived[path+".name"] = path + ".listen[0]"
	}
	inherited := d.listen(t, addresses, &l)
	if source, ok := t.text("source"); ok {
		addr, err := parseSource(source)
		if err != nil {
			t.fault("source", "%s", err)
		}
		l.Source = addr
	}
	read(t, settings, &l)
	for g, value := range t.array("group", "an array of tables: write [[listener.group]]") {
		group := elementPath(path+".group", g)
		l.Groups = append(l.Groups, d.group(group, fmt.Sprintf("%s group %d", t.where, g), value, inherited))
	}
	d.config.Listeners = append(d.config.Listeners, l)
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

// addresses returns the strings at listen as they are written, "" for what is
// none.
func (t table) addresses() []string {
	if text, ok := t.values["listen"].(string); ok {
		return []string{text}
	}
	var addresses []string
	for i, value := range t.array("listen", "a string or an array of strings") {
		text, ok := value.(string)
		if !ok {
			t.faults.add(elementPath(keyPath(t.path, "listen"), i), t.where, "listen is %s, not a string", describe(value))
		}
		addresses = append(addresses, text)
	}
	return addresses
}

// listen sets the addresses of a listener. One that is not valid stays as it
// is written, so that the others keep their places.
func (d *decoder) listen(t table, addresses []string, l *spec.Listener) listening {
	var first listening
	for i, text := range addresses {
		path := elementPath(keyPath(t.path, "listen"), i)
		address, port, err := parseListen(text)
		if err != nil {
			address = text
			if !d.covers(path) {
				d.add(path, t.where, "%s", err)
			}
		}
		if i == 0 {
			first = listening{port, err == nil}
		}
		l.Listen = append(l.Listen, address)
	}
	return first
}

func (d *decoder) group(path, where string, value any, inherited listening) spec.Group {
	t := d.open(groupTable, path, where, value)
	var group spec.Group
	t.word("mode", &group.Mode)
	for k, value := range t.array("channels", "an array of channels") {
		channel := elementPath(path+".channels", k)
		group.Channels = append(group.Channels, d.channel(channel, fmt.Sprintf("%s channel %d", where, k), value, inherited))
	}
	return group
}

func (d *decoder) channel(path, where string, value any, inherited listening) spec.Channel {
	switch value := value.(type) {
	case string:
		channel, wrong := parseChannel(value, inherited)
		d.absorb(path, where, wrong)
		return channel
	case map[string]any:
		return d.channelTable(d.open(channelTable, path, where, value), inherited)
	default:
		d.add(path, where, "the channel is %s, not a string such as \"host:port:maxc\" or a table such as {host = \"host\"}", describe(value))
		return spec.Channel{}
	}
}

func (d *decoder) channelTable(t table, inherited listening) spec.Channel {
	host, ok := t.text("host")
	if path := keyPath(t.path, "host"); !ok && !d.covers(path) {
		d.add(path, t.where, "host is missing")
	}
	channel := spec.Channel{Host: host, Port: t.port("port", inherited)}
	t.boolean("disabled", &channel.Disabled)
	switch value := t.values["maxc"].(type) {
	case nil:
	case int64:
		if value < 0 || value > spec.MaxMaxConns {
			t.fault("maxc", "maxc %d is not one of 0 (no limit) to %d", value, int64(spec.MaxMaxConns))
		}
		channel.MaxConns = int(value)
	default:
		t.fault("maxc", "maxc is %s, not an integer", describe(value))
	}
	return channel
}

// port returns the port of a channel.
func (t table) port(key string, inherited listening) uint16 {
	var text string
	switch value := t.values[key].(type) {
	case nil:
		if !inherited.ok {
			t.faults.cover(keyPath(t.path, key))
		} else if inherited.port == 0 {
			t.fault(key, noPort)
		}
		return inherited.port
	case int64:
		text = strconv.FormatInt(value, 10)
	case string:
		text = value
	default:
		t.fault(key, "%s is %s, not a number or the name of a service", key, describe(value))
		return 0
	}
	port, err := spec.ParsePort(text, 1)
	if err != nil {
		t.fault(key, "%s", err)
	}
	return port
}
