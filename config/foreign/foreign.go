// Package foreign reads the files of other balancers, and says in the file of this one
// what they declare.
package foreign

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"balance/config"
	"balance/engine/spec"
)

// Kinds are whose files can be read.
var Kinds = []string{"haproxy", "nginx", "pen", "classic"}

// MaxFile is the size of the largest file that is read, in bytes.
const MaxFile = 4 << 20

// Parser reads the arguments of a classic command line.
type Parser func(args []string) (*spec.Config, error)

// Import returns a file that declares what a foreign one does, called name in it, and
// how many lines of that it could not carry over: these are comments in it, each with
// the reason. The error is of what came out, which is to be mended by hand, or there is
// no file at all.
func Import(kind, name string, data []byte, classic Parser) (file []byte, left int, err error) {
	if len(data) > MaxFile {
		return nil, 0, fmt.Errorf("%s: more than %d bytes", name, MaxFile)
	}
	r := &result{daemon: spec.DefaultConfig()}
	switch kind {
	case "haproxy":
		readHAProxy(r, data)
	case "nginx":
		readNginx(r, data)
	case "pen":
		readCommands(r, "pen", data, penCommand)
	case "classic":
		readCommands(r, "balance", data, classicCommand(classic))
	default:
		return nil, 0, fmt.Errorf("%q: files of %s can be read", kind, strings.Join(Kinds, ", "))
	}
	file = r.file(kind, name)
	_, err = config.Decode(name, file)
	return file, r.left(), err
}

// result is what has been read so far.
type result struct {
	daemon   *spec.Config // without listeners
	notes    []note       // of what belongs to no service
	services []*service
}

// service is a listener that was declared.
type service struct {
	spec.Listener
	notes []note
	// remarks are about what was carried over, but means something else here.
	remarks []string
}

// note is a line that was not carried over.
type note struct {
	line int
	text string
	why  string
}

func (s *service) remark(text string) {
	if !slices.Contains(s.remarks, text) {
		s.remarks = append(s.remarks, text)
	}
}

func (r *result) left() int {
	n := len(r.notes)
	for _, s := range r.services {
		n += len(s.notes)
	}
	return n
}

// file prints it.
func (r *result) file(kind, name string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What %s declares for %s, by balance -import.\n", printable(name), kind)
	if r.left() > 0 {
		b.WriteString("# What was not carried over stands here with the reason.\n")
	}
	print := func(notes []note) {
		if len(notes) > 0 {
			b.WriteByte('\n')
		}
		for _, n := range notes {
			fmt.Fprintf(&b, "# line %d: %s\n#   %s\n", n.line, printable(n.text), printable(n.why))
		}
	}
	print(r.notes)
	if text := config.Marshal(r.daemon); len(text) > 0 {
		b.WriteByte('\n')
		b.Write(text)
	}
	for _, s := range r.services {
		print(s.notes)
		b.WriteByte('\n')
		for _, remark := range s.remarks {
			fmt.Fprintf(&b, "# %s\n", printable(remark))
		}
		b.Write(bytes.TrimLeft(config.Marshal(alone(s.Listener)), "\n"))
	}
	return b.Bytes()
}

// alone returns a configuration with one listener and all else by default.
func alone(l spec.Listener) *spec.Config {
	c := spec.DefaultConfig()
	c.Listeners = []spec.Listener{l}
	return c
}

// printable is text as a comment can hold it.
func printable(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.Join(strings.Fields(text), " "))
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// unique returns a name that no service has yet.
func (r *result) unique(name string) string {
	taken := func(name string) bool {
		return slices.ContainsFunc(r.services, func(s *service) bool { return s.Name == name })
	}
	for i, base := 2, name; taken(name); i++ {
		name = base + "-" + strconv.Itoa(i)
	}
	return name
}

// hostPort takes "host:port", "*:port", ":port", "[v6]:port" or a port alone apart; the
// host is empty for every address.
func hostPort(text string) (host, port string) {
	at := strings.LastIndexByte(text, ':')
	switch {
	case strings.HasSuffix(text, "]") || at < 0 && !isPort(text):
		host = text
	case at < 0:
		port = text
	default:
		host, port = text[:at], text[at+1:]
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "*" || host == "0.0.0.0" {
		host = strings.TrimPrefix(host, "*")
	}
	return host, port
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// socketAt returns the address of a unix socket as balance has it, and whether text is
// one: a path, with or without a word before it.
func socketAt(text string) (address string, ok bool) {
	for _, before := range []string{"unix@", "unix:", ""} {
		if path, ok := strings.CutPrefix(text, before); ok && strings.HasPrefix(path, "/") && !strings.ContainsAny(path, "$\"") {
			return "unix:" + filepath.Clean(path), true
		}
	}
	return "", false
}

// accept has all peers begin with a PROXY header, if so many addresses are all that the
// service has; else the note tells what was not carried over.
func (s *service) accept(unless note, addresses int) {
	switch {
	case addresses == 0:
	case addresses == len(s.Listen) && !slices.ContainsFunc(s.Listen, func(address string) bool { return strings.HasPrefix(address, "unix:/") }):
		s.ProxyProtocol.Accept = []string{"0.0.0.0/0", "::/0"}
		s.remark("whoever connects has to say in a PROXY header who it is, and is believed: name the networks of the proxies in accept instead")
	default:
		unless.why = "see [listener.proxy_protocol]: accept, which holds for all addresses of a listener, but not for unix sockets"
		s.notes = append(s.notes, unless)
	}
}

// channelAt returns a channel, and whether host and port can be those of one. Without a
// port it takes that of the listener; a unix socket has none.
func channelAt(text string, inherited uint16) (spec.Channel, bool) {
	if address, ok := socketAt(text); ok {
		return spec.Channel{Host: address}, true
	}
	host, port := hostPort(text)
	c := spec.Channel{Host: host, Port: inherited}
	if port != "" {
		number, err := spec.ParsePort(port, 1)
		if err != nil {
			return c, false
		}
		c.Port = number
	}
	return c, host != "" && host != "0.0.0.0" && c.Port != 0 && !strings.ContainsAny(host, "/@$\"")
}

// listenAt returns an address to listen on, and its port, or a unix socket.
func listenAt(text string) (address string, port uint16, ok bool) {
	if address, ok := socketAt(text); ok {
		return address, 0, true
	}
	host, service := hostPort(text)
	port, err := spec.ParsePort(service, 1)
	if err != nil || strings.ContainsAny(host, "/@$\"") {
		return "", 0, false
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return fmt.Sprintf("%s:%d", host, port), port, true
}
