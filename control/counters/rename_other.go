//go:build !linux

package counters

// rename renames what has a name to one that nothing has.
func rename(from, to string) error { return renameChecked(from, to) }
