package spec_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/admit"
	"balance/engine/spec"
)

// structural are the fields that hold tables of the file: they have no setting.
var structural = map[string]bool{
	"Config.Process": true, "Config.Log": true, "Config.Control": true,
	"Config.Listeners": true, "Listener.Unix": true, "Listener.ProxyProtocol": true, "Listener.Admit": true, "Listener.Groups": true, "Group.Check": true, "Group.Channels": true,
}

// settingsOf returns how often each field of a value, in the structures in it
// too, is set by one of the settings.
func settingsOf[T any](settings []spec.Setting[T]) (found map[string]int) {
	type place struct {
		at uintptr
		is reflect.Type // a structure begins where its first field does
	}
	value := new(T)
	set := map[place]int{}
	for _, s := range settings {
		field := reflect.ValueOf(s.Field(value))
		set[place{field.Pointer(), field.Type().Elem()}]++
	}
	found = map[string]int{}
	fields(reflect.ValueOf(value).Elem(), func(name string, field reflect.Value) {
		found[name] = set[place{field.Addr().Pointer(), field.Type()}]
	})
	return found
}

// fields calls yield for each field that is not structural.
func fields(of reflect.Value, yield func(name string, field reflect.Value)) {
	for i := range of.NumField() {
		name := of.Type().Name() + "." + of.Type().Field(i).Name
		switch field := of.Field(i); {
		case !structural[name]:
			yield(name, field)
		case field.Kind() == reflect.Struct && name != "Group.Check": // which has settings of its own
			fields(field, yield)
		}
	}
}

func TestEachFieldHasOneSetting(t *testing.T) {
	checked := 0
	for _, found := range []map[string]int{
		settingsOf(spec.DaemonSettings), settingsOf(spec.ListenerSettings), settingsOf(spec.GroupSettings), settingsOf(spec.ChannelSettings), settingsOf(spec.CheckSettings),
	} {
		for name, n := range found {
			checked++
			if n != 1 {
				t.Errorf("%s has %d settings", name, n)
			}
		}
	}
	if all := len(spec.DaemonSettings) + len(spec.ListenerSettings) + len(spec.GroupSettings) + len(spec.ChannelSettings) + len(spec.CheckSettings); checked != all {
		t.Errorf("%d fields, %d settings", checked, all)
	}
}

// Two settings of one name would take each other's value.
func TestKeysAreUnique(t *testing.T) {
	for _, table := range slices.Concat(spec.DaemonTables, spec.ListenerTables, []spec.Table{spec.RootTable, spec.ListenerTable, spec.GroupTable, spec.ChannelTable}, spec.CheckTables) {
		keys := table.Keys()
		if len(keys) == 0 {
			t.Errorf("table %q has no keys", table)
		}
		for i, key := range keys {
			if slices.Contains(keys[:i], key) {
				t.Errorf("table %q has the key %q twice", table, key)
			}
		}
	}
	for _, s := range spec.DaemonSettings {
		if !slices.Contains(spec.DaemonTables, s.Table()) {
			t.Errorf("%s stands in the table %q", s, s.Table())
		}
	}
}

// Whatever changes of a configuration is a change: the engine applies nothing
// if there is none.
func TestEachFieldIsAChange(t *testing.T) {
	parts := map[string]func(*spec.Config) any{
		"daemon":   func(c *spec.Config) any { return c },
		"listener": func(c *spec.Config) any { return &c.Listeners[0] },
		"group":    func(c *spec.Config) any { return &c.Listeners[0].Groups[1] },
		"channel":  func(c *spec.Config) any { return &c.Listeners[0].Groups[0].Channels[1] },
	}
	for part, in := range parts {
		tried := 0
		for {
			old, changed := pop3(), pop3()
			name, n := "", 0
			fields(reflect.ValueOf(in(changed)).Elem(), func(field string, value reflect.Value) {
				if n == tried {
					name = field
					vary(t, value)
				}
				n++
			})
			if name == "" {
				break
			}
			if len(spec.Diff(old, old.Clone())) != 0 {
				t.Fatal("a configuration differs from itself")
			}
			if len(spec.Diff(old, changed)) == 0 || len(spec.Diff(changed, old)) == 0 {
				t.Errorf("%s: that %s is another is no change", part, name)
			}
			tried++
		}
		if tried == 0 {
			t.Errorf("%s: nothing varied", part)
		}
	}
}

