package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"balance/engine"
	"balance/engine/balancer"
	"balance/engine/spec"
)

func (c *conversation) quit([]string) Status {
	c.over = true
	return OK
}

// kill answers when the daemon has come to its end, all but this server.
func (c *conversation) kill([]string) Status {
	c.over = true
	c.did("", balancer.Key{}, "the daemon ends")
	c.daemon.Stop()
	<-c.server.stopped
	c.say("shutdown complete, exiting.")
	return OK
}

// version names the limits too, which scripts look for: groups and channels
// are counted in 31 bits.
func (c *conversation) version([]string) Status {
	c.say("This is balance %s", c.daemon.Version)
	c.say("MAXGROUPS=%d", math.MaxInt32)
	c.say("MAXCHANNELS=%d", math.MaxInt32)
	return OK
}

// chooseGroup takes the number after the last group too, which create makes.
func (c *conversation) chooseGroup(args []string) Status {
	number, err := strconv.Atoi(args[0])
	if err != nil {
		return c.misused("%.60q is not the number of a group", args[0])
	}
	l, ok := c.current()
	if !ok {
		return Failed
	}
	if number < 0 || number > len(l.Groups) {
		return c.fail("value out of range")
	}
	c.group = number
	return OK
}

// The faults that edits answer.
var (
	errNoListener = errors.New("the listener is gone")
	errNoGroup    = errors.New("unknown group")
	errNoChannel  = errors.New("unknown channel")
	errAddress    = errors.New("invalid address")
	errEnabled    = errors.New("channel must be disabled to assign new address")
)

// edit changes the current listener in the configuration in force.
func (c *conversation) edit(change func(*spec.Listener) error) error {
	changes, err := c.daemon.Engine.Edit(context.Background(), func(config *spec.Config) error {
		for i := range config.Listeners {
			if l := &config.Listeners[i]; l.Name == c.listener {
				return change(l)
			}
		}
		return errNoListener
	})
	if err == nil {
		c.edited(changes)
	}
	return err
}

// editGroup changes the current group.
func (c *conversation) editGroup(change func(*spec.Group) error) error {
	return c.edit(func(l *spec.Listener) error {
		if c.group >= len(l.Groups) {
			return errNoGroup
		}
		return change(&l.Groups[c.group])
	})
}

// editChannels changes all of the channels, or none.
func (c *conversation) editChannels(chosen []choice, change func(*spec.Channel) error) error {
	var channels []engine.ChannelAt
	for _, ch := range chosen {
		channels = append(channels, engine.ChannelAt{Listener: ch.listener, Key: ch.Key})
	}
	changes, err := c.daemon.Engine.EditChannels(context.Background(), channels, change)
	switch {
	case errors.Is(err, engine.ErrNoChannel):
		return errNoChannel
	case err == nil:
		c.edited(changes)
	}
	return err
}

// answer says the text, or the error if there is one.
func (c *conversation) answer(err error, format string, args ...any) Status {
	if err != nil {
		return c.failed(err)
	}
	c.say(format, args...)
	return OK
}

// address returns the channel that HOST PORT stand for. The host must resolve
// now: there is an operator who can be told.
func (c *conversation) address(host, port string) (spec.Channel, error) {
	if inside, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inside, "]")
	}
	number, err := spec.ParsePort(port, 1)
	if err != nil {
		return spec.Channel{}, errAddress
	}
	if !spec.ValidHost(host) {
		return spec.Channel{}, errAddress
	}
	if addrs, err := c.daemon.Engine.Lookup(context.Background(), host); err != nil || len(addrs) == 0 {
		return spec.Channel{}, errAddress
	}
	return spec.Channel{Host: host, Port: number, Disabled: true}, nil
}

func (c *conversation) create(args []string) Status {
	channel, err := c.address(args[0], args[1])
	if err == nil {
		err = c.edit(func(l *spec.Listener) error {
			if c.group > len(l.Groups) {
				return errNoGroup
			}
			if c.group == len(l.Groups) {
				l.Groups = append(l.Groups, spec.Group{Check: l.Groups[len(l.Groups)-1].Check})
			}
			group := &l.Groups[c.group]
			group.Channels = append(group.Channels, channel)
			return nil
		})
	}
	return c.answer(err, "channel created")
}

func (c *conversation) assign(args []string) Status {
	chosen, status := c.choose(errNoChannel.Error(), args[0])
	if status != OK {
		return status
	}
	channel, err := c.address(args[1], args[2])
	switch {
	case err != nil:
		return c.failed(err)
	case len(chosen) > 1:
		return c.misused("%q is more than one channel, which cannot have one address", args[0])
	case chosen[0].State.Enabled():
		return c.failed(errEnabled)
	}
	err = c.editChannels(chosen, func(old *spec.Channel) error {
		channel.Name, channel.MaxConns, channel.Weight = old.Name, old.MaxConns, old.Weight
		*old = channel
		return nil
	})
	return c.answer(err, "channel reassigned")
}

