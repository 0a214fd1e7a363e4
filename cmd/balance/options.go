package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"balance/cmd/balance/internal/client"
	"balance/cmd/balance/internal/daemon"
	"balance/config"
	"balance/config/foreign"
	"balance/engine/spec"
)

// options are the command line.
type options struct {
	classic config.Classic
	config  string // absolute path, or empty

	configAsGiven string

	interactive bool   // -i
	driven      bool   // -i or -c: talks to a running daemon
	command     string // -c

	mapped bool // -M

	foreground, dump                                                           bool
	check, daemon, demo, diff, help, json, printConfig, probe, schema, version bool
	connect, idle                                                              int    // seconds
	completion                                                                 string // name of a shell
	explain                                                                    string // a key
	foreign                                                                    string // whose file is imported
	demoBackend                                                                string // name of a server of -demo; not for users
	complete                                                                   bool   // print what a command line may go on with; for the scripts of -completion
}

// longOptions may be written with one dash.
var longOptions = []string{"check", "complete", "completion", "config", "daemon", "demo", "demo-backend", "diff", "explain", "help", "import", "json", "print-config", "probe", "schema", "version"}

// The most seconds that -t and -T can say.
const (
	maxConnect = int(spec.MaxConnectTimeout / time.Second)
	maxIdle    = int(spec.MaxTimeout / time.Second)
)

func parseOptions(args []string) (*options, error) {
	o := new(options)
	flags := o.flags()
	if err := flags.Parse(doubleDashes(args)); err != nil {
		return nil, teach(err, flags)
	}
	o.driven = o.interactive || flags.Changed("command")
	o.foreground = o.foreground || o.dump
	if o.connect < 1 || o.connect > maxConnect {
		return nil, fmt.Errorf("connect timeout -t %d: it must be 1 to %d seconds", o.connect, maxConnect)
	}
	if o.idle < 0 || o.idle > maxIdle {
		return nil, fmt.Errorf("idle timeout -T %d: it must be 0 (never) to %d seconds", o.idle, maxIdle)
	}
	o.classic.ConnectTimeout = time.Duration(o.connect) * time.Second
	o.classic.IdleTimeout = time.Duration(o.idle) * time.Second
	o.classic.Args = flags.Args()
	if flags.Changed("command") {
		o.gatherCommand()
	}
	if flags.Changed("completion") && shells[o.completion] == "" {
		return nil, fmt.Errorf("-completion %q: there is one for bash, zsh and fish", o.completion)
	}
	if o.help || o.version || o.complete || o.completion != "" || o.explain != "" || o.schema || o.demo || o.demoBackend != "" {
		return o, nil
	}
	if flags.Changed("import") {
		if !slices.Contains(foreign.Kinds, o.foreign) || len(o.classic.Args) != 1 {
			return nil, fmt.Errorf("-import takes one of %s, and a file", strings.Join(foreign.Kinds, ", "))
		}
		return o, nil
	}
	if o.explain == "" && flags.Changed("explain") {
		return nil, errors.New("-explain needs a key")
	}
	if o.config == "" && flags.Changed("config") {
		return nil, errors.New("-config needs FILE")
	}
	if err := o.contradiction(flags); err != nil {
		return nil, err
	}
	if o.config != "" {
		o.configAsGiven = o.config
		path, err := filepath.Abs(o.config)
		if err != nil {
			return nil, fmt.Errorf("find %q: %w", o.config, err)
		}
		o.config = path
	}
	return o, nil
}

// flags returns the set of flags that sets the options.
func (o *options) flags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("balance", pflag.ContinueOnError)
	flags.Usage = func() {}
	flags.SortFlags = false
	flags.BoolVarP(&o.classic.AutoDisable, "auto-disable", "a", false, "autodisable: a channel that fails is disabled")
	flags.StringVarP(&o.classic.Bind, "bind", "b", "", "listen on `ADDR` (default: every address, IPv4 and IPv6)")
	flags.StringVarP(&o.classic.Source, "source", "B", "", "dial from the local address `ADDR`")
	flags.StringVarP(&o.command, "command", "c", "", "send `COMMAND` to the balance that listens on port, and print the answer; several may stand with ; between them")
	flags.BoolVarP(&o.interactive, "interactive", "i", false, "control the balance that listens on port interactively")
	flags.BoolVarP(&o.classic.Debug, "debug", "d", false, "debug messages")
	flags.BoolVarP(&o.foreground, "foreground", "f", false, "stay in the foreground")
	flags.BoolVarP(&o.foreground, "F", "F", false, "the same")
	flags.BoolVarP(&o.classic.HashFailover, "hash-failover", "H", false, "hash groups fail over to their other channels too")
	flags.BoolVarP(&o.mapped, "mapped", "M", false, "keep the counters in a file, through restarts; with -c, read them from there, even if no balance answers")
	flags.BoolVarP(&o.dump, "dump", "p", false, "dump the bytes of both directions on standard output; implies -f")
	flags.IntVarP(&o.connect, "connect-timeout", "t", 5, "wait `SECONDS` for a connection to a channel (default 5, at least 1)")
	flags.IntVarP(&o.idle, "idle-timeout", "T", 0, "end a session after `SECONDS` without a byte (default 0: never)")
	flags.BoolVarP(&o.classic.IPv6, "ipv6", "6", false, "listen on IPv6 too, as is the default")
	flags.StringVar(&o.config, "config", "", "run what `FILE` declares, in the foreground")
	flags.BoolVar(&o.check, "check", false, "check the file, print its faults or what it holds, and exit")
	flags.StringVar(&o.completion, "completion", "", "print completion for `SHELL`: bash, zsh or fish")
	flags.BoolVar(&o.daemon, "daemon", false, "go to the background")
	flags.BoolVar(&o.demo, "demo", false, "run a demonstration on 127.0.0.1:8080 with servers of its own")
	flags.StringVar(&o.demoBackend, "demo-backend", "", "")
	flags.BoolVar(&o.complete, "complete", false, "")
	flags.BoolVar(&o.diff, "diff", false, "print what changes from one file to another, which follow, or with -config FILE from what the balance that runs FILE does to what FILE says now; exit 0 same, 2 differs")
	flags.StringVar(&o.explain, "explain", "", "print what `KEY` of the file means, its default, what is allowed and an example")
	flags.BoolVar(&o.help, "help", false, "print this")
	flags.BoolVarP(&o.help, "h", "h", false, "print this")
	flags.StringVar(&o.foreign, "import", "", "print the TOML for a file, which follows, of `KIND` haproxy, nginx (stream), pen or classic (command lines of these two); what is not carried over is a comment")
	flags.BoolVar(&o.json, "json", false, "with -diff: as JSON")
	flags.BoolVar(&o.printConfig, "print-config", false, "print the TOML that means the same as the arguments")
	flags.BoolVar(&o.probe, "probe", false, "run each check of the file once, without a daemon, and print what it found; exit 0 all passed, 1 one did not")
	flags.BoolVar(&o.schema, "schema", false, "print a JSON Schema of the file, for editors")
	flags.MarkHidden("demo-backend")
	flags.MarkHidden("complete")
	flags.BoolVar(&o.version, "version", false, "print the version")
	return flags
}

