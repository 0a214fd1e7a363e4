package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"balance/engine"
	"balance/engine/balancer"
)

// columns are the least widths of the columns of show.
var columns = []int{3, 4, 2, 3, 16, 5, 4, 11, 4, 11, 11}

// table returns rows with their columns right-aligned, one blank between.
func table(rows [][]string, least []int) []string {
	widths := append([]int(nil), least...)
	for _, row := range rows {
		widen(widths, row)
	}
	var lines []string
	for _, row := range rows {
		lines = append(lines, align(widths, row))
	}
	return lines
}

// widen makes the widths fit a row.
func widen(widths []int, row []string) {
	for i, cell := range row {
		widths[i] = max(widths[i], utf8.RuneCountInString(cell))
	}
}

// align returns the line of a row.
func align(widths []int, row []string) string {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%*s", widths[i], cell)
	}
	return strings.TrimRight(b.String(), " ")
}

// Table returns the lines of show about a listener; long ones have more columns,
// and names one of their own at the end.
func Table(l engine.ListenerStatus, long bool) []string {
	return channelTable([]engine.ListenerStatus{l}, false, long)
}

// channelTable is Table of several listeners, which may be told in a column of
// their own.
func channelTable(listeners []engine.ListenerStatus, told, long bool) []string {
	head := []string{"GRP", "Type", "#", "S", "ip-address", "port", "c", "totalc", "maxc", "sent", "rcvd"}
	least := slices.Clone(columns)
	if told {
		head, least = slices.Insert(head, 0, "listener"), slices.Insert(least, 0, 0)
	}
	if long {
		head = append(head, "weight", "share")
	}
	named := isNamed(listeners...)
	if named {
		head = append(head, "name")
	}
	rows := [][]string{head}
	for _, l := range listeners {
		for g, group := range l.Groups {
			for i, ch := range group.Channels {
				row := []string{
					strconv.Itoa(g), typeOf(group.Mode), strconv.Itoa(i), stateOf(ch),
					addressOf(ch), strconv.Itoa(int(ch.Key.Port)),
					strconv.Itoa(ch.Active), strconv.FormatUint(ch.Sessions, 10), strconv.Itoa(ch.Limit),
					strconv.FormatUint(ch.Sent, 10), strconv.FormatUint(ch.Received, 10),
				}
				if told {
					row = slices.Insert(row, 0, l.Name)
				}
				if long {
					row = append(row, strconv.Itoa(ch.Weight), fmt.Sprintf("%.0f%%", group.Share(&ch)))
				}
				if named {
					row = append(row, ch.Name)
				}
				rows = append(rows, row)
			}
		}
	}
	return table(rows, append(least, make([]int, len(head)-len(least))...))
}

// isNamed reports whether any channel has a name: where none has, the tables are as
// ever.
func isNamed(listeners ...engine.ListenerStatus) bool {
	for _, l := range listeners {
		for _, g := range l.Groups {
			if slices.ContainsFunc(g.Channels, func(ch engine.ChannelStatus) bool { return ch.Name != "" }) {
				return true
			}
		}
	}
	return false
}

// titled returns a channel by its address, with its name if it has one.
func titled(key, name string) string {
	if name == "" {
		return key
	}
	return fmt.Sprintf("%s (%s)", key, name)
}

// types are the modes as the column Type has them.
var types = map[balancer.Mode]string{
	balancer.RoundRobin: "RR", balancer.Hash: "Hash", balancer.LeastConn: "LC", balancer.Random: "Rnd", balancer.First: "1st",
}

func typeOf(mode balancer.Mode) string { return cmp.Or(types[mode], "?") }

// stateOf is the S of show. Without checks and holding off, it is as ever.
func stateOf(ch engine.ChannelStatus) string {
	switch {
	case ch.State == balancer.StateDraining:
		return "drn"
	case ch.State == balancer.StateDown:
		return "dwn"
	case ch.State == balancer.StateHeld:
		return "hld"
	case ch.State.Enabled():
		return "ENA"
	default:
		return "dis"
	}
}

// addressOf is the address that is tried first, or the name that has none.
func addressOf(ch engine.ChannelStatus) string {
	if len(ch.Addresses) > 0 && ch.Addresses[0].IsValid() {
		return ch.Addresses[0].Addr().String()
	}
	return ch.Key.Host
}

func (c *conversation) show(args []string) Status {
	args, long := option(args, "-l")
	args, asJSON := option(args, "-json")
	listeners, status := c.chooseListeners(args)
	switch {
	case status != OK:
		return status
	case asJSON:
		return c.sayListeners(listeners)
	}
	told := len(listeners) > 1 || len(args) > 0 && args[0] == "all"
	c.reply.add(channelTable(listeners, told, long)...)
	return OK
}

