package config

import (
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"time"

	"balance/engine/spec"
)

// object is a part of a schema: what encoding/json prints in the order of its keys.
type object = map[string]any

// Schema returns a JSON Schema of the file (draft 7, which editors of TOML take). It
// is made from the table of keys. What keys are to one another it does not say: a
// file that it lets pass may still be one that Decode refuses.
func Schema() []byte {
	root := tableOf(spec.RootTable)
	properties := root["properties"].(object)
	for _, table := range spec.DaemonTables {
		properties[string(table)] = tableOf(table)
	}
	defaults := properties[string(spec.DefaultsTable)].(object)["properties"].(object)
	check := tableOf(spec.DefaultsCheckTable)
	defaults[spec.KeyCheck.Name()] = check
	channel := tableOf(spec.ChannelTable)
	channel["required"] = []string{spec.KeyHost.Name()}
	group := tableOf(spec.GroupTable)
	group["properties"].(object)[spec.KeyCheck.Name()] = check
	group["properties"].(object)[spec.KeyChannels.Name()] = object{
		"type": "array", "items": object{"anyOf": []object{{"type": "string", "description": "host, host:port or host:port:maxc, or unix: and an absolute path"}, channel}},
	}
	group["required"] = []string{spec.KeyChannels.Name()}
	listener := tableOf(spec.ListenerTable)
	for _, table := range spec.ListenerTables {
		listener["properties"].(object)[table.Name()] = tableOf(table)
	}
	listener["properties"].(object)[spec.KeyCheck.Name()] = check
	listener["properties"].(object)[spec.KeyGroups.Name()] = object{"type": "array", "items": group}
	listener["required"] = []string{spec.KeyListen.Name(), spec.KeyGroups.Name()}
	properties[spec.KeyListeners.Name()] = object{"type": "array", "items": listener}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "configuration of balance"
	root["required"] = []string{spec.KeyListeners.Name()}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of plain values
	}
	return append(text, '\n')
}

// tableOf returns what a table may hold, but for the tables in it.
func tableOf(table spec.Table) object {
	properties := object{}
	add(properties, table, spec.DaemonSettings)
	add(properties, table, spec.ListenerSettings)
	add(properties, table, spec.GroupSettings)
	add(properties, table, spec.ChannelSettings)
	add(properties, table, spec.CheckSettings)
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

// add adds what the settings that may stand in a table take.
func add[T any](properties object, table spec.Table, settings []spec.Setting[T]) {
	for _, s := range settings {
		if !s.In(table) {
			continue
		}
		property := valueOf(s)
		for _, e := range Reference() {
			if e.Key == s.Name() && e.table == s.Table() {
				property["description"] = e.Meaning
			}
		}
		properties[s.Name()] = property
	}
}

// duration is what time.ParseDuration takes, but for a sign.
const duration = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`

func valueOf[T any](s spec.Setting[T]) object {
	text, texts := object{"type": "string"}, object{"type": "array", "items": object{"type": "string"}}
	number := object{"type": "integer"}
	if least, most, ok := s.Bounds(); ok {
		number["minimum"], number["maximum"] = least, most
	}
	switch field := s.Field(new(T)).(type) {
	case *bool:
		return object{"type": "boolean"}
	case *int, spec.Integer:
		return number
	case *uint16:
		return object{"anyOf": []object{number, text}}
	case *time.Duration:
		return object{"type": "string", "pattern": duration}
	case *[]string:
		return object{"anyOf": []object{text, texts}}
	case *map[string]string:
		return object{"type": "object", "additionalProperties": text}
	case *spec.StatusRanges:
		one := object{"type": []string{"integer", "string"}}
		return object{"anyOf": []object{one, {"type": "array", "items": one}}}
	case *spec.SessionLog:
		return object{"enum": []any{"all", "failed", "none", true, false}}
	case *string, *netip.Addr:
		return text
	case interface{ Words() []string }:
		return object{"type": "string", "enum": slices.Clone(field.Words())}
	}
	return maps.Clone(text)
}
