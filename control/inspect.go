package control

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"balance/engine"
	"balance/engine/admit"
	"balance/engine/balancer"
	"balance/engine/plane"
	"balance/engine/preface"
	"balance/engine/spec"
)

func (c *conversation) status(args []string) Status {
	args, asJSON := option(args, "-json")
	d := c.daemon
	switch {
	case len(args) > 0:
		return c.misused("%.60q is not -json", args[0])
	case asJSON:
		return c.sayJSON(d.Report())
	}
	snapshot := d.Engine.Snapshot()
	sessions := 0
	for _, l := range snapshot.Listeners {
		for _, g := range l.Groups {
			for _, ch := range g.Channels {
				sessions += ch.Active
			}
		}
	}
	c.say("version      %s", d.Version)
	c.say("process      %d", os.Getpid())
	c.say("up           %s, since %s", time.Since(d.Started).Round(time.Second), d.Started.Format(time.RFC3339))
	c.say("listeners    %d", len(snapshot.Listeners))
	c.say("channels     %s", standings(snapshot.Listeners))
	for _, l := range snapshot.Listeners {
		if problem := obstacle(&l); problem != "" {
			c.say("not ready    %s: %s", l.Name, problem)
		}
	}
	c.say("sessions     %d of at most %d", sessions, snapshot.MaxSessions)
	if len(snapshot.Loops) > 0 {
		c.say("loops        %s", strings.Trim(fmt.Sprint(snapshot.Loops), "[]"))
	}
	if lost := d.MessagesLost(); lost > 0 {
		c.say("log          %d messages lost", lost)
	}
	c.say("generation   %d", snapshot.Generation)
	if d.Unconfirmed != nil {
		if waiting := d.Unconfirmed(); waiting != nil {
			c.say("unconfirmed  %s", waiting)
		}
	}
	if d.File == "" {
		c.say("file         none")
		return OK
	}
	c.say("file         %s", d.File)
	if c.differs() {
		c.say("differs      %s", d.fileDiffers())
	}
	last := d.LastReload()
	switch {
	case last.Time.IsZero():
		c.say("last reload  none")
	case last.OK():
		c.say("last reload  %s, good", last.Time.Format(time.RFC3339))
	default:
		c.say("last reload  %s, failed:", last.Time.Format(time.RFC3339))
		c.sayText(strings.Join(last.Errors(), "\n"))
	}
	if last.Hash != "" {
		c.say("sha256       %s", last.Hash)
	}
	return OK
}

func (c *conversation) config([]string) Status {
	c.sayText(string(c.daemon.Marshal(c.daemon.Engine.Config())))
	return OK
}

var errNoFile = errors.New("there is no configuration file: the daemon was started by arguments")

func (c *conversation) reload([]string) Status {
	if c.daemon.Reload == nil {
		return c.failed(errNoFile)
	}
	changes, err := c.daemon.Reload(c.by())
	if err != nil {
		return c.failed(err)
	}
	c.sayText(changes.String())
	c.say("reloaded, generation %d", c.daemon.Engine.Snapshot().Generation)
	c.sayUnconfirmed()
	return OK
}

// diff answers Differs if the file is not what runs.
func (c *conversation) diff(args []string) Status {
	args, asJSON := option(args, "-json")
	if len(args) > 0 {
		return c.misused("%.60q is not -json", args[0])
	}
	if c.daemon.Preview == nil {
		return c.failed(errNoFile)
	}
	changes, err := c.daemon.Preview()
	if err != nil {
		return c.failed(err)
	}
	if asJSON {
		if changes == nil {
			changes = spec.Changes{}
		}
		text, err := json.Marshal(changes)
		if err != nil {
			return c.failed(err)
		}
		c.say("%s", text)
	} else {
		c.sayText(changes.String())
	}
	if len(changes) > 0 {
		return Differs
	}
	return OK
}

