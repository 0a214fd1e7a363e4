package control

import (
	"fmt"
	"strconv"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/plane"
)

// maxWaiting is how many clients queue lists at most.
const maxWaiting = 1000

// queue shows who waits, since when and for what.
func (c *conversation) queue([]string) Status {
	l, ok := c.current()
	if !ok {
		return Failed
	}
	waiting, err := c.daemon.Engine.Waiting(l.Name, maxWaiting)
	if err != nil {
		return c.failed(err)
	}
	c.say("%d of at most %d", l.Waiting, l.Queue)
	if len(waiting) == 0 {
		return OK
	}
	c.reply.add(queueTable(waiting, time.Now())...)
	if more := l.Waiting - len(waiting); more > 0 && len(waiting) == maxWaiting {
		c.say("and %d more", more)
	}
	return OK
}

// queueTable returns the lines of queue about those who wait.
func queueTable(waiting []engine.Waiting, now time.Time) []string {
	rows := [][]string{{"#", "client", "for", "since", "channel"}}
	for i, w := range waiting {
		rows = append(rows, append([]string{strconv.Itoa(i + 1), plane.ClientText(w.Client)}, append(since(w.Since, now), wanted(w.For))...))
	}
	return table(rows, make([]int, len(rows[0])))
}

// wanted tells which channels would do.
func wanted(channels []*balancer.Channel) string {
	switch n := len(channels); n {
	case 0:
		return "none is up"
	case 1:
		return titled(channels[0].Key().String(), channels[0].Name())
	default:
		return fmt.Sprintf("%s or %d more", titled(channels[0].Key().String(), channels[0].Name()), n-1)
	}
}
