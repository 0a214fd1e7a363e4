package control

import (
	"context"
	"fmt"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
	"balance/patience"
)

// acts reports whether the command changes something. Members alone may say
// more than that: what readers are not to see.
func (c command) acts() bool {
	return c.may >= member && !slices.Contains([]string{"config", "diff", "history", "piece"}, c.name)
}

// audit is what the log is to know of a request.
type audit struct {
	command command
	problem string // that was answered, the first
	told    bool   // somebody else tells of it
}

// did notes what the command did to a channel of a listener; the zero key stands
// for all of it, and no listener for the daemon.
func (c *conversation) did(listener string, key balancer.Key, format string, args ...any) {
	act := engine.Act{By: c.actor(), What: c.audit.command.name, Listener: listener, Change: fmt.Sprintf(format, args...)}
	if key != (balancer.Key{}) {
		act.Channel, act.Name = key.String(), c.daemon.Engine.NameOf(listener, key)
	}
	c.daemon.Engine.Note(act)
}

// edited notes what an edit changed, of each listener.
func (c *conversation) edited(changes spec.Changes) {
	if len(changes) == 0 {
		c.did(c.listener, balancer.Key{}, "nothing")
	}
	for len(changes) > 0 {
		listener := changes[0].Listener
		n := slices.IndexFunc(changes, func(other spec.Change) bool { return other.Listener != listener })
		if n < 0 {
			n = len(changes)
		}
		c.editedOf(listener, changes[:n])
		changes = changes[n:]
	}
}

func (c *conversation) editedOf(listener string, changes spec.Changes) {
	key := changes[0].ChannelKey
	if slices.ContainsFunc(changes, func(other spec.Change) bool { return other.ChannelKey != key }) {
		key = balancer.Key{}
	}
	var texts []string
	for _, change := range changes {
		change.Listener, change.Sessions = "", 0
		if key != (balancer.Key{}) {
			change.Group, change.Channel = nil, ""
		}
		texts = append(texts, changeText(change))
	}
	c.did(listener, key, "%s", strings.Join(texts, "; "))
}

// changeText is a change without the sign of one that is neither added nor removed.
func changeText(change spec.Change) string { return strings.TrimPrefix(change.String(), "~ ") }

// missed notes that what a request asked for did not come about.
func (c *conversation) missed(request string) {
	if !c.audit.command.acts() || c.audit.told {
		return
	}
	note, untold := c.server.misses.take(time.Now())
	if !note {
		return
	}
	c.daemon.Engine.Note(engine.Act{
		By: c.actor(), What: c.audit.command.name, Listener: c.listener,
		Err: c.audit.problem, Request: strings.TrimSpace(request), Untold: untold,
	})
}

// missesPerSecond is how many are noted: who may do nothing is not to fill the
// log either.
const missesPerSecond = 10

// misses bounds what is noted of requests that were of no avail.
type misses struct {
	mu     sync.Mutex
	second int64 // guarded by mu, as all; of the last that was noted
	noted  int   // in it
	untold int   // since it
}

// take reports whether one more is to be noted, and how many were not.
func (m *misses) take(now time.Time) (note bool, untold int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if second := now.Unix(); second != m.second {
		m.second, m.noted = second, 0
	}
	if m.noted == missesPerSecond {
		m.untold++
		return false, 0
	}
	m.noted++
	untold, m.untold = m.untold, 0
	return true, untold
}

// userPatience is for the database of users, which may be on the network
// (nsswitch.conf(5)).
var userPatience = patience.New(time.Second, 4)

// by returns who the client is, for somebody who tells the log of what comes of
// the request himself.
func (c *conversation) by() engine.Actor {
	c.audit.told = true
	return c.actor()
}

// actor returns who the client is. The name of the user is looked up once; one
// that cannot be had in a second is left out.
func (c *conversation) actor() engine.Actor {
	if c.who.Door == "" {
		c.who = actorOf(c.client, userName)
	}
	return c.who
}

func actorOf(client credentials, name func(uid int) (string, error)) engine.Actor {
	actor := engine.Actor{UID: -1, Door: "control"}
	if client.known {
		actor.UID = client.uid
		found, err := patience.Within(context.Background(), userPatience, func() (string, error) { return name(client.uid) })
		if err == nil {
			actor.Name = printable(found)
		}
	}
	return actor
}

func userName(uid int) (string, error) {
	found, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "", err
	}
	return found.Username, nil
}
