package spec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Path is a place in the file that declares a Config: keys joined by dots, with
// the index of an element in brackets, such as
// "listener[0].group[1].channels[2].port". It is made of what there is, so that
// none can be misspelt. The zero Path is the file as a whole.
type Path struct{ text string }

// ListenerAt returns the path of a listener.
func ListenerAt(i int) Path { return KeyListeners.Path().Element(i) }

// Group returns the path of a group of the listener at p.
func (p Path) Group(g int) Path { return p.Key(KeyGroups).Element(g) }

// Channel returns the path of a channel of the group at p.
func (p Path) Channel(i int) Path { return p.Key(KeyChannels).Element(i) }

// Key returns the path of a key of the table at p; at a listener, also of a key of
// ListenerTables.
func (p Path) Key(key Key) Path {
	if slices.Contains(ListenerTables, key.table) {
		p = p.Written(key.table.Name())
	}
	return p.Written(key.name)
}

// Written returns the path of whatever the file has under a name in the table
// at p.
func (p Path) Written(name string) Path {
	if name == "" || strings.ContainsFunc(name, notInName) {
		name = strconv.Quote(name)
	}
	if p == (Path{}) {
		return Path{name}
	}
	return Path{p.text + "." + name}
}

// Element returns the path of an element of the array at p.
func (p Path) Element(i int) Path { return Path{fmt.Sprintf("%s[%d]", p.text, i)} }

// Parent returns the path of what the value at p stands in.
func (p Path) Parent() Path { return Path{p.text[:max(strings.LastIndexAny(p.text, ".["), 0)]} }

// Within reports whether p is outer, or stands in it.
func (p Path) Within(outer Path) bool {
	for p != outer && p != (Path{}) {
		p = p.Parent()
	}
	return p == outer
}

func (p Path) String() string { return p.text }
