package foreign

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// directive is one of nginx, of at least one word, with those in its block.
type directive struct {
	line  int
	words []string
	block []directive
}

func (d directive) text() string { return strings.Join(d.words, " ") }

// The deepest that blocks of nginx nest here.
const maxDepth = 20

// directivesOf takes the text of a file apart, up to the end of a block.
func directivesOf(tokens []token, depth int) (list []directive, rest []token) {
	var current directive
	for len(tokens) > 0 {
		t := tokens[0]
		tokens = tokens[1:]
		switch {
		case t.mark == ';':
			if len(current.words) > 0 {
				list = append(list, current)
			}
			current = directive{}
		case t.mark == '{':
			if depth < maxDepth {
				current.block, tokens = directivesOf(tokens, depth+1)
			}
			if len(current.words) > 0 {
				list = append(list, current)
			}
			current = directive{}
		case t.mark == '}':
			return list, tokens
		default:
			if len(current.words) == 0 {
				current.line = t.line
			}
			current.words = append(current.words, t.word)
		}
	}
	return list, nil
}

// token is a word, or a mark.
type token struct {
	line int
	word string
	mark byte
}

func tokensOf(text string) []token {
	var tokens []token
	number := 0
	for one := range strings.Lines(text) {
		number++
		for _, word := range wordsOf(strings.TrimRight(one, "\n"), ";{}") {
			if len(word) == 1 && strings.Contains(";{}", word) {
				tokens = append(tokens, token{line: number, mark: word[0]})
			} else {
				tokens = append(tokens, token{line: number, word: word})
			}
		}
	}
	return tokens
}

const (
	nginxHTTP  = "HTTP is not ended here: only what stands in stream is carried over"
	nginxUnit  = "the unit, or a container, says that"
	nginxAdmit = "see [listener.admit]: allow and deny, of which the longest match decides, not the first"
	nginxLimit = "see [listener.admit]: max_sessions"
	nginxMany  = "as many as the descriptors allow; see [process]: max_sessions"
)

var nginxReasons = map[string]string{
	"http": nginxHTTP, "mail": "mail protocols are not ended here: only what stands in stream is carried over",
	"user": nginxUnit, "pid": nginxUnit, "daemon": nginxUnit, "worker_rlimit_nofile": nginxUnit, "working_directory": nginxUnit,
	"events": nginxMany, "include": "import that file by itself", "load_module": "balance has no modules",
	"error_log": "see [log]", "access_log": "see [log]: sessions", "log_format": "see [log]: sessions",
	"ssl_preread": "see [[listener.group]]: server_name", "map": "balance chooses by group and by address, not by variables",
	"geo": "balance chooses by group and by address, not by variables", "split_clients": "see the weights of channels",
	"proxy_protocol": "see [[listener.group]]: send_proxy", "set_real_ip_from": "see [listener.proxy_protocol]: accept",
	"allow": nginxAdmit, "deny": nginxAdmit, "limit_conn": nginxLimit, "limit_conn_zone": nginxLimit,
	"zone": "channels need no memory of their own", "resolver": "the resolver of the system is asked", "proxy_ssl": "TLS goes through to the servers, it is not begun here",
}

func nginxReason(d directive) string {
	if why, ok := nginxReasons[d.words[0]]; ok {
		return why
	}
	if strings.HasPrefix(d.words[0], "ssl_") || strings.HasPrefix(d.words[0], "proxy_ssl") {
		return "TLS goes through to the servers, it is not ended here"
	}
	return "not a setting that balance knows"
}

// nginxServers is an upstream.
type nginxServers struct {
	groups  []spec.Group
	holdOff time.Duration
	notes   []note
}

func readNginx(r *result, data []byte) {
	file, _ := directivesOf(tokensOf(string(data)), 0)
	for _, d := range file {
		switch {
		case d.words[0] == "stream":
			readStream(r, d.block)
		case d.words[0] == "worker_processes":
			if n, ok := count(d.words, 1, spec.MaxLoops); ok {
				r.daemon.Loops = n
			}
		case d.words[0] == "server" || d.words[0] == "upstream": // a file that is included in stream
			readStream(r, file)
			return
		default:
			r.notes = append(r.notes, note{d.line, d.text(), nginxReason(d)})
		}
	}
}