func (c *conversation) why(args []string) Status {
	args, asJSON := option(args, "-json")
	var client balancer.Client
	args, client.ServerName = assigned(args, "server_name")
	if named := client.ServerName; named != "" {
		if client.ServerName = preface.HostName([]byte(named)); client.ServerName == "" {
			return c.fail("%q is the name of no host", named)
		}
	}
	args, protocols := assigned(args, "alpn")
	if protocols != "" {
		client.ALPN = strings.Split(protocols, ",")
	}
	for _, name := range []string{"server_name", "alpn"} {
		if rest, _ := assigned(args, name); len(rest) < len(args) {
			return c.misused("%s= is said more than once", name)
		}
	}
	if len(args) == 0 || len(args) > 2 {
		return c.misused("an address is needed, and a channel may follow")
	}
	addr, err := netip.ParseAddr(args[0])
	if err != nil {
		return c.fail("%q is not an IP address", args[0])
	}
	client.Addr = addr.Unmap()
	listener := c.listener
	var chosen []choice
	if len(args) > 1 {
		var status Status
		if chosen, status = c.choose("", args[1]); status != OK {
			return status
		}
		listener = chosen[0].listener
		if slices.ContainsFunc(chosen, func(ch choice) bool { return ch.listener != listener }) {
			return c.misused("%q are channels of more than one listener", args[1])
		}
	}
	verdicts, err := c.daemon.Engine.Why(listener, client)
	if err != nil {
		return c.failed(err)
	}
	admission, err := c.daemon.Engine.Admission(listener, client.Addr)
	if err != nil {
		return c.failed(err)
	}
	refused := admission.Refusal != admit.Admitted
	if refused && !asJSON {
		c.say("%s; what follows is for a client that is let in", admissionWords(&admission))
	}
	report := reportWhy(client.Addr, listener, verdicts)
	full, last := false, ""
	for _, v := range verdicts {
		full = full || v.Reason == balancer.IsFull
		if v.Channel == nil {
			last = fmt.Sprintf("group %d: %s", v.Group, v.Words)
		} else {
			last = fmt.Sprintf("group %d channel %d %s: %s", v.Group, v.Index, titled(v.Channel.Key().String(), v.Channel.Name()), v.Words)
		}
		if len(args) == 1 && !asJSON {
			c.say("%s", last)
		}
	}
	waiting := 0
	report.Outcome = "turned away"
	if n := len(verdicts); n > 0 && verdicts[n-1].Reason == balancer.Chosen {
		report.Outcome = balancer.Chosen.String()
	} else if l := pickListeners(c.daemon.Engine.Snapshot().Listeners, listener); full && len(l) > 0 && l[0].Waiting < l[0].Queue {
		report.Outcome, waiting = "wait", l[0].Waiting
	}
	if asJSON {
		if refused {
			report.Outcome, report.Refused = "refused", admissionWords(&admission)
		}
		report.Verdicts = slices.DeleteFunc(report.Verdicts, func(v VerdictReport) bool {
			return len(args) > 1 && !slices.ContainsFunc(chosen, func(ch choice) bool { return ch.Key == v.Channel })
		})
		return c.sayJSON(report)
	}
	for _, ch := range chosen {
		i := slices.IndexFunc(report.Verdicts, func(v VerdictReport) bool { return v.Channel == ch.Key })
		words := "comes later; " + last
		if i >= 0 {
			words = report.Verdicts[i].Words
		}
		c.say("group %d channel %d %s: %s", ch.group, ch.number, titled(ch.Key.String(), ch.Name), words)
	}
	switch report.Outcome {
	case "wait":
		c.say("no channel: the client would wait, as number %d", waiting+1)
	case "turned away":
		c.say("no channel: the client would be turned away")
	}
	return OK
}

func (c *conversation) drain(args []string) Status {
	return c.each(args, func(ch choice) error {
		sessions, err := c.daemon.Engine.Drain(ch.listener, ch.Key)
		if err != nil {
			return err
		}
		c.did(ch.listener, ch.Key, "%s → draining, sessions left: %d", ch.State, sessions)
		if sessions == 0 {
			c.say("channel %s disabled", ch.words)
		} else {
			c.say("channel %s draining, %s left", ch.words, count(sessions))
		}
		return nil
	})
}

