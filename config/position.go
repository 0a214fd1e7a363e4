package config

import (
	"sort"

	"github.com/pelletier/go-toml/v2/unstable"

	"balance/engine/spec"
)

// linesOf returns the line of each key and each array element of a TOML
// document. It is made for a document that another parser has accepted; from
// where this one does not, lines are missing.
func linesOf(data []byte) positions {
	w := walker{lines: positions{}, tables: map[spec.Path]int{}}
	for i, c := range data {
		if c == '\n' {
			w.breaks = append(w.breaks, i)
		}
	}
	w.parser.Reset(data)
	current := wholeFile
	for w.parser.NextExpression() {
		switch node := w.parser.Expression(); node.Kind {
		case unstable.Table, unstable.ArrayTable:
			current = w.header(node)
		case unstable.KeyValue:
			w.keyValue(current, node)
		}
	}
	return w.lines
}

type walker struct {
	parser unstable.Parser
	lines  positions
	tables map[spec.Path]int // how many elements each array of tables has so far
	breaks []int             // offsets of the line feeds
}

func (w *walker) line(offset uint32) int {
	return 1 + sort.SearchInts(w.breaks, int(offset))
}

// set notes where path stands first.
func (w *walker) set(path spec.Path, line int) {
	if _, ok := w.lines[path]; !ok {
		w.lines[path] = line
	}
}

// header returns the path of the table that a [header] or [[header]] opens.
func (w *walker) header(node *unstable.Node) spec.Path {
	path := wholeFile
	keys := node.Key()
	for keys.Next() {
		part := keys.Node()
		line := w.line(part.Raw.Offset)
		path = path.Written(string(part.Data))
		w.set(path, line)
		if node.Kind == unstable.ArrayTable && keys.IsLast() {
			w.tables[path]++
		}
		if n := w.tables[path]; n > 0 {
			path = path.Element(n - 1)
			w.set(path, line)
		}
	}
	return path
}

func (w *walker) keyValue(path spec.Path, node *unstable.Node) {
	line := 0
	keys := node.Key()
	for keys.Next() {
		part := keys.Node()
		line = w.line(part.Raw.Offset)
		path = path.Written(string(part.Data))
		w.set(path, line)
	}
	w.value(path, line, node.Value())
}

func (w *walker) value(path spec.Path, line int, node *unstable.Node) {
	children := node.Children()
	switch node.Kind {
	case unstable.InlineTable:
		for children.Next() {
			w.keyValue(path, children.Node())
		}
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			element := path.Element(i)
			if offset, ok := start(children.Node()); ok {
				line = w.line(offset)
			}
			w.set(element, line)
			w.value(element, line, children.Node())
		}
	}
}

// start returns the offset of a value, or of the first in it: the parser
// notes none for arrays and inline tables.
func start(node *unstable.Node) (uint32, bool) {
	for ; node.Valid(); node = node.Child() {
		if node.Raw.Length > 0 {
			return node.Raw.Offset, true
		}
	}
	return 0, false
}
