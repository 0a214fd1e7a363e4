package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"balance/engine/admit"
	"balance/engine/spec"
	"balance/patience"
)

// lists are those of who may come in, for all listeners of a configuration, with the
// files that it names as they were read last. They are not written to once they are
// in force.
type lists struct {
	files    map[string]readFile // by path
	compiled map[listKey]*admit.List
}

// listKey is all that a list is made of.
type listKey struct {
	allow, deny         string // the networks of the configuration, one a line
	allowFile, denyFile *listFile
}

// listFile is a file of networks. As long as it holds the same, it is the same listFile.
type listFile struct {
	path string
	text []byte // shorter than what is parsed of it, and nothing for the garbage collector to look at
	// sums stand for its networks, in order and each once: what makes a file another is
	// told in how many it has and another had not. They are set when it is parsed first,
	// before it is in force.
	sums []uint64
}

// readFile is a file as it was read last.
type readFile struct {
	*listFile
	mark mark
	sure bool // with the same mark it holds the same
}

// mark is by what can be seen that a file was written to or replaced.
type mark struct {
	device, inode, size uint64
	changed, modified   unix.Timespec
}

// of returns the list of a listener, nil if it lets everybody in.
func (ls *lists) of(l *spec.Listener) *admit.List { return ls.compiled[ls.key(l)] }

func (ls *lists) key(l *spec.Listener) listKey {
	return listKey{
		strings.Join(l.Admit.Allow, "\n"), strings.Join(l.Admit.Deny, "\n"),
		ls.files[l.Admit.AllowFile].listFile, ls.files[l.Admit.DenyFile].listFile,
	}
}

// namedFile is one that a listener names.
type namedFile struct {
	key   spec.Key
	path  string // empty for none
	allow bool
}

func filesOf(l *spec.Listener) []namedFile {
	return []namedFile{{spec.KeyAllowFile, l.Admit.AllowFile, true}, {spec.KeyDenyFile, l.Admit.DenyFile, false}}
}

// LoadLists returns a Fault for each file of networks of the configuration that cannot
// be read, or does not hold what it should.
func LoadLists(config *spec.Config) error {
	_, err := loadLists(context.Background(), config, new(lists), false)
	return err
}

// loadLists reads the files of networks of a configuration and compiles its lists. What
// is made of the same as an old one is that. If it keeps them, files that were read
// before are not looked at.
func loadLists(ctx context.Context, config *spec.Config, old *lists, keep bool) (*lists, error) {
	ls := &lists{files: map[string]readFile{}, compiled: map[listKey]*admit.List{}}
	failed := map[string]error{}
	for _, path := range config.Files() {
		known := old.files[path]
		if known.listFile != nil && keep {
			ls.files[path] = known
			continue
		}
		file, err := patience.Within(ctx, listPatience, func() (readFile, error) { return readList(path, known) })
		if err != nil {
			failed[path] = err
			continue
		}
		ls.files[path] = file
	}
	var errs []error
	for i := range config.Listeners {
		l := &config.Listeners[i]
		refuse := func(key spec.Key, err error) {
			errs = append(errs, spec.Refuse(spec.ListenerAt(i).Key(key), fmt.Sprintf("listener %q admit", l.Name), fmt.Errorf("%s: %w", key.Name(), err)))
		}
		unread := false
		for _, f := range filesOf(l) {
			if err := failed[f.path]; err != nil {
				refuse(f.key, err)
				unread = true
			}
		}
		if !unread {
			ls.compile(l, old, refuse)
		}
	}
	return ls, errors.Join(errs...)
}

// compile makes the list of a listener.
func (ls *lists) compile(l *spec.Listener, old *lists, refuse func(spec.Key, error)) {
	key := ls.key(l)
	if key == (listKey{}) {
		return
	}
	list := ls.compiled[key]
	if list == nil {
		list = old.compiled[key]
	}
	if list != nil {
		ls.compiled[key] = list
		return
	}
	rules := declaredRules(l)
	allows, wrong := len(l.Admit.Allow) > 0, false
	for _, f := range filesOf(l) {
		file := ls.files[f.path].listFile
		if file == nil {
			continue
		}
		more, err := admit.ParseList(file.path, file.text, f.allow)
		if err == nil && f.allow && !allows && len(more) == 0 {
			// It may be that somebody is about to write to it. Who lets some in does not
			// mean to let everybody in.
			err = fmt.Errorf("%q has no network, and everybody would be let in", file.path)
		}
		if err != nil {
			refuse(f.key, err)
			wrong = true
			continue
		}
		if file.sums == nil {
			file.sums = sumsOf(more)
		}
		rules = append(rules, more...)
	}
	if !wrong {
		ls.compiled[key] = admit.NewList(rules)
	}
}

