package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"balance/engine/socket"
)

// Client is a connection to a daemon, or to whoever listens where one would:
// what it says is bounded, and can be printed. A Client is used by one goroutine
// at a time.
type Client struct {
	// Identity is what the daemon says about itself, but for the process, which
	// the kernel names where it can.
	Identity Identity
	// UID is the user of the daemon, as the kernel tells; -1 where it does not.
	UID int

	path    string
	address string   // that stands for the path where others could change that
	pinned  *os.File // what keeps the address; nil if nothing has to
	owner   int      // that the daemon has to belong to; anyUser for any
	conn    *net.UnixConn
	reader  *bufio.Reader
	pace    pace
}

// pace is how long a client waits.
type pace struct {
	prompt time.Duration // for what a daemon has at hand, such as who it is
	answer time.Duration // for an answer: a reload may have to wait for the name service
	probe  time.Duration // until a daemon that has not answered is asked whether it still does
}

var usualPace = pace{prompt: 3 * time.Second, answer: time.Minute, probe: 2 * time.Second}

// silence is how long a daemon may say nothing at all, to nobody. It covers the
// end of a daemon, which takes no new clients any more.
func (p pace) silence() time.Duration { return p.probe + p.prompt + closeTimeout }

// ErrSilent tells that a daemon is stopped, or stuck.
var ErrSilent = errors.New("the daemon does not answer")

const (
	maxIdentity      = 2 << 20 // bytes
	maxIdentityText  = 4096    // bytes of each text in it
	maxRefusal       = 200     // bytes that are told
	maxSockets       = 512     // of a directory that are asked
	maxEntries       = 8192    // of a directory that are looked at
	maxAllIdentities = 32 << 20
)

// Dial connects to the socket at path and asks who is there.
func Dial(path string) (*Client, error) { return dialAtPace(path, maxIdentity, usualPace) }

// dialAtPace reads an identity of at most so many bytes.
func dialAtPace(path string, most int, pace pace) (*Client, error) {
	return dialSocket(&Client{path: path, address: path, owner: anyUser, pace: pace}, most)
}

// anyUser is no user in particular.
const anyUser = -1

// dialSocket connects a client that knows where to. It is closed on an error.
func dialSocket(c *Client, most int) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), c.pace.prompt)
	defer cancel()
	deadline, _ := ctx.Deadline()
	conn, err := dial(ctx, c.address)
	if err == nil {
		conn.SetDeadline(deadline)
		c.conn, c.reader, c.UID = conn, bufio.NewReader(conn), -1
		if who := peer(conn); who.known {
			c.UID = who.uid
		}
		if c.owner != anyUser && c.UID != -1 && c.UID != c.owner {
			err = fmt.Errorf("a process of user %d listens in a directory of user %d", c.UID, c.owner)
		} else {
			err = c.meet(most)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		err = c.silent()
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("ask %q who is there: %w", c.path, err)
	}
	return c, nil
}

// meet asks the daemon who it is.
func (c *Client) meet(most int) error {
	lines, status, err := c.ask("identify", most)
	if err != nil {
		return err
	}
	text := strings.Join(lines, "; ")
	if status != OK {
		if len(text) > maxRefusal {
			text = strings.ToValidUTF8(text[:maxRefusal], "") + "…"
		}
		return errors.New(text)
	}
	if err := json.Unmarshal([]byte(text), &c.Identity); err != nil {
		return fmt.Errorf("it does not say: %.*s", maxRefusal, printable(err.Error()))
	}
	if pid, ok := socket.PeerPID(c.conn); ok {
		c.Identity.PID = pid
	}
	return c.Identity.restrain()
}

// restrain makes the texts of an identity printable, and refuses those that are
// too long for what they stand for.
func (i *Identity) restrain() error {
	texts := []*string{&i.Version, &i.File}
	for k := range i.Listeners {
		l := &i.Listeners[k]
		texts = append(texts, &l.Name)
		for _, list := range [][]string{l.Listen, l.Addresses} {
			for n := range list {
				texts = append(texts, &list[n])
			}
		}
	}
	for _, text := range texts {
		if len(*text) > maxIdentityText {
			return fmt.Errorf("it says %.20q and %d bytes more", printable((*text)[:20]), len(*text)-20)
		}
		*text = printable(*text)
	}
	return nil
}

// silent is the error of a daemon that does not answer.
func (c *Client) silent() error {
	if c.conn != nil {
		if pid, ok := socket.PeerPID(c.conn); ok {
			return fmt.Errorf("process %d: %w", pid, ErrSilent)
		}
	}
	return ErrSilent
}

// Ask sends a request line and returns the answer. It waits no longer than the
// daemon answers others; ErrSilent tells that it does not. After an error the
// client is closed: an answer that comes late would be taken for that of the
// next request. With "apply" it sends the file first.
func (c *Client) Ask(request string) (lines []string, status Status, err error) {
	var end time.Time // of all patience; none for kill, which answers when the last session has ended
	name, args := Resolve(request)
	if name == "apply" && len(args) > 0 {
		if lines, status, err = c.sendFile(args[0]); status != OK || err != nil {
			return lines, status, err
		}
	}
	switch name {
	case "kill":
	case "complete":
		end = time.Now().Add(c.pace.prompt)
	default:
		end = time.Now().Add(c.pace.answer)
	}
	c.conn.SetDeadline(c.patience(end))
	ctx, cancel := context.WithCancel(context.Background())
	var probing sync.WaitGroup
	probing.Go(func() { c.probe(ctx, end) })
	lines, status, err = c.ask(request, maxAnswer)
	cancel()
	probing.Wait()
	if err == nil {
		return lines, status, nil
	}
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no answer: %w", err)
	case name != "complete" && !end.IsZero() && !time.Now().Before(end):
		err = fmt.Errorf("no answer within %s", c.pace.answer)
	default:
		err = c.silent()
	}
	c.Close()
	return lines, status, err
}

