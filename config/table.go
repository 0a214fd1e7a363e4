package config

import (
	"encoding"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/spec"
	"balance/spelling"
)

// table is a table of the file that is being read. Its methods report what is
// wrong with a value, and leave what it was to set as it was.
type table struct {
	kind   spec.Table
	faults *faults
	path   spec.Path // as in spec.Fault
	where  string    // likewise
	values map[string]any
}

// open returns the table that value is and reports its keys that are not among
// the known ones of its kind. What is no table is reported and returned as an
// empty one.
func (f *faults) open(kind spec.Table, path spec.Path, where string, value any) table {
	values, ok := value.(map[string]any)
	if !ok {
		f.add(path, where, "%s, not a table", describe(value))
	}
	t := table{kind, f, path, where, values}
	known := kind.Keys()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, key) {
			t.unknown(key, known)
		}
	}
	return t
}

func (t table) unknown(key string, known []string) {
	near, ok := spelling.Nearest(key, known)
	if !ok {
		t.fault(key, "unknown key %.60q: known here are %s", key, strings.Join(known, ", "))
		return
	}
	t.fault(key, "unknown key %.60q: did you mean %q?", key, near)
	if _, ok := t.values[near]; !ok {
		t.faults.cover(t.path.Written(near))
	}
}

func (t table) fault(key, format string, args ...any) {
	t.faults.add(t.path.Written(key), t.where, format, args...)
}

// table returns a table in this one; an empty one if there is none.
func (t table) table(kind spec.Table) table {
	key := kind.Name()
	value, ok := t.values[key]
	if !ok {
		value = map[string]any(nil)
	}
	return t.faults.open(kind, t.path.Written(key), strings.TrimSpace(t.where+" "+key), value)
}

// array returns the elements of the array at key, of which allowed says what
// it may be.
func (t table) array(key, allowed string) []any {
	switch value := t.values[key].(type) {
	case nil:
	case []any:
		return value
	case []map[string]any:
		elements := make([]any, len(value))
		for i := range value {
			elements[i] = value[i]
		}
		return elements
	default:
		t.fault(key, "%s is %s, not %s", key, describe(value), allowed)
	}
	return nil
}

// text returns the string at key and whether there is one.
func (t table) text(key string) (string, bool) {
	value, ok := t.values[key]
	if !ok {
		return "", false
	}
	text, ok := value.(string)
	if !ok {
		t.fault(key, "%s is %s, not a string", key, describe(value))
	}
	return text, ok
}

// boolean sets into to the value of key, if there is one.
func (t table) boolean(key string, into *bool) {
	switch value := t.values[key].(type) {
	case nil:
	case bool:
		*into = value
	default:
		t.fault(key, "%s is %s, not true or false", key, describe(value))
	}
}

// integer sets into to the value of key, if there is one.
func (t table) integer(key string, into *int) {
	switch value := t.values[key].(type) {
	case nil:
	case int64:
		if int64(int(value)) != value {
			t.fault(key, "%s %d is too large", key, value)
			return
		}
		*into = int(value)
	default:
		t.fault(key, "%s is %s, not an integer", key, describe(value))
	}
}

// duration sets into to the value of key, if there is one.
func (t table) duration(key string, into *time.Duration) {
	switch value := t.values[key].(type) {
	case nil:
	case string:
		duration, err := time.ParseDuration(value)
		if err != nil {
			t.fault(key, "%s %q is not a duration such as \"1m30s\"", key, value)
			return
		}
		*into = duration
	case int64:
		t.fault(key, "%s is the integer %d, not a duration such as \"%ds\"", key, value, value)
	default:
		t.fault(key, "%s is %s, not a duration such as \"1m30s\"", key, describe(value))
	}
}

// word sets into to the value of key, if there is one.
func (t table) word(key string, into encoding.TextUnmarshaler) {
	value, ok := t.values[key]
	if !ok {
		return
	}
	word, ok := value.(string)
	if !ok {
		word = describe(value) // which is none of the words
	}
	if err := into.UnmarshalText([]byte(word)); err != nil {
		t.fault(key, "%s %s", key, err)
	}
}

// sessions sets into to the value of key, if there is one: a word, or true for all
// and false for none.
func (t table) sessions(key string, into *spec.SessionLog) {
	all, ok := t.values[key].(bool)
	switch {
	case !ok:
		t.word(key, into)
	case all:
		*into = spec.AllSessions
	default:
		*into = spec.NoSessions
	}
}

