package config

import (
	"errors"

	"balance/engine/spec"
)

// Document is a configuration and what declares it. Even where an error comes
// with it, it holds what could be had.
type Document struct {
	Name   string       // of the file, as errors give it; empty for a command line
	Data   []byte       // of the file; nil for a command line, or if it cannot be read
	Config *spec.Config // has passed Validate; nil if it cannot
}

// Locate says where in the file the cause of each error stands that is joined in
// err, if it is a spec.Fault. It returns one error that prints each on a line, in
// the order of err; they can be had with errors.As. What has no file stays as it
// is, and so does nil.
func (d Document) Locate(err error) error {
	if err == nil || d.Data == nil {
		return err
	}
	lines := linesOf(d.Data)
	var list []error
	for _, one := range Flatten(err) {
		if fault, ok := errors.AsType[spec.Fault](one); ok {
			one = located(d.Name, lines.find(fault.Path), one)
		}
		list = append(list, one)
	}
	return join(list...)
}
