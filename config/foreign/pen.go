package foreign

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// penNotCarried are options of pen(1) that have no meaning here, with the reason.
var penNotCarried = map[string]string{
	"C": "balance has a control socket by itself: balance -i",
	"F": "import that file by itself, if it has servers",
	"H": "HTTP is relayed untouched, no header is added",
	"O": "not a setting that balance knows",
	"U": "balance relays TCP alone",
	"c": "no table of clients is needed: the address itself chooses",
	"T": "a client's channel does not expire: its address chooses it",
	"E": "TLS goes through to the servers, it is not ended here", "K": "TLS goes through to the servers, it is not ended here",
	"G": "TLS goes through to the servers, it is not ended here", "A": "TLS goes through to the servers, it is not ended here",
	"Z": "TLS goes through to the servers, it is not ended here", "R": "TLS goes through to the servers, it is not ended here",
	"L": "TLS goes through to the servers, it is not ended here",
	"j": "the unit, or a container, confines balance", "u": "the unit, or a container, says the user",
	"l": "see [log]: sessions", "w": "see control.http", "p": "the unit knows the process",
	"q": "the queue of the kernel has its greatest length by itself", "m": "as many as there are",
	"o": "not a setting that balance knows",
}

// penCommand reads a command line of pen(1).
func penCommand(r *result, l line, args []string) {
	flags := pflag.NewFlagSet("pen", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.SetInterspersed(false)
	with := map[string]*string{}
	for _, name := range strings.Split("C F O b T c e j l m p q t u x w o E K G A L", " ") {
		with[name] = flags.StringP("with-"+name, name, "", "")
	}
	for _, name := range strings.Split("H U P W X a f h r s Z R", " ") {
		flags.BoolP("is-"+name, name, false, "")
	}
	flags.CountP("debug", "d", "")
	refuse := func(why string) { r.notes = append(r.notes, note{l.number, l.text, why}) }
	if err := flags.Parse(args); err != nil {
		refuse(err.Error())
		return
	}
	given := map[string]bool{}
	flags.Visit(func(f *pflag.Flag) { given[f.Shorthand] = true })
	operands := flags.Args()
	if len(operands) < 2 {
		refuse("an address to listen on and a server are needed")
		return
	}
	address, port, ok := listenAt(operands[0])
	if !ok || given["U"] {
		refuse("balance listens on TCP ports")
		return
	}
	s := &service{Listener: spec.Defaults()}
	leave := func(text, why string) { s.notes = append(s.notes, note{l.number, text, why}) }
	s.Listen = []string{address}
	s.Name = r.unique(address)
	group := spec.Group{}
	switch {
	case given["W"]:
		s.remark("with -W pen looks at weights: so does round robin here")
	case !given["r"]:
		group.Mode = balancer.Hash
		s.HashFailover = !given["s"]
		s.remark("pen sends a client to the server that it had: here its address chooses")
	}
	seconds := func(name string, into *time.Duration) {
		if !given[name] {
			return
		}
		n, err := strconv.ParseUint(*with[name], 10, 31)
		if err != nil {
			leave("-"+name+" "+*with[name], "not a number of seconds")
			return
		}
		*into = time.Duration(n) * time.Second
	}
	seconds("t", &s.ConnectTimeout)
	s.HoldOff, s.HoldOffMax = 30*time.Second, 30*time.Second // the default of -b
	seconds("b", &s.HoldOff)
	s.HoldOffMax = s.HoldOff
	s.MaxSessions = 500 // the default of -x
	if given["x"] {
		n, err := strconv.ParseUint(*with["x"], 10, 31)
		if err != nil || n > spec.MaxMaxConns {
			leave("-x "+*with["x"], "not a number of sessions")
		} else {
			s.MaxSessions = int(n)
		}
	}
	for _, operand := range operands[1:] {
		if channel, why := penServer(operand, port, given["W"]); why != "" {
			leave(operand, why)
		} else {
			group.Channels = append(group.Channels, channel)
		}
	}
	if len(group.Channels) == 0 {
		r.notes = append(r.notes, s.notes...)
		refuse("no server of it can be carried over")
		return
	}
	s.Groups = []spec.Group{group}
	if given["e"] {
		if channel, why := penServer(*with["e"], port, false); why != "" {
			leave("-e "+*with["e"], why)
		} else {
			s.Groups = append(s.Groups, spec.Group{Channels: []spec.Channel{channel}})
		}
	}
	if given["d"] {
		r.daemon.Log.Level = spec.LogDebug
	}
	for _, name := range strings.Split("C F H O c T E K G A Z R L j u l w p q m o", " ") {
		if given[name] {
			text := "-" + name
			if value := with[name]; value != nil {
				text += " " + *value
			}
			leave(text, penNotCarried[name])
		}
	}
	r.services = append(r.services, s)
}

// penServer reads address:port:soft:hard:weight:prio.
func penServer(text string, inherited uint16, weighted bool) (channel spec.Channel, why string) {
	host, rest := text, ""
	if end := strings.IndexByte(text, ']'); strings.HasPrefix(text, "[") && end > 0 {
		host, rest = text[:end+1], strings.TrimPrefix(text[end+1:], ":")
	} else if at := strings.IndexByte(text, ':'); at >= 0 {
		host, rest = text[:at], text[at+1:]
	}
	parts := strings.Split(rest, ":")
	if parts[0] != "" {
		host += ":" + parts[0]
	}
	channel, ok := channelAt(host, inherited)
	if !ok {
		return channel, "not a host and a port"
	}
	number := func(i, most int) (int, bool) {
		if len(parts) <= i || parts[i] == "" {
			return 0, false
		}
		n, err := strconv.Atoi(parts[i])
		return n, err == nil && n > 0 && n <= most
	}
	if soft, ok := number(1, spec.MaxMaxConns); ok {
		channel.MaxConns = soft
	}
	if weight, ok := number(3, balancer.MaxWeight); ok && weighted {
		channel.Weight = spec.WeightOf(weight)
	}
	return channel, ""
}
