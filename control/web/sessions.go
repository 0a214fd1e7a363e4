package web

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"balance/control"
	"balance/engine/balancer"
	"balance/engine/plane"
)

// How many sessions one answer holds.
const (
	defaultSessions = 1000
	maxSessions     = 10_000
)

// query is what sessions are asked for.
type query struct {
	listener, channel string
	client            netip.Prefix // invalid for all
	limit             int
	after             uint64
}

func parseQuery(values url.Values) (query, error) {
	q := query{listener: values.Get("listener"), channel: values.Get("channel"), limit: defaultSessions}
	if text := values.Get("client"); text != "" {
		var err error
		if q.client, err = netip.ParsePrefix(text); err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return q, fmt.Errorf("client %.60q is neither an IP address nor a network", text)
			}
			addr = addr.Unmap().WithZone("")
			q.client = netip.PrefixFrom(addr, addr.BitLen())
		}
	}
	if text := values.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxSessions {
			return q, fmt.Errorf("limit %.60q is not one of 1 to %d", text, maxSessions)
		}
		q.limit = limit
	}
	if text := values.Get("after"); text != "" {
		after, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return q, fmt.Errorf("after %.60q is not the number of a session", text)
		}
		q.after = after
	}
	return q, nil
}

func (q *query) matches(s *plane.Session) bool {
	return (q.listener == "" || s.Listener.Service().Name == q.listener) &&
		(q.channel == "" || s.Channel != nil && (s.Channel.Key().String() == q.channel || s.Channel.Name() == q.channel)) &&
		(!q.client.IsValid() || q.client.Contains(s.Client.Addr().WithZone("")))
}

func (d *Daemon) serveSessions(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var found []plane.Session // never many more than asked for, however many there are
	byID := func(a, b plane.Session) int { return cmp.Compare(a.ID, b.ID) }
	cut := func() {
		slices.SortFunc(found, byID)
		found = found[:min(len(found), q.limit+1)]
	}
	var answer sessions
	d.Engine.Sessions(func(s plane.Session) bool {
		if !q.matches(&s) {
			return true
		}
		answer.Total++
		if s.ID > q.after {
			found = append(found, s)
			if len(found) > 2*q.limit {
				cut()
			}
		}
		return true
	})
	cut()
	if len(found) > q.limit {
		found = found[:q.limit]
		answer.Next = found[q.limit-1].ID
	}
	writeSessions(w, answer, found)
}

// writeSessions writes the answer with the sessions that were found. It holds
// one of them in memory at a time, and the text of a channel's key but once:
// there may be very many.
func writeSessions(w http.ResponseWriter, answer sessions, found []plane.Session) {
	answer.Sessions = []session{}
	head, err := json.Marshal(answer)
	if err != nil {
		panic(err) // there is nothing in it that cannot be encoded
	}
	w.Header().Set("Content-Type", "application/json")
	buffered := bufio.NewWriterSize(w, 32<<10)
	buffered.Write(bytes.TrimSuffix(head, []byte("]}")))
	encoder := json.NewEncoder(buffered)
	keys := map[*balancer.Channel]string{nil: ""}
	now := time.Now()
	var one session
	for i := range found {
		s := &found[i]
		key, known := keys[s.Channel]
		if !known {
			key = s.Channel.Key().String()
			keys[s.Channel] = key
		}
		if i > 0 {
			buffered.WriteByte(',')
		}
		one = control.ReportSession(s, key, now)
		if encoder.Encode(&one) != nil {
			return // the client is gone
		}
	}
	buffered.WriteString("]}\n")
	buffered.Flush()
}
