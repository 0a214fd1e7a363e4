package control

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"balance/engine/spec"
)

// Configuration is one that came into force.
type Configuration struct {
	Number  int       `json:"number"` // counts from 1, through restarts
	Time    time.Time `json:"time"`
	By      string    `json:"by"`  // who asked for it; printable
	Why     string    `json:"why"` // what was done; printable
	Changes int       `json:"changes"`
	InForce bool      `json:"in_force"`
}

// Comparison is how a configuration compares with others.
type Comparison struct {
	Configuration
	// Before is the number of the one before, 0 if that is not kept, and Changed
	// how this one differs from that.
	Before  int          `json:"before"`
	Changed spec.Changes `json:"changed"`
	// Rollback is what would change if this one came into force now.
	Rollback spec.Changes `json:"rollback"`
}

// Rollback is what came of putting a configuration in force again.
type Rollback struct {
	To      int // its number
	Number  int // that it has now
	Changes spec.Changes
	Backup  string // of the file that was written over; empty if it was not written
}

// Unconfirmed is a change that is undone unless somebody confirms it.
type Unconfirmed struct {
	Number int       `json:"change"`  // of the configuration in force
	Back   int       `json:"back_to"` // of the one that comes back
	By     string    `json:"by"`
	Why    string    `json:"why"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

// String says what becomes of the change, and when.
func (u Unconfirmed) String() string {
	return fmt.Sprintf("change %d (%s, by %s) is undone at %s, in %s, unless it is confirmed",
		u.Number, u.Why, u.By, clock(u.Until, time.Now()), max(time.Until(u.Until), 0).Round(time.Second))
}

// MaxConfirm is the longest time that "apply" gives for a confirmation; the least
// is a second.
const MaxConfirm = 24 * time.Hour

func (c *conversation) history(args []string) Status {
	number, args, ok := numberIn(args)
	asJSON := slices.Equal(args, []string{"-json"})
	switch {
	case !ok || len(args) > 0 && !asJSON:
		return c.misused("a number of a configuration, from 1, and -json are all that may be said")
	case number == 0 && asJSON:
		return c.sayJSON(c.daemon.History())
	case number == 0:
		c.reply.add(historyTable(c.daemon.History(), time.Now())...)
		return OK
	}
	found, err := c.daemon.Compare(number)
	switch {
	case err != nil:
		return c.failed(err)
	case asJSON:
		return c.sayJSON(found)
	}
	c.reply.add(historyTable([]Configuration{found.Configuration}, time.Now())...)
	if found.Before > 0 {
		c.say("what changed from %d to %d:", found.Before, number)
		c.sayText(orNothing(found.Changed))
	}
	if !found.InForce {
		c.say("what rollback %d would change now:", number)
		c.sayText(orNothing(found.Rollback))
	}
	return OK
}

func orNothing(changes spec.Changes) string {
	if len(changes) == 0 {
		return "nothing"
	}
	return changes.String()
}

// numberIn takes the one argument that may be a number of a configuration out of
// the others. It is 0 if there is none.
func numberIn(args []string) (number int, others []string, ok bool) {
	for _, arg := range args {
		if strings.HasPrefix(arg, "-") {
			others = append(others, arg)
			continue
		}
		n, err := strconv.Atoi(arg)
		if err != nil || n < 1 || number != 0 {
			return 0, nil, false
		}
		number = n
	}
	return number, others, true
}

func historyTable(list []Configuration, now time.Time) []string {
	rows := [][]string{{"", "#", "since", "changes"}}
	words := []string{"what, by whom"}
	for _, one := range list {
		mark := ""
		if one.InForce {
			mark = "*"
		}
		rows = append(rows, []string{mark, strconv.Itoa(one.Number), clock(one.Time, now), strconv.Itoa(one.Changes)})
		words = append(words, fmt.Sprintf("%s, by %s", one.Why, one.By))
	}
	lines := table(rows, make([]int, len(rows[0])))
	for i := range lines {
		lines[i] += "  " + words[i]
	}
	return lines
}

func (c *conversation) rollback(args []string) Status {
	number, args, ok := numberIn(args)
	write := slices.Equal(args, []string{"-write"})
	if !ok || len(args) > 0 && !write {
		return c.misused("a number of a configuration, from 1, and -write are all that may be said")
	}
	done, err := c.daemon.Rollback(c.by(), number, write)
	if err != nil {
		return c.failed(err)
	}
	c.sayText(done.Changes.String())
	switch {
	case len(done.Changes) > 0:
		c.say("rolled back to %d, which is now %d", done.To, done.Number)
	default:
		c.say("%d is in force: nothing changes", done.To)
	}
	switch {
	case done.Backup != "":
		c.say("%s says so, too; what it said before is in %s", c.daemon.File, done.Backup)
	case c.differs():
		c.say("%s", c.daemon.fileDiffers())
		c.say("until it is edited, or \"rollback %d -write\" writes to it what is in force", done.Number)
	}
	return OK
}

// differs reports whether the file says something else than what is in force.
func (c *conversation) differs() bool {
	return c.daemon.FileDiffers != nil && c.daemon.FileDiffers()
}

// fileDiffers is the sentence that says so.
func (d *Daemon) fileDiffers() string {
	return fmt.Sprintf("%s differs from what is in force: a reload or a restart brings back what it says", d.File)
}

var errNotSent = errors.New("no file was sent: the client does so, as balance -c 'apply FILE' does")

// owns reports whether the client is root or the user of the daemon, for sure: where
// the system does not tell who connects, others may have been let in.
func (c *conversation) owns() bool {
	return c.role() == owner && (c.client.known || !c.server.access.Load().shared())
}

// apply puts in force what the client has sent. The daemon opens no file: it may
// be allowed to read more than the client. It is for owners alone, since a
// configuration names programs that the daemon runs, and files that it reads.
func (c *conversation) apply(args []string) Status {
	if !c.owns() {
		return c.fail(errDenied)
	}
	data := c.sent
	c.forget()
	var within time.Duration
	if len(args) > 1 {
		var err error
		if len(args) != 3 || args[1] != "confirm" {
			return c.misused("behind FILE confirm and a time may stand")
		}
		if within, err = time.ParseDuration(args[2]); err != nil || within < time.Second || within > MaxConfirm {
			return c.fail("%q is not a time from \"1s\" to \"24h\"", args[2])
		}
	}
	if data == nil {
		return c.failed(errNotSent)
	}
	changes, err := c.daemon.Apply(c.by(), printable(args[0]), data, within)
	if err != nil {
		return c.failed(err)
	}
	c.sayText(changes.String())
	if len(changes) == 0 {
		c.say("it says what is in force: nothing changes")
		return OK
	}
	c.say("applied, generation %d", c.daemon.Engine.Snapshot().Generation)
	c.sayUnconfirmed()
	if c.differs() {
		c.say("%s", c.daemon.fileDiffers())
	}
	return OK
}

// sayUnconfirmed tells of a change that waits to be confirmed.
func (c *conversation) sayUnconfirmed() {
	if c.daemon.Unconfirmed == nil {
		return
	}
	if waiting := c.daemon.Unconfirmed(); waiting != nil {
		c.say("%s", waiting)
	}
}

func (c *conversation) confirm([]string) Status {
	number, err := c.daemon.Confirm(c.by())
	if err != nil {
		return c.failed(err)
	}
	c.say("change %d confirmed", number)
	if c.differs() {
		c.say("%s", c.daemon.fileDiffers())
	}
	return OK
}

// MaxSent is the size of the largest file that a client may send, in bytes.
const MaxSent = 1 << 20

// piece adds a piece, in base64, to the file that the client sends. What is sent
// counts as what an answer holds, until apply takes it.
func (c *conversation) piece(args []string) Status {
	data, err := base64.StdEncoding.DecodeString(args[0])
	switch {
	case err != nil:
		return c.misused("what was sent is not base64")
	case len(c.sent)+len(data) > MaxSent:
		c.forget()
		return c.fail("a file has at most %d bytes", MaxSent)
	}
	if need := len(c.sent) + len(data); c.sent == nil || need > cap(c.sent) {
		grown := min(max(need, 2*cap(c.sent), 16<<10), MaxSent)
		if c.room == nil {
			c.room = c.reply.room // of the role that it had when it began
		}
		if !c.room.take(c.client.uid, c.reply.most, grown-cap(c.sent)) {
			c.forget()
			return c.fail(errBusy)
		}
		c.sent = append(make([]byte, 0, grown), c.sent...)
	}
	c.sent = append(c.sent, data...)
	return OK
}

// forget drops what the client has sent.
func (c *conversation) forget() {
	if c.sent != nil {
		c.room.give(c.client.uid, cap(c.sent))
		c.sent, c.room = nil, nil
	}
}