// readStream reads what stands in a block stream.
func readStream(r *result, block []directive) {
	upstreams := map[string]nginxServers{}
	for _, d := range block {
		if len(d.words) > 1 && d.words[0] == "upstream" {
			upstreams[d.words[1]] = nginxUpstream(d.block)
		}
	}
	preset := spec.Defaults()
	preset.ConnectTimeout, preset.IdleTimeout = time.Minute, 10*time.Minute // of proxy_connect_timeout and proxy_timeout
	preset.HoldOff, preset.HoldOffMax = 10*time.Second, 10*time.Second      // of fail_timeout
	for _, d := range block {
		if d.words[0] != "upstream" && d.words[0] != "server" && !nginxSetting(&preset, d) {
			r.notes = append(r.notes, note{d.line, d.text(), nginxReason(d)})
		}
	}
	for _, d := range block {
		if len(d.words) == 1 && d.words[0] == "server" {
			nginxServer(r, d, preset, upstreams)
		}
	}
	passes := func(server directive, to string) bool {
		return slices.ContainsFunc(server.block, func(inner directive) bool { return slices.Equal(inner.words, []string{"proxy_pass", to}) })
	}
	for _, d := range block {
		if d.words[0] == "upstream" && !slices.ContainsFunc(block, func(other directive) bool {
			return len(d.words) > 1 && other.words[0] == "server" && passes(other, d.words[1])
		}) {
			r.notes = append(r.notes, note{d.line, d.text(), "no server passes to it"})
		}
	}
}

// nginxTime reads a time: seconds, or numbers with units.
func nginxTime(text string) (time.Duration, bool) {
	if isNumber(text) {
		text += "s"
	}
	var sum time.Duration
	for text != "" {
		end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
		if end <= 0 {
			return 0, false
		}
		n, err := strconv.ParseInt(text[:end], 10, 32)
		if err != nil {
			return 0, false
		}
		text = text[end:]
		unit := time.Duration(0)
		for _, u := range []struct {
			name string
			of   time.Duration
		}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}} {
			if after, ok := strings.CutPrefix(text, u.name); ok {
				text, unit = after, u.of
				break
			}
		}
		if unit == 0 {
			return 0, false
		}
		sum += time.Duration(n) * unit
	}
	return sum, sum >= 0 && sum <= spec.MaxTimeout
}

// nginxSetting reads what may stand in stream and in server, and reports whether it was
// that.
func nginxSetting(l *spec.Listener, d directive) bool {
	if len(d.words) != 2 {
		return false
	}
	value := d.words[1]
	switch d.words[0] {
	case "proxy_timeout":
		if t, ok := nginxTime(value); ok {
			l.IdleTimeout = t
			return true
		}
	case "proxy_connect_timeout":
		if t, ok := nginxTime(value); ok && t > 0 {
			l.ConnectTimeout = min(t, spec.MaxConnectTimeout)
			return true
		}
	case "proxy_bind":
		return l.Source.UnmarshalText([]byte(value)) == nil
	case "proxy_next_upstream", "proxy_half_close", "tcp_nodelay", "proxy_socket_keepalive":
		return value == "on"
	case "proxy_buffer_size", "proxy_next_upstream_tries", "proxy_next_upstream_timeout":
		return true
	}
	return false
}

func nginxUpstream(block []directive) nginxServers {
	var u nginxServers
	var group, spare spec.Group
	for _, d := range block {
		leave := func(why string) { u.notes = append(u.notes, note{d.line, d.text(), why}) }
		switch d.words[0] {
		case "server":
			channel, backup, fail, why := nginxChannel(d)
			if why != "" {
				leave(why)
				continue
			}
			u.holdOff = max(u.holdOff, fail)
			if backup {
				spare.Channels = append(spare.Channels, channel)
			} else {
				group.Channels = append(group.Channels, channel)
			}
		case "least_conn":
			group.Mode, spare.Mode = balancer.LeastConn, balancer.LeastConn
		case "random":
			group.Mode, spare.Mode = balancer.Random, balancer.Random
		case "hash":
			if len(d.words) > 1 && (d.words[1] == "$remote_addr" || d.words[1] == "$binary_remote_addr") {
				group.Mode, spare.Mode = balancer.Hash, balancer.Hash
			} else {
				leave("the client's address alone can be hashed: the channels take turns")
			}
		case "zone", "least_time":
			if d.words[0] == "least_time" {
				group.Mode, spare.Mode = balancer.LeastConn, balancer.LeastConn
				leave("times do not choose: the channel with the fewest sessions does")
			}
		default:
			leave(nginxReason(d))
		}
	}
	for _, g := range []spec.Group{group, spare} {
		if len(g.Channels) > 0 {
			u.groups = append(u.groups, g)
		}
	}
	return u
}