// count is a number of sessions in words.
func count(sessions int) string {
	if sessions == 1 {
		return "1 session"
	}
	return fmt.Sprintf("%d sessions", sessions)
}

func (c *conversation) rebalance(args []string) Status {
	dry := len(args) > 0 && args[len(args)-1] == "dry"
	if dry {
		args = args[:len(args)-1]
	}
	percent := 100
	if len(args) > 0 {
		var err error
		if percent, err = strconv.Atoi(strings.TrimSuffix(args[0], "%")); err != nil || len(args) > 1 {
			return c.misused("%.60q is neither a percentage nor dry", strings.Join(args, " "))
		}
		if percent < 1 || percent > 100 {
			return c.fail("value out of range")
		}
	}
	surpluses, err := c.daemon.Engine.Rebalance(c.listener, percent, dry)
	if err != nil {
		return c.fail("%v", err)
	}
	ended := 0
	for _, s := range surpluses {
		c.say("group %d channel %s: %d sessions, %d above its share, %d to end", s.Group, s.Channel, s.Sessions, s.Above, s.Ended)
		ended += s.Ended
	}
	if !dry {
		c.did(c.listener, balancer.Key{}, "sessions to end: %d", ended)
	}
	switch {
	case ended == 0:
		c.say("no channel has sessions above its share")
	case !dry:
		c.say("ending %d of them over %s, idle ones first", ended, engine.RebalanceOver)
	}
	return OK
}

// closeSessions ends sessions: by their ids, of clients, or on channels. What has
// ended before by itself keeps none of the others.
func (c *conversation) closeSessions(args []string) Status {
	switch {
	case args[0] == "client" && len(args) > 1:
		return c.closeClients(args[1:])
	case args[0] == "channel" && len(args) > 1:
		return c.each(args[1:], func(ch choice) error {
			on := onChannel(ch.Key)
			n := c.daemon.Engine.CloseAll(func(s *plane.Session) bool { return s.Listener.Service().Name == ch.listener && on(s) })
			c.did(ch.listener, ch.Key, "sessions ended: %d", n)
			c.say("channel %s: %s closed", ch.words, count(n))
			return nil
		})
	}
	var ids []uint64
	for _, text := range args {
		id, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return c.misused("%.60q is not the id of a session", text)
		}
		ids = append(ids, id)
	}
	closed, status := 0, OK
	for _, id := range ids {
		if !c.daemon.Engine.Close(id) {
			status = c.fail("no such session %d", id)
			continue
		}
		closed++
		c.did("", balancer.Key{}, "session %d ended", id)
		c.say("session %d closed", id)
	}
	if len(ids) > 1 {
		c.say("%s closed", count(closed))
	}
	return status
}

// closeClients ends the sessions of clients: of the current listener, as sessions
// shows them, or with the word all of every one.
func (c *conversation) closeClients(args []string) Status {
	args, all := option(args, "all")
	var matches []func(*plane.Session) bool
	for _, text := range args {
		match, ok := ofClient(text)
		if !ok {
			return c.misused("%.60q is not the address of a client, or a network of them", text)
		}
		matches = append(matches, match)
	}
	if len(args) == 0 {
		return c.misused("the client is missing")
	}
	listener := c.listener
	if all {
		listener = ""
	}
	for i, match := range matches {
		n := c.daemon.Engine.CloseAll(func(s *plane.Session) bool {
			return (all || s.Listener.Service().Name == c.listener) && match(s)
		})
		c.did(listener, balancer.Key{}, "sessions of %s ended: %d", args[i], n)
		c.say("client %s: %s closed", args[i], count(n))
	}
	return OK
}

// maxSessions is how many sessions are listed at most: they are held in memory
// until the client has read them.
const maxSessions = 100_000