func (c *conversation) enable(args []string) Status  { return c.setEnabled(args, true, "enabled") }
func (c *conversation) disable(args []string) Status { return c.setEnabled(args, false, "disabled") }

func (c *conversation) setEnabled(args []string, enable bool, word string) Status {
	return c.each(args, func(ch choice) error {
		changed, err := c.daemon.Engine.Enable(ch.listener, ch.Key, enable)
		switch {
		case err != nil:
			return err
		case changed:
			c.did(ch.listener, ch.Key, "%s → %s", ch.State, word)
			c.say("channel %s %s", ch.words, word)
		default:
			c.did(ch.listener, ch.Key, "already %s", word)
			c.say("channel %s already %s", ch.words, word)
		}
		return nil
	})
}

func (c *conversation) reset(args []string) Status {
	return c.each(args, func(ch choice) error {
		if err := c.daemon.Engine.Reset(ch.listener, ch.Key); err != nil {
			return err
		}
		c.did(ch.listener, ch.Key, "sessions %d → 0, sent %d → 0, received %d → 0", ch.Sessions, ch.Sent, ch.Received)
		c.say("channel %s counters reset", ch.words)
		return nil
	})
}

func (c *conversation) maxc(args []string) Status {
	return c.setNumber("maxc", args, spec.MaxMaxConns, func(channel *spec.Channel, limit int) { channel.MaxConns = limit })
}

func (c *conversation) weight(args []string) Status {
	return c.setNumber("weight", args, balancer.MaxWeight, func(channel *spec.Channel, weight int) { channel.Weight = spec.WeightOf(weight) })
}

// setNumber sets a setting of channels to the number that comes last.
func (c *conversation) setNumber(what string, args []string, most int64, set func(*spec.Channel, int)) Status {
	last := len(args) - 1
	number, err := strconv.Atoi(args[last])
	if err != nil {
		return c.misused("%.60q is not a number", args[last])
	}
	if number < 0 || int64(number) > most {
		return c.fail("value out of range")
	}
	chosen, status := c.choose(errNoChannel.Error(), args[:last]...)
	if status != OK {
		return status
	}
	err = c.editChannels(chosen, func(channel *spec.Channel) error {
		set(channel, number)
		return nil
	})
	if err != nil {
		return c.failed(err)
	}
	for _, ch := range chosen {
		c.say("%s of channel %s changed to %d", what, ch.words, number)
	}
	return OK
}

func (c *conversation) mode(args []string) Status {
	var mode balancer.Mode
	if err := mode.UnmarshalText([]byte(args[0])); err != nil {
		return c.failed(err)
	}
	return c.setMode(mode, mode.String())
}

func (c *conversation) hash([]string) Status { return c.setMode(balancer.Hash, "hash") }

func (c *conversation) roundRobin([]string) Status {
	return c.setMode(balancer.RoundRobin, "round robin")
}

func (c *conversation) setMode(mode balancer.Mode, word string) Status {
	err := c.editGroup(func(group *spec.Group) error {
		group.Mode = mode
		return nil
	})
	return c.answer(err, "group %d set to %s", c.group, word)
}

func (c *conversation) mrtgBytes(args []string) Status { return c.mrtg("mrtg-bytes", args) }
func (c *conversation) mrtgConns(args []string) Status { return c.mrtg("mrtg-conns", args) }

func (c *conversation) mrtg(name string, args []string) Status {
	l, ok := c.current()
	if !ok {
		return Failed
	}
	lines, status := mrtg(l, name, args)
	if status == Misused {
		return c.misused("%.60q and %.60q are not two numbers", args[0], args[1])
	}
	c.reply.add(lines...)
	return status
}

// mrtg returns the four lines that MRTG reads: two values, the uptime and the
// name of what is measured (mrtg-reference(1), "External Monitoring Scripts").
func mrtg(l engine.ListenerStatus, name string, args []string) ([]string, Status) {
	group, err1 := strconv.Atoi(args[0])
	number, err2 := strconv.Atoi(args[1])
	switch {
	case err1 != nil || err2 != nil:
		return []string{"syntax error"}, Misused
	case group < 0 || group >= len(l.Groups):
		return []string{errNoGroup.Error()}, Failed
	case number < 0 || number >= len(l.Groups[group].Channels):
		return []string{errNoChannel.Error()}, Failed
	}
	ch := l.Groups[group].Channels[number]
	in, out := strconv.FormatUint(ch.Received, 10), strconv.FormatUint(ch.Sent, 10)
	if name == "mrtg-conns" {
		in, out = strconv.FormatUint(ch.Sessions, 10), "UNKNOWN"
	}
	return []string{in, out, "UNKNOWN", fmt.Sprintf("group %d channel %d", group, number)}, OK
}
