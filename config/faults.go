package config

import (
	"balance/engine/spec"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// faults gathers everything that is wrong with an input. A place that has a
// fault is covered: what Validate finds there, around it or in it follows from
// that fault and is not reported again.
type faults struct {
	list    []spec.Fault
	covered map[spec.Path]bool // paths of faults
	around  map[spec.Path]bool // all that covered paths stand in
}

func (f *faults) add(path spec.Path, where, format string, args ...any) {
	f.list = append(f.list, spec.Fault{Path: path, Where: clip(where), Problem: clip(fmt.Sprintf(format, args...))})
	f.cover(path)
}

// What is told of an input is bounded, however long its words are and however
// many faults it has.
const (
	maxWords  = 500 // bytes of what is said about one fault
	maxFaults = 100
)

func clip(text string) string {
	if len(text) <= maxWords {
		return text
	}
	return strings.ToValidUTF8(text[:maxWords], "") + "…"
}

func (f *faults) cover(path spec.Path) {
	if f.covered == nil {
		f.covered, f.around = map[spec.Path]bool{}, map[spec.Path]bool{}
	}
	f.covered[path] = true
	for p := path.Parent(); p != wholeFile; p = p.Parent() {
		f.around[p] = true
	}
}

func (f *faults) covers(path spec.Path) bool {
	if f.around[path] {
		return true
	}
	for p := path; p != wholeFile; p = p.Parent() {
		if f.covered[p] {
			return true
		}
	}
	return false
}

// validate adds what the configuration still has wrong. derived maps the path
// of a value that the input does not spell out to the path it comes from.
func (f *faults) validate(c *spec.Config, derived map[spec.Path]spec.Path) {
	var later []spec.Fault
	for _, fault := range c.Validate() {
		if from, ok := derived[fault.Path]; ok {
			fault.Path = from
			later = append(later, fault)
		} else {
			f.addUncovered(fault)
		}
	}
	for _, fault := range later {
		f.addUncovered(fault)
	}
}

func (f *faults) addUncovered(fault spec.Fault) {
	if !f.covers(fault.Path) {
		f.add(fault.Path, fault.Where, "%s", fault.Problem)
	}
}

// sort puts the faults in the order of the input.
func (f *faults) sort(at positions) {
	slices.SortStableFunc(f.list, func(a, b spec.Fault) int {
		return cmp.Compare(at.find(a.Path), at.find(b.Path))
	})
}

// positions maps the path of each value of an input to its place there: a
// number from 1, in the order of the input.
type positions map[spec.Path]int

// find returns the place of path or, if it has none, of what it stands in; 0
// if that has none either.
func (p positions) find(path spec.Path) int {
	for ; path != wholeFile; path = path.Parent() {
		if at, ok := p[path]; ok {
			return at
		}
	}
	return 0
}

// wholeFile is the path that all others stand in.
var wholeFile spec.Path

// join returns one error that prints each of errs on a line; after maxFaults of
// them it tells how many more there are.
func join(errs ...error) error {
	if more := len(errs) - maxFaults; more > 0 {
		errs = append(errs[:maxFaults:maxFaults], fmt.Errorf("and %d more faults", more))
	}
	return &multierror.Error{Errors: errs, ErrorFormat: func(errs []error) string {
		return errors.Join(errs...).Error()
	}}
}

// Flatten returns the errors that were joined in err, each a single one. An
// error that wraps several in a sentence is a single one.
func Flatten(err error) []error {
	var list []error
	switch joined := err.(type) {
	case interface{ WrappedErrors() []error }: // go-multierror
		list = joined.WrappedErrors()
	case interface{ Unwrap() []error }: // errors.Join
		list = joined.Unwrap()
	default:
		return []error{err}
	}
	if all := errors.Join(list...); all == nil || all.Error() != err.Error() {
		return []error{err}
	}
	var flat []error
	for _, one := range list {
		flat = append(flat, Flatten(one)...)
	}
	return flat
}