// chooseListeners returns the listeners that words stand for, by name or pattern:
// all of them, or the current one if there are no words.
func (c *conversation) chooseListeners(words []string) ([]engine.ListenerStatus, Status) {
	if len(words) == 0 {
		l, ok := c.current()
		if !ok {
			return nil, Failed
		}
		return []engine.ListenerStatus{l}, OK
	}
	listeners := c.daemon.Engine.Snapshot().Listeners
	if words[0] == "all" {
		words = slices.Replace(slices.Clone(words), 0, 1, "*")
	}
	var chosen []engine.ListenerStatus
	for _, word := range words {
		found := pickListeners(listeners, word)
		if len(found) == 0 {
			return nil, c.misused("%s", noListener(listeners, word, "all"))
		}
		for _, l := range found {
			if !slices.ContainsFunc(chosen, func(other engine.ListenerStatus) bool { return other.Name == l.Name }) {
				chosen = append(chosen, l)
			}
		}
	}
	return chosen, OK
}

// sayListeners answers listeners as JSON.
func (c *conversation) sayListeners(listeners []engine.ListenerStatus) Status {
	report := ListenersReport{Listeners: []ListenerReport{}}
	for i := range listeners {
		report.Listeners = append(report.Listeners, ReportListener(&listeners[i]))
	}
	return c.sayJSON(report)
}

// sayJSON answers a value that can always be encoded.
func (c *conversation) sayJSON(value any) Status {
	text, err := json.Marshal(value)
	if err != nil {
		return c.failed(err)
	}
	c.say("%s", text)
	return OK
}

// watch shows once: it is the shell that asks again.
func (c *conversation) watch(args []string) Status {
	if _, ok := Interval(args); !ok {
		return c.misused("%.60q is not a number of seconds, 0.1 to 86400", args[0])
	}
	return c.show(nil)
}

// Interval returns the time that the arguments of watch stand for; 2 seconds
// without any.
func Interval(args []string) (time.Duration, bool) {
	if len(args) == 0 {
		return 2 * time.Second, true
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil || len(args) > 1 || !(seconds >= 0.1 && seconds <= 86400) {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}

func (c *conversation) listeners(args []string) Status {
	args, asJSON := option(args, "-json")
	if len(args) > 0 {
		return c.misused("%.60q is not -json", args[0])
	}
	if asJSON {
		return c.sayListeners(c.daemon.Engine.Snapshot().Listeners)
	}
	rows := [][]string{{"", "name", "channels", "up", "c", "accepted", "refused", "rejected", "address"}}
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		mark := ""
		if l.Name == c.listener {
			mark = "*"
		}
		rows = append(rows, append([]string{mark}, listenerRow(&l)...))
	}
	c.reply.add(table(rows, make([]int, len(rows[0])))...)
	return OK
}

// listenerRow is what listeners tells of a listener.
func listenerRow(l *engine.ListenerStatus) []string {
	channels, up, active, refused := 0, 0, 0, uint64(0)
	for _, n := range l.Refused {
		refused += n
	}
	for _, g := range l.Groups {
		channels += len(g.Channels)
		for _, ch := range g.Channels {
			active += ch.Active
			if ch.State.Up() {
				up++
			}
		}
	}
	return []string{l.Name, strconv.Itoa(channels), strconv.Itoa(up), strconv.Itoa(active),
		strconv.FormatUint(l.Accepted, 10), strconv.FormatUint(refused, 10), strconv.FormatUint(l.Rejected, 10), strings.Join(addressesOf(*l), " ")}
}

func addressesOf(l engine.ListenerStatus) []string {
	var list []string
	for _, addr := range l.Addresses {
		list = append(list, addr.String())
	}
	return list
}

func (c *conversation) chooseListener(args []string) Status {
	listeners := c.daemon.Engine.Snapshot().Listeners
	for _, l := range listeners {
		if l.Name == args[0] {
			c.listener, c.group = l.Name, 0
			return OK
		}
	}
	return c.fail("%s", noListener(listeners, args[0]))
}

func (c *conversation) identify([]string) Status {
	identity := Identity{Version: c.daemon.Version, PID: os.Getpid(), Started: c.daemon.Started, File: c.daemon.File}
	declared := map[string][]string{}
	if config := c.daemon.Engine.Config(); config != nil {
		for _, l := range config.Listeners {
			declared[l.Name] = l.Listen
		}
	}
	for _, l := range c.daemon.Engine.Snapshot().Listeners {
		identity.Listeners = append(identity.Listeners, Listener{Name: l.Name, Listen: declared[l.Name], Addresses: addressesOf(l)})
	}
	text, err := json.Marshal(identity)
	if err != nil {
		return c.failed(err)
	}
	c.say("%s", text)
	return OK
}