// patience is until when an answer is waited for if nothing else is heard.
func (c *Client) patience(end time.Time) time.Time {
	until := time.Now().Add(c.pace.silence())
	if !end.IsZero() && end.Before(until) {
		return end
	}
	return until
}

// probe gives the answer more time for as long as the daemon answers others,
// until ctx ends.
func (c *Client) probe(ctx context.Context, end time.Time) {
	for {
		select {
		case <-time.After(c.pace.probe):
		case <-ctx.Done():
			return
		}
		if !c.answersOthers(ctx) {
			return
		}
		c.conn.SetDeadline(c.patience(end))
	}
}

// answersOthers reports whether the daemon does anything about a new client: to
// turn it away is an answer, too.
func (c *Client) answersOthers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.pace.prompt)
	defer cancel()
	conn, err := dial(ctx, c.address)
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	fmt.Fprintln(conn, "identify") // where it is not taken, the answer has come already
	_, err = conn.Read(make([]byte, 1))
	return err == nil || !errors.Is(err, os.ErrDeadlineExceeded)
}

func (c *Client) ask(request string, most int) ([]string, Status, error) {
	if strings.ContainsAny(request, "\n\r") || len(request) >= MaxRequest {
		return []string{"syntax error"}, Misused, nil
	}
	_, err := fmt.Fprintf(c.conn, "%s\n", request)
	if err == nil || errors.Is(err, syscall.EPIPE) { // it may have said why it left
		return readAnswer(c.reader, most)
	}
	return nil, Failed, err
}

// Close ends the connection.
func (c *Client) Close() error {
	if c.pinned != nil {
		c.pinned.Close()
	}
	if c.conn == nil {
		return nil
	}
	return c.conn.Close()
}

// Found is what a search for daemons has come to.
type Found struct {
	Clients []*Client // connected, one for each daemon that answered
	Errs    []error   // of sockets and directories that could not be asked
}

// Search connects to the daemons in the directories that this user looks into,
// all at once: it takes as long as the slowest. The caller closes the clients.
// Sockets of daemons that were killed are removed where they belong to this
// user.
func Search() Found {
	var found Found
	names := map[*os.File][]string{}
	all := 0
	for _, path := range directories() {
		dir, err := openForSearch(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			found.Errs = append(found.Errs, err)
			continue
		}
		defer dir.Close()
		list, more := sockets(dir)
		if len(list) > maxSockets {
			list, more = list[:maxSockets], true
		}
		if more {
			found.Errs = append(found.Errs, fmt.Errorf("directory %q holds too much: %d sockets are asked", path, len(list)))
		}
		names[dir] = list
		all += len(list)
	}
	most := min(maxIdentity, maxAllIdentities/max(all, 1))
	stale := map[*os.File][]string{}
	var mu sync.Mutex // guards found and stale
	var asking sync.WaitGroup
	for dir, list := range names {
		for _, name := range list {
			asking.Go(func() {
				client, err := dialIn(dir, name, most)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					found.Clients = append(found.Clients, client)
				case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist):
					found.Errs = append(found.Errs, err)
				default:
					stale[dir] = append(stale[dir], name)
				}
			})
		}
	}
	asking.Wait()
	for dir, names := range stale {
		clean(dir, names)
	}
	return found
}

// openForSearch opens a directory that a client can trust: its own, one of
// root, or the one that only root can have made. Root may look anywhere.
func openForSearch(path string) (*os.File, error) {
	uid := os.Geteuid()
	if uid == 0 || path == systemDirectory {
		return openDirectory(path)
	}
	return openDirectory(path, uid, 0)
}

// clean removes stale sockets, if this user may.
func clean(dir *os.File, names []string) {
	info, err := dir.Stat()
	if err != nil {
		return
	}
	if stat := info.Sys().(*syscall.Stat_t); int(stat.Uid) != os.Geteuid() {
		return
	}
	locked, err := lock(dir)
	if err != nil {
		return
	}
	defer locked.Close()
	for _, name := range names {
		socket.RemoveStale(filepath.Join(dir.Name(), name))
	}
}

// Match returns the names of the listeners of a daemon that take clients for a
// host and a port. An empty host fits all on the port.
func (i Identity) Match(host string, port int) (names []string) {
	for _, l := range i.Listeners {
		if slices.ContainsFunc(slices.Concat(l.Listen, l.Addresses), func(address string) bool { return fits(address, host, port) }) {
			names = append(names, l.Name)
		}
	}
	return names
}

func fits(address, host string, port int) bool {
	has, service, err := net.SplitHostPort(address)
	if err != nil || service != strconv.Itoa(port) {
		return false
	}
	ip := net.ParseIP(host)
	switch {
	case host == "", has == "", has == host:
		return true
	case ip == nil:
		return false
	case has == "0.0.0.0":
		return ip.To4() != nil
	case has == "::":
		return ip.To4() == nil
	}
	return ip.Equal(net.ParseIP(has))
}
