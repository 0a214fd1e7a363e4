package control

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"balance/engine/plane"
)

// wide is a configuration that show needs more than its own room for.
func wide() []string {
	var channels []string
	for i := range 2000 {
		channels = append(channels, fmt.Sprintf("127.1.%d.%d:80", i/250, 1+i%250))
	}
	return channels
}

// The answers that nobody has read yet are bounded together; those that are
// small are given in any case.
func TestAnswersUnderWayAreBounded(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, wide()))
	r.server.access.Store(&Access{0o600, 7, 8})
	const readers, members = 8, 7
	greedy := os.Geteuid() + 1
	var under []*conversation
	// fill asks until there is no room. All but the last MiBs are taken at once:
	// what stands for many more answers.
	const last = 4 << 20
	var bulk []func()
	fill := func(user, group int, room *room, want int) {
		t.Helper()
		taken := want - last - room.held[user]
		if !room.take(user, want, taken) {
			t.Fatalf("user %d may not hold %d bytes", user, taken)
		}
		bulk = append(bulk, func() { room.give(user, taken) })
		size := 0
		for {
			c := r.server.converse(credentials{true, user, []int{group}})
			lines, status := c.request("show")
			if status != OK {
				if got := slices.Collect(lines); status != Failed || len(got) != 1 || got[0] != errBusy {
					t.Errorf("without room: %q, status %d", got, status)
				}
				break
			}
			for line := range lines {
				size += len(line)
			}
			under = append(under, c)
			if len(under) > 1000 {
				t.Fatal("there is no bound")
			}
		}
		if room.held[user] > want || room.held[user] < want-last/10 || size < last*6/10 || room.used > roleRoom {
			t.Errorf("user %d holds %d of %d, %d bytes of text; all hold %d", user, room.held[user], want, size, room.used)
		}
	}
	asks := func(user, group int, request string, want Status) {
		t.Helper()
		if lines, status := ask(r.server.converse(credentials{true, user, []int{group}}), request); status != want {
			t.Errorf("%s: %q, status %d, want %d", request, lines, status, want)
		}
	}
	fill(greedy, readers, &r.server.rooms[reader], userRoom)
	asks(greedy, readers, "version", OK)
	asks(greedy, readers, "status", OK)
	asks(greedy+1, readers, "show", OK)
	fill(greedy+1, readers, &r.server.rooms[reader], userRoom)
	asks(greedy+2, readers, "show", Failed)
	asks(greedy+2, readers, "mrtg-bytes 0 0", OK)
	asks(greedy+2, members, "show", OK)
	asks(0, 0, "show", OK)
	fill(os.Geteuid(), 0, &r.server.rooms[owner], roleRoom)
	for _, c := range under {
		c.reply.release()
	}
	for _, give := range bulk {
		give()
	}
	for role := range r.server.rooms {
		if room := &r.server.rooms[role]; room.used != 0 || len(room.held) != 0 {
			t.Errorf("role %d still holds %d bytes: %v", role, room.used, room.held)
		}
	}
	asks(greedy, readers, "show", OK)
}

// Any number of sessions fits into the share of one user, and the greatest list
// more than once.
func TestSessionsAreListedWithinTheRoom(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, []string{"127.0.0.1:80"}))
	r.server.access.Store(&Access{0o600, NoGroup, 8})
	sessions := func(n int) func(func(plane.Session) bool) {
		return func(yield func(plane.Session) bool) {
			for i := range n {
				if !yield(plane.Session{ID: uint64(n - i), Client: netip.MustParseAddrPort("192.0.2.1:4711")}) {
					return
				}
			}
		}
	}
	list := func(n int) *conversation {
		c := r.server.converse(credentials{true, os.Geteuid() + 1, []int{8}})
		c.request("")
		c.list(sessions(n), byID, maxSessions, func(found []plane.Session, total int) iter.Seq[string] { return sessionsTable(found, total, false) })
		return c
	}
	for n, taken := range map[int]int{0: 0, 1: 0, 64: 0, 100: 0, 1000: 64 << 10} {
		c := list(n)
		lines := slices.Collect(c.reply.all())
		if len(lines) != n+1 || n > 0 && !strings.HasPrefix(strings.TrimSpace(lines[n]), fmt.Sprintf("%d 192.0.2.1:4711", n)) {
			t.Errorf("%d sessions: %d lines, the last is %q", n, len(lines), lines[n])
		}
		if c.reply.taken < taken {
			t.Errorf("%d sessions take %d bytes", n, c.reply.taken)
		}
		c.reply.release()
	}
	var under []*conversation
	for range 3 {
		under = append(under, list(maxSessions+7))
	}
	for i, c := range under[:2] {
		lines := slices.Collect(c.reply.all())
		if len(lines) != maxSessions+2 || lines[maxSessions+1] != "and 7 more" || c.reply.taken > userRoom/2 {
			t.Errorf("list %d: %d lines, the last is %q; it takes %d bytes", i, len(lines), lines[len(lines)-1], c.reply.taken)
		}
	}
	if lines := slices.Collect(under[2].reply.all()); !slices.Equal(lines, []string{errBusy}) {
		t.Errorf("the third of the same user: %d lines, %.80q", len(lines), lines[0])
	}
}

// What an answer holds is given back when it was read, and when its client
// leaves instead.
func TestRoomIsGivenBack(t *testing.T) {
	r := newRig(t, declare([]string{"web"}, wide()))
	room := &r.server.rooms[owner]
	await := func(what string, holds func(used int) bool) {
		t.Helper()
		for end := time.Now().Add(testPatience); ; time.Sleep(time.Millisecond) {
			room.mu.Lock()
			used := room.used
			room.mu.Unlock()
			if holds(used) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %d bytes are taken", what, used)
			}
		}
	}
	none := func(used int) bool { return used == 0 }
	client := r.dial()
	if answer, status := r.say(client, "show"); status != OK || len(answer) < ownRoom {
		t.Fatalf("%d bytes, status %d", len(answer), status)
	}
	await("read", none)
	conn, err := net.Dial("unix", r.server.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// More than the buffer of the socket holds.
	conn.(*net.UnixConn).SetReadBuffer(4096)
	fmt.Fprint(conn, strings.Repeat("show\n", 20))
	await("not read", func(used int) bool { return used > 0 })
	conn.Close()
	await("left", none)
}