func nginxChannel(d directive) (channel spec.Channel, backup bool, fail time.Duration, why string) {
	if len(d.words) < 2 {
		return channel, false, 0, "there is no address"
	}
	channel, ok := channelAt(d.words[1], 0)
	if !ok {
		return channel, false, 0, "not a host and a port"
	}
	for _, parameter := range d.words[2:] {
		name, value, _ := strings.Cut(parameter, "=")
		n, err := strconv.Atoi(value)
		switch name {
		case "weight":
			if err == nil && n > 0 {
				channel.Weight = spec.WeightOf(min(n, balancer.MaxWeight))
			}
		case "max_conns":
			if err == nil && n >= 0 && n <= math.MaxInt32 {
				channel.MaxConns = min(n, spec.MaxMaxConns)
			}
		case "fail_timeout":
			if t, ok := nginxTime(value); ok {
				fail = t
			}
		case "backup":
			backup = true
		case "down":
			channel.Disabled = true
		}
	}
	return channel, backup, fail, ""
}

func nginxServer(r *result, d directive, preset spec.Listener, upstreams map[string]nginxServers) {
	s := &service{Listener: preset}
	var pass directive
	var header spec.SendProxy
	headed := 0
	for _, inner := range d.block {
		leave := func(why string) { s.notes = append(s.notes, note{inner.line, inner.text(), why}) }
		switch {
		case inner.words[0] == "listen" && len(inner.words) > 1:
			address, _, ok := listenAt(inner.words[1])
			switch {
			case slices.Contains(inner.words, "udp"):
				leave("balance relays TCP alone")
				continue
			case slices.Contains(inner.words, "ssl"):
				leave("TLS goes through to the servers, it is not ended here: they have to take it")
			case slices.Contains(inner.words, "proxy_protocol"):
				headed++
			}
			if !ok {
				leave("balance listens on one TCP port an address")
				continue
			}
			s.Listen = append(s.Listen, address)
		case inner.words[0] == "proxy_pass" && len(inner.words) == 2:
			pass = inner
		case slices.Equal(inner.words, []string{"proxy_protocol", "on"}):
			header = spec.ProxyV1
		case !nginxSetting(&s.Listener, inner):
			leave(nginxReason(inner))
		}
	}
	refuse := func(why string) {
		r.notes = append(r.notes, s.notes...)
		r.notes = append(r.notes, note{d.line, "server", why})
	}
	if len(s.Listen) == 0 {
		refuse("it has no address that could be carried over")
		return
	}
	if len(pass.words) == 0 {
		refuse("it has no proxy_pass")
		return
	}
	behind, ok := upstreams[pass.words[1]]
	if ok {
		s.notes = append(s.notes, behind.notes...)
		s.Groups = behind.groups
		if behind.holdOff > 0 {
			s.HoldOff, s.HoldOffMax = behind.holdOff, behind.holdOff
		}
	} else if channel, ok := channelAt(pass.words[1], 0); ok {
		s.Groups = []spec.Group{{Channels: []spec.Channel{channel}}}
	}
	if len(s.Groups) == 0 {
		s.notes = append(s.notes, note{pass.line, pass.text(), "it leads to no server that could be carried over"})
		refuse("it has no server that could be carried over")
		return
	}
	if header != spec.NoProxy {
		s.Groups = slices.Clone(s.Groups) // another server may pass to the same
		for g := range s.Groups {
			group := &s.Groups[g]
			group.SendProxy, group.Channels = header, slices.Clone(group.Channels)
			for i := range group.Channels {
				group.Channels[i].SendProxy = header
			}
		}
	}
	s.accept(note{d.line, "listen proxy_protocol", ""}, headed)
	if slices.ContainsFunc(s.Groups, func(g spec.Group) bool { return g.Mode == balancer.Hash }) {
		s.HashFailover = true
	}
	s.Name = r.unique(s.Listen[0])
	if ok {
		s.Name = r.unique(pass.words[1])
	}
	r.services = append(r.services, s)
}
