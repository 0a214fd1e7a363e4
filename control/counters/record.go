package counters

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"net/netip"

	"balance/engine"
	"balance/engine/balancer"
)

// Record is what a file tells about a channel.
type Record struct {
	Listener string
	Listen   string // addresses of the listener, separated by blanks, as far as there is room
	Key      balancer.Key
	Address  netip.Addr // that is dialled; the zero Addr if there is none

	// Group and Number are where the channel stands in its listener; Group is
	// -1 if it is in no configuration any more.
	Group, Number int
	Mode          balancer.Mode
	State         State
	Active, Limit int

	Sessions, Failures, Sent, Received uint64

	Observed engine.Observation // its reasons as far as there is room
}

// State is as much of the state of a channel as a file tells.
type State int

// The states, as they stand in a file.
const (
	Disabled State = iota
	Enabled
	Draining
)

func stateOf(channel *balancer.Channel) State {
	switch {
	case channel.Draining():
		return Draining
	case channel.Enabled():
		return Enabled
	}
	return Disabled
}

// ChannelState returns the state of the channel, as far as the file tells. One
// that is not known counts as disabled.
func (r *Record) ChannelState() balancer.State {
	switch r.State {
	case Draining:
		return balancer.StateDraining
	case Enabled:
		return balancer.StateUp
	}
	return balancer.StateDisabled
}

// nowhere is the Group of a channel that is in no configuration any more.
const nowhere = -1

// The layout of a record. All numbers are in the byte order of the machine. A
// text is its length in one byte, or two in Listen, and its bytes. What is not
// used is zero, and a record of nothing but zeros is free.
//
// A write of a record can be cut in two: by a machine that stops, at the
// sectors or pages of a disk, and for a reader, who may come between. The
// checksum tells.
const (
	atSessions = 0 // uint64, as the next
	atFailures = 8
	atSent     = 16
	atReceived = 24
	atTaken    = 64 // int32, as the next; 1
	atGroup    = 68
	atNumber   = 72
	atMode     = 76
	atState    = 80
	atPort     = 84
	atNth      = 88
	atActive   = 96 // uint64, as the next
	atLimit    = 104
	atListener = 128
	atHost     = 384
	atAddress  = 640
	atListen   = 704
	atObserved = 832 // in version 1 and 2 part of Listen, as all of the next
	atCheck    = 832 // uint64
	atHealth   = 840 // int64 since 1970, as the next
	atFailing  = 848
	atHeld     = 856
	atWord     = 864 // int32: balancer.Health
	atRow      = 868 // int32
	atWhyDown  = 872
	atWhyFails = 944
	atSum      = 1020 // uint32: CRC-32 (IEEE) of all before it; in version 1 part of Listen

	RecordSize = 1024
)

// fits reports whether there is room for what identifies the channel.
func (id identity) fits() bool {
	return len(id.listener) < atHost-atListener && len(id.key.Host) < atAddress-atHost
}

// encode writes a record, whose identity fits, to RecordSize bytes.
func (r *Record) encode(data []byte) {
	clear(data)
	if *r == (Record{}) {
		return
	}
	big := func(at int, n uint64) { binary.NativeEndian.PutUint64(data[at:], n) }
	number := func(at, n int) { binary.NativeEndian.PutUint32(data[at:], uint32(int32(n))) }
	big(atSessions, r.Sessions)
	big(atFailures, r.Failures)
	big(atSent, r.Sent)
	big(atReceived, r.Received)
	big(atActive, uint64(r.Active))
	big(atLimit, uint64(r.Limit))
	number(atTaken, 1)
	number(atGroup, r.Group)
	number(atNumber, r.Number)
	number(atMode, int(r.Mode))
	number(atState, int(r.State))
	number(atPort, int(r.Key.Port))
	number(atNth, r.Key.Nth)
	putText(data[atListener:], r.Listener)
	putText(data[atHost:], r.Key.Host)
	if r.Address.IsValid() {
		if text := r.Address.String(); len(text) < atListen-atAddress {
			putText(data[atAddress:], text)
		}
	}
	binary.NativeEndian.PutUint16(data[atListen:], uint16(len(r.Listen)))
	copy(data[atListen+2:atObserved], r.Listen)
	o := &r.Observed
	big(atCheck, o.Check)
	big(atHealth, uint64(o.HealthSince))
	big(atFailing, uint64(o.FailingSince))
	big(atHeld, uint64(o.HeldUntil))
	number(atWord, int(o.Health))
	number(atRow, o.Failures)
	putText(data[atWhyDown:], o.HealthReason)
	putText(data[atWhyFails:], o.FailureReason)
	binary.NativeEndian.PutUint32(data[atSum:], crc32.ChecksumIEEE(data[:atSum]))
}

// decode reads a record as a version of the file has it. It reports false if
// that is damaged; a free record is the zero Record.
func decode(data []byte, version uint32) (r Record, sound bool) {
	number := func(at int) int { return int(int32(binary.NativeEndian.Uint32(data[at:]))) }
	end := atObserved
	if version == 2 {
		end = atSum
	}
	if version == 1 {
		end = RecordSize
		if number(atTaken) != 1 {
			return Record{}, true
		}
	} else if isZero(data) {
		return Record{}, true
	} else if binary.NativeEndian.Uint32(data[atSum:]) != crc32.ChecksumIEEE(data[:atSum]) {
		return Record{}, false
	}
	listen := int(binary.NativeEndian.Uint16(data[atListen:]))
	if number(atTaken) != 1 || number(atPort) < 0 || number(atPort) > math.MaxUint16 || number(atNth) < 0 ||
		number(atGroup) < nowhere || number(atNumber) < 0 || number(atMode) < 0 || number(atMode) > math.MaxUint8 ||
		int(data[atAddress]) >= atListen-atAddress || listen > end-atListen-2 {
		return Record{}, false
	}
	big := func(at int) uint64 { return binary.NativeEndian.Uint64(data[at:]) }
	r = Record{
		Listener: text(data[atListener:]),
		Listen:   string(data[atListen+2 : atListen+2+listen]),
		Key:      balancer.Key{Host: text(data[atHost:]), Port: uint16(number(atPort)), Nth: number(atNth)},
		Group:    number(atGroup), Number: number(atNumber),
		Mode: balancer.Mode(number(atMode)), State: State(number(atState)),
		Active: int(big(atActive)), Limit: int(big(atLimit)),
		Sessions: big(atSessions), Failures: big(atFailures), Sent: big(atSent), Received: big(atReceived),
	}
	if version >= 3 {
		o := &r.Observed
		o.Check, o.HealthSince, o.FailingSince, o.HeldUntil = big(atCheck), int64(big(atHealth)), int64(big(atFailing)), int64(big(atHeld))
		o.Health, o.Failures = balancer.Health(number(atWord)), number(atRow)
		if o.Health > balancer.Unhealthy || number(atWord) < 0 || o.Failures < 0 ||
			int(data[atWhyDown]) >= atWhyFails-atWhyDown || int(data[atWhyFails]) >= atSum-atWhyFails {
			return Record{}, false
		}
		o.HealthReason, o.FailureReason = text(data[atWhyDown:]), text(data[atWhyFails:])
	}
	r.Address, _ = netip.ParseAddr(text(data[atAddress:])) // "" if it has none
	return r, true
}

func isZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

func text(data []byte) string { return string(data[1 : 1+int(data[0])]) }

func putText(data []byte, text string) {
	data[0] = uint8(len(text))
	copy(data[1:], text)
}