// orders are those that sessions may be shown in: what is most comes first.
var orders = map[string]func(a, b *plane.Session) int{
	"age":   func(a, b *plane.Session) int { return a.Started.Compare(b.Started) },
	"idle":  func(a, b *plane.Session) int { return a.Active.Compare(b.Active) },
	"bytes": func(a, b *plane.Session) int { return cmp.Compare(b.Sent+b.Received, a.Sent+a.Received) },
}

func (c *conversation) sessions(args []string) Status {
	args, asJSON := option(args, "-json")
	args, by, sorted, ok := value(args, "by")
	order := orders[by]
	if !ok || sorted && order == nil {
		return c.misused("by what? age, idle or bytes")
	}
	args, text, limited, _ := value(args, "limit")
	limit := maxSessions
	if limited {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxSessions {
			return c.misused("limit %.60q is not one of 1 to %d", text, maxSessions)
		}
	}
	args, everywhere := option(args, "all")
	matches := func(s *plane.Session) bool { return everywhere || s.Listener.Service().Name == c.listener }
	if len(args) > 0 {
		among := matches
		var filters []func(*plane.Session) bool
		for _, text := range args {
			filter, problem := c.filter(text)
			if problem != "" {
				return c.fail("%s", problem)
			}
			filters = append(filters, filter)
		}
		named := slices.ContainsFunc(args, func(text string) bool { return strings.Contains(text, "/") })
		matches = func(s *plane.Session) bool {
			return (named || among(s)) && slices.ContainsFunc(filters, func(f func(*plane.Session) bool) bool { return f(s) })
		}
	}
	lines := func(found []plane.Session, total int) iter.Seq[string] {
		return sessionsTable(found, total, everywhere)
	}
	if asJSON {
		lines = sessionsJSON
	}
	c.list(func(yield func(plane.Session) bool) {
		c.daemon.Engine.Sessions(func(s plane.Session) bool { return !matches(&s) || yield(s) })
	}, func(a, b *plane.Session) int {
		if order == nil {
			return byID(a, b)
		}
		return cmp.Or(order(a, b), byID(a, b))
	}, limit, lines)
	return OK
}

func byID(a, b *plane.Session) int { return cmp.Compare(a.ID, b.ID) }

// list answers the first sessions in an order, so many at most, as lines has them,
// which is told how many there are. It never holds many more.
func (c *conversation) list(all iter.Seq[plane.Session], order func(a, b *plane.Session) int, limit int, lines func(found []plane.Session, total int) iter.Seq[string]) {
	const batch = 1000
	most := limit + min(limit, batch)
	var found []plane.Session
	full, total := false, 0 // full: the first so many are sorted
	cut := func() {
		slices.SortFunc(found, func(a, b plane.Session) int { return order(&a, &b) })
		found = found[:min(len(found), limit)]
	}
	for s := range all {
		total++
		if full && order(&s, &found[limit-1]) >= 0 {
			continue
		}
		if len(found) == most {
			cut()
			full = true
		}
		if len(found) == cap(found) {
			grown := min(max(64, 2*cap(found)), most)
			if !c.reply.take((grown - cap(found)) * int(unsafe.Sizeof(s))) {
				return
			}
			found = append(make([]plane.Session, 0, grown), found...)
		}
		found = append(found, s)
	}
	cut()
	c.reply.rest = lines(found, total)
}