// doubleDashes lets long options be written with one dash.
func doubleDashes(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && slices.Contains(longOptions, name) {
			args[i] = "-" + arg
		}
	}
	return args
}

// classicOptions say what a file says in its own way.
var classicOptions = []string{"auto-disable", "bind", "source", "hash-failover", "connect-timeout", "idle-timeout", "ipv6"}

// contradiction finds options that make no sense together.
func (o *options) contradiction(flags *pflag.FlagSet) error {
	switch {
	case o.diff && o.config != "" && len(o.classic.Args) == 0:
		return nil
	case o.diff && (o.config != "" || len(o.classic.Args) != 2):
		return errors.New("-diff needs two files, the old one and the new one, or -config FILE")
	case o.diff:
		return nil
	case o.json:
		return errors.New("-json goes with -diff")
	case o.interactive && flags.Changed("command"):
		return errors.New("-i contradicts -c")
	case o.interactive && len(o.classic.Args) > 1:
		return fmt.Errorf("%q: -i takes a port and nothing else", o.classic.Args[1])
	case o.config != "" && len(o.classic.Args) > 0 && !o.driven:
		return fmt.Errorf("-config and %q: either a file or arguments declare what to run", o.classic.Args[0])
	case o.driven:
		return o.mistakenCommand()
	case o.config == "" && len(o.classic.Args) > 0 && o.mistakenPort() != nil:
		return o.mistakenPort()
	case o.config == "" && o.check:
		return errors.New("-check goes with -config FILE")
	case o.config == "" && o.probe:
		return errors.New("-probe goes with -config FILE")
	case o.config == "" && len(o.classic.Args) == 0:
		return errors.New("a port and a host are needed, or -config FILE, or -demo")
	case o.config != "":
		for _, name := range classicOptions {
			if flags.Changed(name) {
				return fmt.Errorf("-config and --%s: the file says that", name)
			}
		}
		if o.daemon && o.foreground {
			return errors.New("-daemon contradicts -f and -p")
		}
	}
	return nil
}

// background reports whether the program is to leave the terminal: classic
// arguments do so by default, a file does not.
func (o *options) background() bool {
	if o.config != "" {
		return o.daemon
	}
	return !o.foreground
}

// load reads what the options declare.
func (o *options) load(ctx context.Context) (config.Document, error) {
	if o.config == "" {
		return config.Parse(o.classic)
	}
	return daemon.Load(ctx, o.configAsGiven, o.classic.Debug)
}

// forDaemon are the options of a daemon that runs what a document declares.
func (o *options) forDaemon(document config.Document) daemon.Options {
	return daemon.Options{
		Document:   document,
		File:       o.config,
		Background: o.background(),
		Debug:      o.classic.Debug,
		Dump:       o.dump,
		Mapped:     o.mapped,
		Version:    version(),
	}
}

// forClient are the options of a client of a daemon that listens on an address,
// or of any.
func (o *options) forClient(address *client.Address) client.Options {
	return client.Options{
		File:        o.config,
		FileAsGiven: o.configAsGiven,
		Address:     address,
		Command:     o.command,
		Interactive: o.interactive,
		Mapped:      o.mapped,
		Debug:       o.classic.Debug,
	}
}

// address is where the daemon listens that is to be controlled; nil if that is
// not said.
func (o *options) address() (*client.Address, error) {
	if len(o.classic.Args) == 0 {
		return nil, nil
	}
	port, err := spec.ParsePort(o.classic.Args[0], 0)
	if err != nil {
		return nil, err
	}
	host := strings.TrimSuffix(strings.TrimPrefix(o.classic.Bind, "["), "]")
	return &client.Address{Host: host, Port: int(port)}, nil
}