// declaredRules returns the rules that the configuration itself declares.
func declaredRules(l *spec.Listener) (rules []admit.Rule) {
	for _, network := range networks(l.Admit.Allow) {
		rules = append(rules, admit.Rule{Network: network, Allow: true})
	}
	for _, network := range networks(l.Admit.Deny) {
		rules = append(rules, admit.Rule{Network: network})
	}
	return rules
}

// networks returns what texts declare that were found valid.
func networks(texts []string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		if network, err := admit.ParseNetwork(text); err == nil {
			list = append(list, network)
		}
	}
	return list
}

// listPatience is for files of networks: a file system may hang.
var listPatience = patience.New(5*time.Second, 8)

// readList reads a file of networks, if it may hold something else than when it was
// read before.
func readList(path string, known readFile) (read readFile, err error) {
	// To open a FIFO would wait for its writer (fifo(7)).
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return read, err
	}
	defer file.Close()
	mark, err := markOf(file)
	if err != nil || known.sure && known.mark == mark {
		return known, err
	}
	// What is written within the same tick of the clock leaves no other mark.
	sure := time.Since(time.Unix(mark.changed.Unix())) > settled && time.Since(time.Unix(mark.modified.Unix())) > settled
	if mark.size > admit.MaxListBytes {
		return read, fmt.Errorf("%q is larger than %d MiB", path, admit.MaxListBytes>>20)
	}
	text := bytes.NewBuffer(make([]byte, 0, mark.size+bytes.MinRead))
	if _, err := text.ReadFrom(io.LimitReader(file, admit.MaxListBytes+1)); err != nil {
		return read, err
	}
	is := known.listFile
	if is == nil || !bytes.Equal(is.text, text.Bytes()) {
		is = &listFile{path: path, text: text.Bytes()}
	}
	return readFile{is, mark, sure}, nil
}

// settled is after which time a file that is written to gets another mark for sure: the
// times on file systems have seconds at worst.
const settled = 2 * time.Second

func markOf(file *os.File) (m mark, err error) {
	info, err := file.Stat()
	if err != nil {
		return m, err
	}
	if !info.Mode().IsRegular() {
		return m, fmt.Errorf("%q is not a regular file", file.Name())
	}
	var stat unix.Stat_t
	raw, err := file.SyscallConn()
	if err != nil {
		return m, err
	}
	if raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) }); err != nil {
		return m, os.NewSyscallError("fstat", err)
	}
	return mark{uint64(stat.Dev), uint64(stat.Ino), uint64(stat.Size), stat.Ctim, stat.Mtim}, nil
}

// differ tells which files hold other networks than before, of those that listeners
// of both configurations name.
func (ls *lists) differ(old *lists, before, config *spec.Config, matches []int) (changes spec.Changes) {
	counted := map[[2]*listFile][2]int{}
	for i, k := range matches {
		if k < 0 {
			continue
		}
		was := filesOf(&before.Listeners[k])
		for n, f := range filesOf(&config.Listeners[i]) {
			files := [2]*listFile{old.files[f.path].listFile, ls.files[f.path].listFile}
			if f.path == "" || was[n].path != f.path || files[0] == files[1] {
				continue
			}
			counts, known := counted[files]
			if !known {
				counts = compare(files[0], files[1])
				counted[files] = counts
			}
			if counts != ([2]int{}) {
				changes = append(changes, spec.ListChange(config.Listeners[i].Name, k, f.key, f.path, counts[0], counts[1]))
			}
		}
	}
	return changes
}

// compare returns how many networks a file has that another had not, and the other way
// round.
func compare(old, new *listFile) (counts [2]int) {
	was, is := old.sums, new.sums
	for len(was) > 0 && len(is) > 0 {
		switch {
		case was[0] == is[0]:
			was, is = was[1:], is[1:]
		case was[0] < is[0]:
			counts[1]++
			was = was[1:]
		default:
			counts[0]++
			is = is[1:]
		}
	}
	return [2]int{counts[0] + len(is), counts[1] + len(was)}
}

// sumSeed is random, so that nobody can write networks that look like others.
var sumSeed = maphash.MakeSeed()

func sumsOf(rules []admit.Rule) []uint64 {
	sums := make([]uint64, len(rules))
	for i := range rules {
		address := rules[i].Network.Addr().As16()
		bits := byte(rules[i].Network.Bits())
		if rules[i].Network.Addr().Is4() {
			bits += 96
		}
		sums[i] = maphash.Bytes(sumSeed, append(address[:], bits))
	}
	slices.Sort(sums)
	return slices.Compact(sums)
}

// same reports whether the lists are those.
func (ls *lists) same(others *lists) bool { return maps.Equal(ls.compiled, others.compiled) }