// sessionsTable returns the lines about sessions. Only the sessions are held, each
// line is made when it is written: very many may be read by a slow client.
func sessionsTable(found []plane.Session, total int, told bool) iter.Seq[string] {
	now := time.Now()
	named := slices.ContainsFunc(found, func(s plane.Session) bool { return s.Channel != nil && s.Channel.Name() != "" })
	cells := func(s *plane.Session) []string {
		channel, name := "", ""
		if s.Channel != nil {
			channel, name = s.Channel.Key().String(), s.Channel.Name()
		}
		row := []string{
			strconv.FormatUint(s.ID, 10), plane.ClientText(s.Client), strconv.Itoa(s.Group), channel, s.State.String(),
			seconds(now.Sub(s.Started)), seconds(now.Sub(s.Active)),
			strconv.FormatUint(s.Sent, 10), strconv.FormatUint(s.Received, 10),
		}
		if told {
			row = slices.Insert(row, 2, s.Listener.Service().Name)
		}
		if named {
			row = append(row, name)
		}
		return row
	}
	head := []string{"id", "client", "GRP", "channel", "state", "age", "idle", "sent", "rcvd"}
	if told {
		head = slices.Insert(head, 2, "listener")
	}
	if named {
		head = append(head, "name")
	}
	widths := make([]int, len(head))
	widen(widths, head)
	for i := range found {
		widen(widths, cells(&found[i]))
	}
	return func(yield func(string) bool) {
		if !yield(align(widths, head)) {
			return
		}
		for i := range found {
			if !yield(align(widths, cells(&found[i]))) {
				return
			}
		}
		if more := total - len(found); more > 0 {
			yield(fmt.Sprintf("and %d more", more))
		}
	}
}

// sessionsJSON returns a SessionsReport, a line for each session.
func sessionsJSON(found []plane.Session, total int) iter.Seq[string] {
	now := time.Now()
	return func(yield func(string) bool) {
		if !yield(fmt.Sprintf(`{"total":%d,"sessions":[`, total)) {
			return
		}
		for i := range found {
			channel, comma := "", ","
			if s := &found[i]; s.Channel != nil {
				channel = s.Channel.Key().String()
			}
			if i == len(found)-1 {
				comma = ""
			}
			text, err := json.Marshal(ReportSession(&found[i], channel, now))
			if err != nil {
				panic(err) // there is nothing in it that cannot be encoded
			}
			if !yield(string(text) + comma) {
				return
			}
		}
		yield("]}")
	}
}

func seconds(d time.Duration) string { return max(d, 0).Truncate(time.Second).String() }

// filter returns which sessions of which listeners a text stands for: channels, or
// the address or network of a client.
func (c *conversation) filter(text string) (matches func(*plane.Session) bool, problem string) {
	if match, ok := ofClient(text); ok {
		if _, isPort := netip.ParseAddrPort(text); isPort != nil {
			return match, ""
		}
	}
	chosen, err := c.match(c.daemon.Engine.Snapshot().Listeners, text)
	if err == nil {
		return func(s *plane.Session) bool {
			return slices.ContainsFunc(chosen, func(ch choice) bool {
				return s.Listener.Service().Name == ch.listener && onChannel(ch.Key)(s)
			})
		}, ""
	}
	if match, ok := ofClient(text); ok {
		return match, ""
	}
	if wrong := err.(mischoice); !wrong.unknown {
		return nil, wrong.text
	}
	_, hint, _ := strings.Cut(err.Error(), ": ")
	return nil, strings.TrimSuffix(fmt.Sprintf("%q is neither a channel nor the address of a client: %s", text, hint), ": ")
}

// ofClient returns which sessions are those of clients with an address, with an
// address and a port, or in a network.
func ofClient(text string) (matches func(*plane.Session) bool, ok bool) {
	if network, err := netip.ParsePrefix(text); err == nil {
		if inside := network.Bits() - 96; network.Addr().Is4In6() && inside >= 0 { // the address of a client is never so
			network = netip.PrefixFrom(network.Addr().Unmap(), inside)
		}
		return func(s *plane.Session) bool { return network.Contains(s.Client.Addr().WithZone("")) }, true
	}
	if addr, err := netip.ParseAddr(text); err == nil {
		return func(s *plane.Session) bool {
			return s.Client.Addr() == addr.Unmap() || s.Client.Addr().WithZone("") == addr
		}, true
	}
	if client, err := netip.ParseAddrPort(text); err == nil {
		return func(s *plane.Session) bool { return s.Client == client }, true
	}
	return nil, false
}

func onChannel(key balancer.Key) func(*plane.Session) bool {
	return func(s *plane.Session) bool { return s.Channel != nil && s.Channel.Key() == key }
}