// strings sets into to the strings of key, of which there may be one without an
// array. What is no string is reported, and is "" there.
func (t table) strings(key string, into *[]string) {
	if text, ok := t.values[key].(string); ok {
		*into = []string{text}
		return
	}
	if _, ok := t.values[key].([]any); ok {
		*into = nil
	}
	for i, value := range t.array(key, "a string or an array of strings") {
		text, ok := value.(string)
		if !ok {
			t.faults.add(t.path.Written(key).Element(i), t.where, "%s is %s, not a string", key, describe(value))
		}
		*into = append(*into, text)
	}
}

// texts sets into to the strings of the table at key, if there is one. What is no
// string is reported.
func (t table) texts(key string, into *map[string]string) {
	value, ok := t.values[key]
	if !ok {
		return
	}
	values, ok := value.(map[string]any)
	if !ok {
		t.fault(key, "%s is %s, not a table of strings", key, describe(value))
		return
	}
	*into = nil
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text, ok := values[name].(string)
		if !ok {
			t.faults.add(t.path.Written(key).Written(name), t.where, "%s: %.60q is %s, not a string", key, name, describe(values[name]))
			continue
		}
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[name] = text
	}
}

// statuses sets into to the statuses of key, if there are some: a list of numbers
// and ranges, as an array or in one string.
func (t table) statuses(key string, into *spec.StatusRanges) {
	value, ok := t.values[key]
	if !ok {
		return
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var ranges []string
	for _, value := range list {
		switch value := value.(type) {
		case int64:
			ranges = append(ranges, strconv.FormatInt(value, 10))
		case string:
			ranges = append(ranges, value)
		default:
			t.fault(key, "%s is %s, not a list of numbers and ranges such as [200, \"300-399\"]", key, describe(value))
			return
		}
	}
	if err := into.UnmarshalText([]byte(strings.Join(ranges, ","))); err != nil {
		t.fault(key, "%s %s", key, err)
	}
}

// address sets into to the address of key, if there is one.
func (t table) address(key string, into *netip.Addr) {
	text, ok := t.text(key)
	if !ok {
		return
	}
	addr, err := parseSource(text)
	if err != nil {
		t.fault(key, "%s", err)
	}
	*into = addr
}

// port sets into to the value of key, if there is one: a port from least up.
func (t table) port(key string, least uint16, into *uint16) {
	var text string
	switch value := t.values[key].(type) {
	case nil:
		return
	case int64:
		text = strconv.FormatInt(value, 10)
	case string:
		text = value
	default:
		t.fault(key, "%s is %s, not a number or the name of a service", key, describe(value))
		return
	}
	port, err := spec.ParsePort(text, least)
	if err != nil {
		t.fault(key, "%s%s", key, strings.TrimPrefix(err.Error(), "port"))
	}
	*into = port
}

// read sets what the keys of the table stand for.
func read[T any](t table, settings []spec.Setting[T], into *T) {
	for _, s := range settings {
		if !s.In(t.kind) {
			continue
		}
		switch field := s.Field(into).(type) {
		case *bool:
			t.boolean(s.Name(), field)
		case *int:
			t.integer(s.Name(), field)
		case spec.Integer:
			number := field.Int()
			t.integer(s.Name(), &number)
			field.SetInt(number)
		case *uint16:
			least := uint16(0)
			if s.Problem(new(T)) != "" { // with port 0
				least = 1
			}
			t.port(s.Name(), least, field)
		case *time.Duration:
			t.duration(s.Name(), field)
		case *string:
			if text, ok := t.text(s.Name()); ok {
				*field = text
			}
		case *[]string:
			t.strings(s.Name(), field)
		case *map[string]string:
			t.texts(s.Name(), field)
		case *spec.StatusRanges:
			t.statuses(s.Name(), field)
		case *spec.SessionLog:
			t.sessions(s.Name(), field)
		case *netip.Addr:
			t.address(s.Name(), field)
		case encoding.TextUnmarshaler:
			t.word(s.Name(), field)
		}
	}
}

// describe says what a value of a file is.
func describe(value any) string {
	switch value := value.(type) {
	case string:
		return fmt.Sprintf("the string %.60q", value)
	case bool:
		return fmt.Sprintf("the boolean %t", value)
	case int64:
		return fmt.Sprintf("the integer %d", value)
	case float64:
		return fmt.Sprintf("the float %v", value)
	case time.Time:
		return "a date or time"
	case map[string]any:
		return "a table"
	default:
		return "an array"
	}
}
