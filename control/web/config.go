package web

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"balance/engine/spec"
)

func (d *Daemon) serveConfig(w http.ResponseWriter, _ *http.Request) {
	c := d.Engine.Config()
	if c == nil {
		http.Error(w, "no configuration is in force yet", http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, configurationOf(c))
}

// configurationOf returns what /api/v1/config answers. It has the shape and the
// keys of the file; settings of [defaults] stand in each listener.
func configurationOf(c *spec.Config) object {
	var file object
	for _, table := range spec.DaemonTables {
		file = file.with(string(table), settingsOf(table, spec.DaemonSettings, c))
	}
	var listeners []object
	for i := range c.Listeners {
		listeners = append(listeners, configurationOfListener(&c.Listeners[i]))
	}
	return file.with(spec.KeyListeners.Name(), listeners)
}

func configurationOfListener(l *spec.Listener) object {
	var groups []object
	for i := range l.Groups {
		group := &l.Groups[i]
		var channels []object
		for k := range group.Channels {
			channels = append(channels, settingsOf(spec.ChannelTable, spec.ChannelSettings, &group.Channels[k]))
		}
		groups = append(groups, settingsOf(spec.GroupTable, group.Settings(), group).
			with(spec.KeyCheck.Name(), settingsOf(spec.GroupCheckTable, group.Check.Settings(), &group.Check)).
			with(spec.KeyChannels.Name(), channels))
	}
	listener := settingsOf(spec.ListenerTable, spec.ListenerSettings, l)
	for _, table := range spec.ListenerTables {
		listener = listener.with(table.Name(), settingsOf(table, spec.ListenerSettings, l))
	}
	return listener.with(spec.KeyGroups.Name(), groups)
}

// settingsOf returns the settings of a table that stand in of.
func settingsOf[T any](table spec.Table, settings []spec.Setting[T], of *T) object {
	var o object
	for _, s := range settings {
		if !s.In(table) {
			continue
		}
		value := s.Field(of)
		switch field := value.(type) {
		case *time.Duration:
			value = field.String()
		case spec.Integer:
			value = field.Int()
		case *[]string:
			value = append([]string{}, *field...) // not null
		case *map[string]string:
			value = namesIn(*field)
		}
		o = o.with(s.Name(), value)
	}
	return o
}

// namesIn returns an object with the names alone: a value may be a secret.
func namesIn(values map[string]string) object {
	var o object
	for _, name := range slices.Sorted(maps.Keys(values)) {
		o = o.with(name, nil)
	}
	return o
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	key   string
	value any
}

func (o object) with(key string, value any) object { return append(o, member{key, value}) }

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