// vary gives a field another value.
func vary(t *testing.T, field reflect.Value) {
	t.Helper()
	switch at := field.Addr().Interface().(type) {
	case *netip.Addr:
		*at = netip.MustParseAddr("192.0.2.77")
		return
	case *[]string:
		*at = []string{"127.0.0.77:77"}
		return
	case *map[string]string:
		*at = map[string]string{"X-A": "b"}
		return
	case *admit.Rate:
		*at = admit.Rate{Count: 20, Per: time.Second}
		return
	case *spec.StatusRanges:
		*at = spec.StatusRanges{{First: 204, Last: 204}}
		return
	}
	switch {
	case field.Kind() == reflect.Bool:
		field.SetBool(!field.Bool())
	case field.Kind() == reflect.String:
		field.SetString(field.String() + "x")
	case field.CanInt():
		field.SetInt(field.Int() + 1)
	case field.CanUint():
		field.SetUint(field.Uint() + 1)
	default:
		t.Fatalf("%s: no other value is known", field.Type())
	}
}

// Values print as they stand in the file, and nothing that is set as nothing.
func TestSettingText(t *testing.T) {
	c := pop3()
	var got []string
	for _, s := range spec.ListenerSettings {
		got = append(got, s.Label()+"="+s.Text(&c.Listeners[0]))
	}
	const want = "name=pop3 listen=127.0.0.1:110 source= connect_timeout=5s connect_deadline=0s queue=0 queue_timeout=10s idle_timeout=0s half_close_timeout=1h keepalive=15s " +
		"user_timeout=auto auto_disable=false hash_failover=false on_remove=keep drain_timeout=30s " +
		"hold_off=1s hold_off_max=30s on_down=keep on_return=keep close_spread=0s panic=0 when_unusable=close stall_after=10s " +
		"max_age=0s max_age_jitter=10 max_sessions=0 rebalance=0% preface_timeout=3s transparent=false unix.mode=0660 unix.group= " +
		"proxy_protocol.accept= proxy_protocol.timeout=3s admit.allow= admit.deny= admit.allow_file= admit.deny_file= " +
		"admit.max_sessions=0 admit.rate=0/s admit.burst=0 admit.ipv4_bits=32 admit.ipv6_bits=64 admit.refuse=reset"
	if got := strings.Join(got, " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPath(t *testing.T) {
	channel := spec.ListenerAt(0).Group(1).Channel(2)
	for want, path := range map[string]spec.Path{
		"listener":                              spec.KeyListeners.Path(),
		"control.http":                          spec.KeyHTTP.Path(),
		"listener[3].admit.deny[1]":             spec.ListenerAt(3).Key(spec.KeyDeny).Element(1),
		"listener[3].listen[1]":                 spec.ListenerAt(3).Key(spec.KeyListen).Element(1),
		"listener[0].group[1].channels[2]":      channel,
		"listener[0].group[1].channels[2].port": channel.Key(spec.KeyPort),
		`log."a.b c"`:                           spec.Path{}.Written("log").Written("a.b c"),
		`""`:                                    spec.Path{}.Written(""),
		"":                                      spec.Path{},
	} {
		if path.String() != want {
			t.Errorf("got %s, want %s", path, want)
		}
	}
	for parent, path := range map[spec.Path]spec.Path{
		channel:                  channel.Key(spec.KeyPort),
		spec.ListenerAt(0):       spec.ListenerAt(0).Key(spec.KeyName),
		spec.KeyListeners.Path(): spec.ListenerAt(7),
		{}:                       spec.KeyListeners.Path(),
	} {
		if got := path.Parent(); got != parent || !path.Within(parent) || !path.Within(path) || parent.Within(path) {
			t.Errorf("%s stands in %q, want %q", path, got, parent)
		}
	}
	if spec.ListenerAt(1).Within(spec.ListenerAt(0)) {
		t.Error("a listener stands in another one")
	}
}
