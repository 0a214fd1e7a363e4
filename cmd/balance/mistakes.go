package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"balance/control"
	"balance/engine/spec"
	"balance/spelling"
)

// teach says what is wrong with an option, and what was meant.
func teach(err error, flags *pflag.FlagSet) error {
	var unknown *pflag.NotExistError
	var bare *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		word := cmp.Or(unknown.GetSpecifiedShortnames(), name)
		if near, ok := spelling.Nearest(word, usersOptions(flags)); ok && len(word) > 2 {
			return fmt.Errorf("unknown option -%s: did you mean -%s?", word, near)
		}
		switch {
		case name == "v":
			return errors.New("unknown option -v: did you mean -version, or -d for debug messages?")
		case flags.Changed("command"):
			command, _ := flags.GetString("command")
			return fmt.Errorf("unknown option -%s: if it belongs to the command, say: balance -c %s", name, quoted(command+" -"+name))
		}
		return fmt.Errorf("unknown option -%s", name)
	case errors.As(err, &bare):
		arg, _ := takes(bare.GetFlag())
		return fmt.Errorf("%s needs %s", dashed(bare.GetFlag()), arg)
	case errors.As(err, &invalid):
		arg, _ := takes(invalid.GetFlag())
		return fmt.Errorf("%s %q: %s is a number", dashed(invalid.GetFlag()), invalid.GetValue(), arg)
	}
	return err
}

// usersOptions returns the names of the long options.
func usersOptions(flags *pflag.FlagSet) (names []string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Shorthand == "" && !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// gatherCommand puts the arguments behind -c COMMAND to the command, all but a
// port at the end: so balance -c drain web/w1 needs no quotes. A sole argument
// that can be a port is one, as ever.
func (o *options) gatherCommand() {
	words := o.classic.Args
	if len(words) == 0 || isPort(strings.TrimSpace(words[0])) && !isPort(words[0]) {
		return
	}
	var port []string
	if last := words[len(words)-1]; isPort(last) {
		words, port = words[:len(words)-1], []string{last}
	}
	if command := commandLine(append([]string{o.command}, words...)); wellFormed(command) {
		o.command, o.classic.Args = command, port
	}
}

// commandLine joins the words of a command, of which the first may be a line
// itself.
func commandLine(words []string) string {
	line := words[0]
	for _, word := range words[1:] {
		if word == "" || strings.ContainsAny(word, " \t\r\n\";") {
			word = strconv.Quote(word)
		}
		line += " " + word
	}
	return line
}

// wellFormed reports whether all commands of a line have the arguments that they
// take.
func wellFormed(line string) bool {
	for _, command := range control.Split(line) {
		if command != "" && !control.WellFormed(command) {
			return false
		}
	}
	return true
}

func isPort(word string) bool {
	_, err := spec.ParsePort(word, 0)
	return err == nil
}

// mistakenCommand says what is wrong with -c COMMAND and what follows it.
func (o *options) mistakenCommand() error {
	words := o.classic.Args
	if o.interactive || len(words) == 1 && isPort(words[0]) { // as ever: the daemon says what is wrong
		return nil
	}
	if strings.HasPrefix(o.command, "-") {
		return errors.New("-c needs COMMAND, such as show")
	}
	if name, _ := control.Resolve(o.command); name == "" && len(words) > 0 && isPort(o.command) {
		if name, _ := control.Resolve(words[0]); name != "" {
			return fmt.Errorf("the command comes before the port: did you mean balance -c %s %s?", quoted(commandLine(words)), o.command)
		}
	}
	lines := control.Split(o.command)
	if name, _ := control.Resolve(lines[len(lines)-1]); name == "" && len(words) > 0 {
		first, _, _ := strings.Cut(lines[len(lines)-1], " ")
		if near, ok := spelling.Nearest(first, control.Words()); ok {
			return fmt.Errorf("there is no command %q: did you mean %s?", first, near)
		}
	}
	if len(words) > 1 {
		return fmt.Errorf("%q is no command with its arguments, with or without a port at the end: balance -c help tells which there are",
			commandLine(append([]string{o.command}, words...)))
	}
	return nil
}

// meantCommand tells that what was taken for a port may have been meant for an
// argument of the command, empty if it could be none.
func (o *options) meantCommand() string {
	line := commandLine(append([]string{o.command}, o.classic.Args...))
	if o.interactive || len(o.classic.Args) == 0 || wellFormed(o.command) || !wellFormed(line) {
		return ""
	}
	return fmt.Sprintf("balance: if %s belongs to the command, say: balance -c %s\n", o.classic.Args[0], quoted(line))
}

// instead are the commands for what other programs call it.
var instead = map[string]string{
	"start": "-config FILE", "run": "-config FILE", "serve": "-config FILE",
	"stop": "-c kill", "shutdown": "-c kill", "restart": "-c reload", "ls": "-c show", "list": "-c show", "shell": "-i",
}

// mistakenPort says what was meant by a first argument that is no port, if that
// can be told.
func (o *options) mistakenPort() error {
	args := o.classic.Args
	first := args[0]
	if isPort(first) {
		return nil
	}
	did := func(meant string) error {
		return fmt.Errorf("%q is no port: did you mean balance %s?", first, meant)
	}
	port := ""
	if last := args[len(args)-1]; len(args) > 1 && isPort(last) {
		port, args = " "+last, args[:len(args)-1]
	}
	switch meant := instead[first]; {
	case first == "help" || first == "version":
		return did("-" + first)
	case strings.HasPrefix(meant, "-c") || meant == "-i":
		return did(meant + port)
	case meant != "":
		return did(meant)
	case slices.Contains(control.Words(), first):
		return did("-c " + quoted(commandLine(args)) + port)
	}
	if info, err := os.Stat(first); strings.HasSuffix(first, ".toml") || err == nil && info.Mode().IsRegular() {
		run := "-config " + quoted(first)
		switch {
		case o.check:
			run = "-check " + run
		case o.probe:
			run = "-probe " + run
		}
		return did(run)
	}
	if near, ok := spelling.Nearest(first, control.Words()); ok && len(o.classic.Args) == 1 {
		return did("-c " + near)
	}
	return nil
}

// quoted writes a word for a shell.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,+@%", r)
	}
	if word != "" && !strings.ContainsFunc(word, func(r rune) bool { return !plain(r) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
