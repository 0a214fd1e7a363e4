package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// Classic is a classic command line whose options have been read.
type Classic struct {
	Bind   string // -b: host or address to listen on; empty for every address
	Source string // -B: IP address to dial from; empty for the kernel's choice

	ConnectTimeout time.Duration // -t; zero for the default
	IdleTimeout    time.Duration // -T; zero for never

	AutoDisable  bool // -a
	HashFailover bool // -H
	// IPv6 is taken for old command lines' sake: with -6 or without it, the
	// default socket takes IPv4 and IPv6 clients, and -b takes both kinds.
	IPv6  bool
	Debug bool // -d

	// Args are the operands: the port to listen on, then channels, each group
	// of which "!" (round robin) or "%" (hash) may end.
	Args []string
}

// ErrAddress tells, with errors.Is, that among the faults Parse has found is a
// host or port of a channel, of -b or of -B (sysexits(3): 65). Without it they
// are all faults of usage (64).
var ErrAddress = errors.New("bad address")

// Parse returns what a classic command line declares: a configuration with one
// listener. The error prints one line for each fault, in the order of the
// operands, and quotes the option or operand.
func Parse(c Classic) (Document, error) {
	p := classicParser{at: positions{}, derived: map[spec.Path]spec.Path{}}
	config := p.parse(c)
	p.validate(config, p.derived)
	if len(p.list) == 0 {
		return Document{Config: config}, nil
	}
	p.sort(p.at)
	var errs []error
	for _, fault := range p.list {
		if at := p.at.find(fault.Path); at > 0 {
			fault.Where = p.operands[at-1]
		}
		if p.isAddress(fault.Path) {
			errs = append(errs, addressFault{fault})
		} else {
			errs = append(errs, fault)
		}
	}
	return Document{}, join(errs...)
}

// addressFault is a fault that is ErrAddress too.
type addressFault struct{ spec.Fault }

func (f addressFault) Unwrap() []error { return []error{f.Fault, ErrAddress} }

// isAddress reports whether an address stands at path: of a channel all but its
// limit.
func (p *classicParser) isAddress(path spec.Path) bool {
	for _, channel := range p.channels {
		if path.Within(channel) {
			return path != channel.Key(spec.KeyMaxConns)
		}
	}
	return path.Within(listenPath) || path == sourcePath
}

// The paths of what a command line declares in one place.
var (
	portPath     = spec.Path{}.Written("port") // the operand; it has no path of its own in a Config
	listenerPath = spec.ListenerAt(0)
	listenPath   = listenerPath.Key(spec.KeyListen).Element(0)
	sourcePath   = listenerPath.Key(spec.KeySource)
)

type classicParser struct {
	faults
	at       positions               // of paths among the operands
	operands []string                // options and operands as faults quote them
	channels []spec.Path             // of those that are operands
	derived  map[spec.Path]spec.Path // see faults.validate
}

// operand notes that text, an option or operand, stands for path.
func (p *classicParser) operand(path spec.Path, kind, text string) {
	p.operands = append(p.operands, fmt.Sprintf("%s %q", kind, text))
	p.at[path] = len(p.operands)
}

func (p *classicParser) parse(c Classic) *spec.Config {
	l := spec.Defaults()
	l.HoldOff = 0 // each client finds out anew, as ever
	l.AutoDisable, l.HashFailover = c.AutoDisable, c.HashFailover
	l.IdleTimeout = c.IdleTimeout
	p.operand(listenerPath.Key(spec.KeyIdleTimeout), "-T", c.IdleTimeout.String())
	if c.ConnectTimeout != 0 {
		l.ConnectTimeout = c.ConnectTimeout
		p.operand(listenerPath.Key(spec.KeyConnectTimeout), "-t", c.ConnectTimeout.String())
	}
	if c.Source != "" {
		p.operand(sourcePath, "-B", c.Source)
		addr, err := parseSource(unbracket(c.Source))
		if err != nil {
			p.add(sourcePath, "", "%s", err)
		}
		l.Source = addr
	}
	inherited := p.listen(c, &l)
	p.groups(c.Args, inherited, &l)

	config := spec.DefaultConfig()
	if c.Debug {
		config.Log.Level = spec.LogDebug
	}
	config.Listeners = []spec.Listener{l}
	return config
}

// listen reads -b and the first operand.
func (p *classicParser) listen(c Classic, l *spec.Listener) listening {
	if c.Bind != "" {
		p.operand(listenPath, "-b", c.Bind)
	}
	if len(c.Args) == 0 {
		p.add(portPath, "", "the port to listen on is missing")
		p.cover(listenerPath.Key(spec.KeyName))
		p.cover(listenPath)
		p.cover(listenerPath.Key(spec.KeyGroups))
		return listening{}
	}
	service := c.Args[0]
	p.operand(portPath, "port", service)
	bind := unbracket(c.Bind)
	l.Name = net.JoinHostPort(bind, service)
	p.derived[listenerPath.Key(spec.KeyName)] = listenPath
	port, wrongPort := spec.ParsePort(service, 0)
	if wrongPort != nil {
		p.add(portPath, "", "%s", wrongPort)
	}
	host, _, wrongHost := spec.SplitListen(joinHostPort(bind, port))
	if wrongHost != nil {
		p.add(listenPath, "", "%s", wrongHost)
	}
	if wrongPort != nil || wrongHost != nil {
		p.cover(listenPath)
	}
	l.Listen = []string{joinHostPort(host, port)}
	return listening{port: port, ok: wrongPort == nil}
}

// groups reads the operands after the first.
func (p *classicParser) groups(args []string, inherited listening, l *spec.Listener) {
	var group spec.Group
	for i := 1; i < len(args); i++ {
		path := listenerPath.Group(len(l.Groups))
		switch text := args[i]; text {
		case "!", "%":
			if text == "%" {
				group.Mode = balancer.Hash
			}
			if len(group.Channels) == 0 {
				p.operand(path, "operand", text)
				p.add(path, "", "group %d is empty: at least one channel must stand before the %s", len(l.Groups), text)
			}
			l.Groups = append(l.Groups, group)
			group = spec.Group{}
		default:
			path := path.Channel(len(group.Channels))
			p.operand(path, "channel", text)
			p.channels = append(p.channels, path)
			group.Channels = append(group.Channels, p.shortChannel(path, "", text, inherited))
		}
	}
	if len(group.Channels) > 0 {
		l.Groups = append(l.Groups, group)
	}
	if len(l.Groups) == 0 && len(args) > 0 {
		p.add(portPath, "", "no channel follows it: at least one host[:port[:maxc]] is needed")
		p.cover(listenerPath.Key(spec.KeyGroups))
	}
}

// unbracket returns an address without the brackets that it may stand in.
func unbracket(address string) string {
	if inside, ok := strings.CutPrefix(address, "["); ok {
		return strings.TrimSuffix(inside, "]")
	}
	return address
}
