package foreign

import (
	"maps"
	"math"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// proxy is what a section of HAProxy says, and the defaults before it.
type proxy struct {
	kind, name string
	line       line
	binds      []string // addresses
	headed     int      // how many of these have accept-proxy
	sockets    spec.Unix
	backend    string // default_backend
	http       bool
	client     time.Duration // timeout client
	server     time.Duration // timeout server
	queue      time.Duration // timeout queue
	queued     bool          // a server is limited
	listener   spec.Listener
	group      spec.Group
	spare      spec.Group // of servers with "backup"
	allSpares  bool       // option allbackups
	check      spec.Check // what servers with "check" are asked
	checked    bool       // one is
	unchecked  []string   // servers that are not
	plain      haproxyServer
	notes      []note
	remarks    []string
}

// haproxyServer are the settings of a server, and of default-server.
type haproxyServer struct {
	channel   spec.Channel
	check     bool
	backup    bool
	interval  time.Duration
	fast      time.Duration
	down      time.Duration
	rise      int
	fall      int
	slow      time.Duration
	closeDown bool
	closeBack bool
	tls       bool
	insecure  bool
	ca, sni   string
}

func (p proxy) clone() *proxy {
	p.binds, p.unchecked, p.notes, p.remarks = nil, nil, nil, nil
	p.headed, p.sockets = 0, spec.Defaults().Unix
	p.group.Channels, p.spare.Channels = nil, nil
	p.check.Headers = maps.Clone(p.check.Headers)
	p.check.Status = slices.Clone(p.check.Status)
	return &p
}

// Why lines of HAProxy are not carried over, by their first words; what has no entry is
// not known to balance.
var haproxyReasons = map[string]string{
	"http":    "balance relays TCP: what is in HTTP it does not look at",
	"tls":     "TLS goes through to the servers, it is not ended here",
	"unit":    "the unit, or a container, says that",
	"log":     "see [log]; balance logs to standard error, and in the background to syslog",
	"none":    "balance has no such thing",
	"default": "not a setting that balance knows",
	"rules":   "balance chooses by group and by address, not by rules: see server_name, alpn and from of a group, and [listener.admit]",
}

var haproxyWords = map[string]string{
	"chroot": "unit", "user": "unit", "group": "unit", "uid": "unit", "gid": "unit", "pidfile": "unit", "daemon": "unit", "nbproc": "unit",
	"log": "log", "log-tag": "log", "log-format": "log", "log-send-hostname": "log", "errorfile": "http", "errorloc": "http", "errorfiles": "http",
	"http-request": "http", "http-response": "http", "http-after-response": "http", "cookie": "http", "capture": "http", "redirect": "http", "reqadd": "http",
	"rspadd": "http", "reqrep": "http", "http-reuse": "http", "compression": "http", "monitor-uri": "http", "stats": "none", "acl": "rules", "use_backend": "rules",
	"use-server": "rules", "tcp-request": "rules", "tcp-response": "rules", "stick": "rules", "stick-table": "rules", "ca-base": "tls", "crt-base": "tls",
	"description": "none", "filter": "none", "email-alert": "none", "option": "default", "timeout": "default",
}

func haproxyReason(word string) string {
	kind, ok := haproxyWords[word]
	switch {
	case ok:
	case strings.HasPrefix(word, "ssl-") || strings.HasPrefix(word, "tune.ssl"):
		kind = "tls"
	default:
		kind = "default"
	}
	return haproxyReasons[kind]
}

// haproxySections are those that hold nothing for a balancer of TCP.
var haproxySections = []string{"peers", "userlist", "mailers", "resolvers", "program", "http-errors", "ring", "cache", "fcgi-app", "log-forward", "crt-store", "traces"}

func readHAProxy(r *result, data []byte) {
	// The interval and the counts are those of HAProxy's manual (5.2).
	preset := proxy{listener: spec.Defaults(), check: spec.DefaultCheck(), plain: haproxyServer{interval: 2 * time.Second, rise: 2, fall: 3}}
	named := map[string]proxy{}
	from := func(l line, otherwise proxy) proxy {
		if i := slices.Index(l.words, "from"); i >= 0 && i+1 < len(l.words) {
			if p, ok := named[l.words[i+1]]; ok {
				return p
			}
			r.notes = append(r.notes, note{l.number, l.text, "there are no defaults of that name"})
		}
		return otherwise
	}
	var list []*proxy
	var current *proxy
	inGlobal, skipped := false, ""
	for _, l := range linesOf(string(data), "") {
		first := l.words[0]
		if slices.Contains(haproxySections, first) {
			current, inGlobal, skipped = nil, false, first
			r.notes = append(r.notes, note{l.number, l.text, "nothing in this section is for a balancer of TCP"})
			continue
		}
		switch first {
		case "global":
			current, inGlobal, skipped = nil, true, ""
			continue
		case "defaults":
			current = from(l, preset).clone()
			current.kind, current.line = "defaults", l
			if len(l.words) > 1 && l.words[1] != "from" {
				current.name = l.words[1]
			}
			list = append(list, current)
			inGlobal, skipped = false, ""
			continue
		case "listen", "frontend", "backend":
			before := preset
			for _, p := range slices.Backward(list) {
				if p.kind == "defaults" {
					before = *p
					break
				}
			}
			current = from(l, before).clone()
			current.kind, current.line, current.name = first, l, ""
			if len(l.words) > 1 {
				current.name = l.words[1]
			}
			if first == "listen" && len(l.words) > 2 { // an old form
				current.binds = append(current.binds, strings.Split(l.words[2], ",")...)
			}
			list = append(list, current)
			inGlobal, skipped = false, ""
			continue
		}
		switch {
		case inGlobal:
			haproxyGlobal(r, l)
		case current != nil:
			current.read(l)
			if current.kind == "defaults" && current.name != "" {
				named[current.name] = *current
			}
		case skipped == "":
			r.notes = append(r.notes, note{l.number, l.text, "it stands in no section"})
		}
	}
	haproxyServices(r, list)
}

func haproxyGlobal(r *result, l line) {
	switch l.words[0] {
	case "maxconn":
		if n, ok := count(l.words, 1, spec.MaxMaxConns); ok {
			r.daemon.Process.MaxSessions = n
			return
		}
	case "nbthread":
		if n, ok := count(l.words, 1, spec.MaxLoops); ok {
			r.daemon.Loops = n
			return
		}
	case "quiet":
		return
	}
	r.notes = append(r.notes, note{l.number, l.text, haproxyReason(l.words[0])})
}

// count returns the number at i, if there is one from 0 to most.
func count(words []string, i, most int) (int, bool) {
	if i >= len(words) {
		return 0, false
	}
	n, err := strconv.Atoi(words[i])
	return n, err == nil && 0 <= n && n <= most
}

// haproxyTime reads a time: a number of milliseconds, or of the unit behind it.
func haproxyTime(words []string, i int) (time.Duration, bool) {
	if i >= len(words) {
		return 0, false
	}
	text, unit := words[i], time.Millisecond
	for suffix, of := range map[string]time.Duration{"us": time.Microsecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour} {
		if digits, ok := strings.CutSuffix(text, suffix); ok && isNumber(digits) {
			text, unit = digits, of
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * unit, err == nil && n >= 0 && n <= int64(math.MaxInt64/unit)
}

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

func (p *proxy) leave(l line, why string) { p.notes = append(p.notes, note{l.number, l.text, why}) }

func (p *proxy) remark(text string) {
	if !slices.Contains(p.remarks, text) {
		p.remarks = append(p.remarks, text)
	}
}

// read reads a line of a section.
func (p *proxy) read(l line) {
	words := l.words
	second := ""
	if len(words) > 1 {
		second = words[1]
	}
	switch words[0] {
	case "mode":
		p.http = second == "http"
		if second != "http" && second != "tcp" {
			p.leave(l, "balance relays TCP")
		}
	case "bind":
		p.bind(l)
	case "default_backend":
		p.backend = second
	case "maxconn":
		if n, ok := count(words, 1, spec.MaxMaxConns); ok {
			p.listener.MaxSessions = n
			return
		}
		p.leave(l, "not a number of sessions")
	case "retries", "backlog", "fullconn", "id", "hash-type", "enabled":
	case "disabled":
		p.leave(l, "balance has no listener that does nothing: leave it out")
	case "source":
		host, _ := hostPort(second)
		source, err := netip.ParseAddr(host)
		switch {
		case len(words) > 2 || err != nil && host != "":
			p.leave(l, "balance dials from one address of its own")
		case err == nil && !source.IsUnspecified():
			p.listener.Source = source
		}
	case "balance":
		p.balance(l, second)
	case "timeout":
		p.timeout(l, second)
	case "option":
		p.option(l, second)
	case "http-check", "tcp-check":
		p.checkRule(l, second)
	case "external-check":
		if second == "command" && len(words) > 2 {
			p.check.Command = []string{words[2], "{host}", "{port}"}
			p.remark("external-check gives its program four arguments, balance those that command names")
			return
		}
		p.leave(l, "a program has the environment of a check of balance: PATH, LANG, BALANCE_HOST and BALANCE_PORT")
	case "default-server":
		p.settings(l, &p.plain, words[1:])
	case "server":
		p.addServer(l)
	default:
		p.leave(l, haproxyReason(words[0]))
	}
}

func (p *proxy) bind(l line) {
	if len(l.words) < 2 {
		p.leave(l, "there is no address")
		return
	}
	binds := strings.Split(l.words[1], ",")
	for i, option := range l.words[2:] {
		value := ""
		if i+3 < len(l.words) {
			value = l.words[i+3]
		}
		switch option {
		case "ssl":
			p.leave(l, "TLS goes through to the servers, it is not ended here: they have to take it")
		case "accept-proxy":
			p.headed += len(binds)
		case "mode":
			var mode spec.FileMode
			if err := mode.UnmarshalText([]byte("0" + strings.TrimPrefix(value, "0"))); err != nil || mode&0o600 != 0o600 || mode&^0o666 != 0 {
				p.leave(l, "mode: the owner may read and write, and nobody executes a socket")
				continue
			}
			p.sockets.Mode = mode
		case "group":
			p.sockets.Group = value
		}
	}
	p.binds = append(p.binds, binds...)
}

func (p *proxy) balance(l line, algorithm string) {
	name, _, _ := strings.Cut(algorithm, "(")
	modes := map[string]balancer.Mode{"roundrobin": balancer.RoundRobin, "static-rr": balancer.RoundRobin, "leastconn": balancer.LeastConn,
		"first": balancer.First, "random": balancer.Random, "source": balancer.Hash}
	mode, ok := modes[name]
	if !ok {
		p.leave(l, haproxyReasons["http"]+": the channels take turns")
	}
	p.group.Mode, p.spare.Mode = mode, mode
	p.listener.HashFailover = mode == balancer.Hash
}

func (p *proxy) timeout(l line, which string) {
	d, ok := haproxyTime(l.words, 2)
	if !ok || d > spec.MaxTimeout {
		p.leave(l, "not a time")
		return
	}
	switch which {
	case "connect":
		p.listener.ConnectTimeout = min(max(d, time.Millisecond), spec.MaxConnectTimeout)
	case "client":
		p.client = d
	case "server", "tunnel":
		p.server = max(p.server, d)
	case "client-fin", "server-fin":
		p.listener.HalfCloseTimeout = d
	case "queue":
		p.queue = d
	case "check":
		p.check.Timeout = min(max(d, time.Millisecond), spec.MaxConnectTimeout)
	default:
		p.leave(l, haproxyReasons["http"])
	}
}

func (p *proxy) option(l line, name string) {
	kinds := map[string]spec.CheckType{"smtpchk": spec.CheckSMTP, "mysql-check": spec.CheckMySQL, "pgsql-check": spec.CheckPostgres, "redis-check": spec.CheckRedis,
		"ldap-check": spec.CheckLDAP, "tcp-check": spec.CheckTCP, "external-check": spec.CheckExec}
	switch name {
	case "httpchk":
		p.check.Type = spec.CheckHTTP
		rest := l.words[2:]
		switch len(rest) {
		case 0:
			p.check.Method = "OPTIONS"
		case 1:
			p.check.Method, p.check.Path = "OPTIONS", rest[0]
		default:
			p.check.Method, p.check.Path = rest[0], rest[1]
			if len(rest) > 2 {
				_, after, _ := strings.Cut(strings.Join(rest[2:], " "), "Host:")
				p.check.Host = strings.TrimSpace(after)
			}
		}
	case "allbackups":
		p.allSpares = true
	case "redispatch", "tcpka", "clitcpka", "srvtcpka", "splice-auto", "splice-request", "splice-response", "dontlognull", "dontlog-normal", "log-health-checks",
		"logasap", "contstats", "abortonclose", "tcp-smart-accept", "tcp-smart-connect", "nolinger", "log-separate-errors", "socket-stats":
		// what balance does by itself, or what makes no difference
	case "tcplog":
		p.leave(l, "see [log]: sessions")
	default:
		kind, ok := kinds[name]
		if !ok {
			p.leave(l, haproxyReasons["http"])
			return
		}
		p.check.Type = kind
		if kind == spec.CheckMySQL && len(l.words) > 2 || kind == spec.CheckPostgres && len(l.words) > 2 {
			p.remark("checks of balance speak the first words of the protocol, and give no user")
		}
	}
}

// checkRule reads one of http-check and tcp-check.
func (p *proxy) checkRule(l line, what string) {
	words := l.words[2:]
	switch {
	case l.words[0] == "http-check" && what == "send":
		for i := 0; i+1 < len(words); i++ {
			switch words[i] {
			case "meth":
				p.check.Method = words[i+1]
			case "uri":
				p.check.Path = words[i+1]
			case "hdr":
				if i+2 < len(words) {
					p.header(words[i+1], words[i+2])
				}
			}
		}
	case l.words[0] == "http-check" && what == "expect" && len(words) == 2 && words[0] == "status":
		if err := p.check.Status.UnmarshalText([]byte(words[1])); err != nil {
			p.leave(l, "not a status")
		}
	case l.words[0] == "http-check" && what == "expect" && len(words) == 2 && words[0] == "rstatus" && regexp.MustCompile(`^\^?[1-5]\d?\d?$`).MatchString(words[1]):
		digits := strings.TrimPrefix(words[1], "^")
		first, last := (digits + "00")[:3], (digits + "99")[:3]
		if err := p.check.Status.UnmarshalText([]byte(first + "-" + last)); err != nil {
			p.leave(l, "not a status")
		}
	case what == "expect" && len(words) == 2 && words[0] == "string":
		p.check.Expect = regexp.QuoteMeta(words[1])
	case what == "expect" && len(words) == 2 && words[0] == "rstring":
		p.check.Expect = words[1]
	case l.words[0] == "tcp-check" && what == "connect" && len(words) == 0:
	case l.words[0] == "tcp-check" && what == "send" && len(words) == 1 && p.check.Send == "" && p.check.Expect == "":
		p.check.Send = strings.NewReplacer("rn", "\r\n").Replace(words[0])
		if unquoted, ok := haproxyEscapes(l.text); ok {
			p.check.Send = unquoted
		}
	case l.words[0] == "tcp-check" && what == "send-binary" && len(words) == 1 && p.check.SendHex == "":
		p.check.SendHex = words[0]
	default:
		p.leave(l, "a check of balance sends once and looks at one answer")
	}
}

// haproxyEscapes returns what "tcp-check send" sends: \r, \n, \t and a protected blank.
func haproxyEscapes(text string) (string, bool) {
	_, after, ok := strings.Cut(text, "send")
	if !ok {
		return "", false
	}
	after = strings.Trim(strings.TrimSpace(after), `"`)
	return strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\ `, " ", `\\`, `\`).Replace(after), true
}

func (p *proxy) header(name, value string) {
	if strings.EqualFold(name, "host") {
		p.check.Host = value
		return
	}
	if p.check.Headers == nil {
		p.check.Headers = map[string]string{}
	}
	p.check.Headers[name] = value
}

// settings reads the parameters of a server.
func (p *proxy) settings(l line, s *haproxyServer, words []string) {
	times := map[string]*time.Duration{"inter": &s.interval, "fastinter": &s.fast, "downinter": &s.down, "slowstart": &s.slow}
	value := func(i int) string {
		if i+1 < len(words) {
			return words[i+1]
		}
		return ""
	}
	for i := 0; i < len(words); i++ {
		word := words[i]
		if into, ok := times[word]; ok {
			if d, ok := haproxyTime(words, i+1); ok {
				*into = min(d, spec.MaxTimeout)
			}
			i++
			continue
		}
		switch word {
		case "check":
			s.check = true
		case "no-check":
			s.check = false
		case "backup":
			s.backup = true
		case "disabled":
			s.channel.Disabled = true
		case "enabled", "no-backup", "no-ssl", "non-stick":
		case "weight", "maxconn", "rise", "fall", "port":
			n, ok := count(words, i+1, spec.MaxMaxConns)
			switch {
			case !ok:
				p.leave(l, word+": not a number")
			case word == "weight":
				s.channel.Weight = spec.WeightOf(min(n, balancer.MaxWeight))
			case word == "maxconn":
				s.channel.MaxConns = n
			case word == "rise":
				s.rise = min(max(n, 1), spec.MaxCheckCount)
			case word == "fall":
				s.fall = min(max(n, 1), spec.MaxCheckCount)
			case n <= math.MaxUint16:
				s.channel.CheckPort = uint16(n)
			}
			i++
		case "addr":
			s.channel.CheckHost, _ = hostPort(value(i))
			i++
		case "on-marked-down":
			s.closeDown = value(i) == "shutdown-sessions"
			i++
		case "on-marked-up":
			s.closeBack = value(i) == "shutdown-backup-sessions"
			i++
		case "check-ssl":
			s.tls = true
		case "verify":
			s.insecure = value(i) == "none"
			i++
		case "ca-file":
			s.ca = value(i)
			i++
		case "check-sni", "verifyhost":
			s.sni = value(i)
			i++
		case "ssl":
			p.leave(l, "ssl: TLS is the client's business, it goes through to the server; its checks use it")
			s.tls = true
		case "send-proxy":
			s.channel.SendProxy = spec.ProxyV1
		case "send-proxy-v2":
			s.channel.SendProxy = spec.ProxyV2
		case "init-addr", "resolvers", "resolve-prefer", "observe", "error-limit", "on-error", "minconn", "maxqueue", "id", "cookie", "sni", "alpn",
			"pool-max-conn", "pool-purge-delay", "track", "redir", "source", "proto", "crt", "ciphers", "check-alpn", "check-proto", "resolve-net":
			if word == "cookie" || word == "track" || word == "source" || word == "minconn" || word == "redir" {
				p.leave(l, word+": "+haproxyReasons["default"])
			}
			i++
		default:
			p.leave(l, word+": "+haproxyReasons["default"])
		}
	}
}

func (p *proxy) addServer(l line) {
	if len(l.words) < 3 {
		p.leave(l, "a name and an address are needed")
		return
	}
	s := p.plain
	p.settings(l, &s, l.words[3:])
	const any = 1 // port, for one that is that of the bind
	channel, ok := channelAt(l.words[2], any)
	if !ok {
		p.leave(l, "not a host and a port")
		return
	}
	if _, port := hostPort(l.words[2]); port == "" || channel.IsUnix() {
		channel.Port = 0
	}
	settled := s.channel
	settled.Host, settled.Port = channel.Host, channel.Port
	if p.kind == "defaults" {
		p.leave(l, "a server stands in no backend")
		return
	}
	p.queued = p.queued || settled.MaxConns > 0
	if s.check {
		before := p.check
		p.check.Interval, p.check.Rise, p.check.Fall = max(s.interval, spec.MinCheckInterval), s.rise, s.fall
		p.check.FastInterval, p.check.DownInterval = p.check.Interval, p.check.Interval
		if s.fast > 0 {
			p.check.FastInterval = max(s.fast, spec.MinCheckInterval)
		}
		if s.down > 0 {
			p.check.DownInterval = max(s.down, spec.MinCheckInterval)
		}
		if p.check.Type == spec.CheckNone {
			p.check.Type = spec.CheckTCP
		}
		if s.tls {
			p.check.TLS, p.check.Insecure, p.check.CAFile, p.check.ServerName = true, s.insecure, s.ca, s.sni
		}
		if p.checked && !reflect.DeepEqual(p.check, before) {
			p.leave(l, "the check of a group is one for all: that of the first server stands")
			p.check = before
		}
		p.checked = true
	} else {
		p.unchecked = append(p.unchecked, l.words[1])
		settled.CheckHost, settled.CheckPort = "", 0
	}
	settled.Name = l.words[1]
	group := &p.group
	if s.backup {
		group = &p.spare
	}
	group.SlowStart = max(group.SlowStart, s.slow)
	group.Channels = append(group.Channels, settled)
	if s.closeDown {
		p.listener.OnDown = spec.CloseSessions
	}
	if s.closeBack {
		p.listener.OnReturn = spec.CloseSessions
	}
}

// haproxyServices makes listeners of the sections.
func haproxyServices(r *result, list []*proxy) {
	backends := map[string]*proxy{}
	used := map[string]bool{}
	for _, p := range list {
		if p.kind == "backend" {
			backends[p.name] = p
		}
	}
	for _, p := range list {
		switch p.kind {
		case "defaults":
			r.notes = append(r.notes, p.notes...)
		case "listen":
			p.become(r, p)
		case "frontend":
			behind := backends[p.backend]
			if behind == nil {
				p.leave(p.line, "it has no default_backend that is there")
				r.notes = append(r.notes, p.notes...)
				continue
			}
			used[p.backend] = true
			p.become(r, behind)
		}
	}
	for _, p := range list {
		if p.kind == "backend" && !used[p.name] {
			r.notes = append(r.notes, note{p.line.number, p.line.text, "no frontend has it for a default"})
		}
	}
	slices.SortStableFunc(r.notes, func(a, b note) int { return a.line - b.line })
}

// nameChannels leaves the names that channels can have, and which are of one alone.
func nameChannels(groups []spec.Group) {
	taken := map[string]int{}
	for _, g := range groups {
		for _, c := range g.Channels {
			taken[c.Name]++
			if c.Host != c.Name {
				taken[c.Host]++
			}
		}
	}
	for _, g := range groups {
		for i, c := range g.Channels {
			if !spec.IsChannelName(c.Name) || taken[c.Name] > 1 {
				g.Channels[i].Name = ""
			}
		}
	}
}

// become adds the service that a frontend is, with what stands behind it; a listen
// section is both.
func (p *proxy) become(r *result, behind *proxy) {
	s := &service{Listener: p.listener, notes: slices.Clone(p.notes), remarks: slices.Clone(p.remarks)}
	if behind != p {
		s.notes = append(s.notes, behind.notes...)
		s.remarks = append(s.remarks, behind.remarks...)
		s.Listener = behind.listener
		s.MaxSessions = p.listener.MaxSessions
		s.HalfCloseTimeout = min(s.HalfCloseTimeout, p.listener.HalfCloseTimeout)
	}
	slices.SortStableFunc(s.notes, func(a, b note) int { return a.line - b.line })
	var port uint16
	for _, bind := range p.binds {
		address, at, ok := listenAt(bind)
		if !ok {
			s.notes = append(s.notes, note{p.line.number, "bind " + bind, "balance listens on one TCP port an address"})
			continue
		}
		if port == 0 {
			port = at
		}
		s.Listen = append(s.Listen, address)
	}
	s.Unix = p.sockets
	s.accept(note{p.line.number, "accept-proxy", ""}, p.headed)
	for _, group := range []spec.Group{behind.group, behind.spare} {
		if len(group.Channels) == 0 {
			continue
		}
		group.Channels = slices.Clone(group.Channels)
		for i := range group.Channels {
			if c := &group.Channels[i]; c.Port == 0 && !c.IsUnix() {
				c.Port = port
			}
		}
		if behind.checked {
			group.Check = behind.check
		}
		s.Groups = append(s.Groups, group)
	}
	nameChannels(s.Groups)
	if len(s.Listen) == 0 || len(s.Groups) == 0 {
		r.notes = append(r.notes, s.notes...)
		why := "it has no server that could be carried over"
		if len(s.Listen) == 0 {
			why = "it has no address that could be carried over"
		}
		r.notes = append(r.notes, note{p.line.number, p.line.text, why})
		return
	}
	if len(behind.group.Channels) > 0 && len(behind.spare.Channels) > 1 && !behind.allSpares {
		s.Groups[1].Mode = balancer.First // HAProxy uses the first backup server that is up
	}
	name := p.name
	if name == "" {
		name = s.Listen[0]
	}
	s.Name = r.unique(name)
	s.IdleTimeout = max(p.client, behind.server)
	if p.client != behind.server && p.client > 0 && behind.server > 0 {
		s.remark("timeout client and timeout server differ: idle_timeout is the longer one, of both directions together")
	}
	if behind.queued {
		s.Queue, s.QueueTimeout = 10_000, behind.queue
		if behind.queue == 0 {
			s.QueueTimeout = s.ConnectTimeout // as HAProxy has it
		}
	}
	if p.http || behind.http {
		s.remark("mode http: what is in HTTP goes through untouched; a connection stays on its channel")
	}
	if behind.checked && len(behind.unchecked) > 0 {
		s.remark("servers without check are checked, too: " + strings.Join(behind.unchecked, ", "))
	}
	r.services = append(r.services, s)
}
