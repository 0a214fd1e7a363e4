package control

import (
	"bufio"
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
)

// Client is a connection to a daemon. It is used by one goroutine at a time.
type Client struct {
	Identity Identity // of the daemon

	conn   net.Conn
	reader *bufio.Reader
}

const (
	// promptTimeout bounds the wait for what a daemon has at hand, such as who
	// it is: one that is stopped never says.
	promptTimeout = 3 * time.Second
	// answerTimeout bounds the wait for an answer; a reload may have to wait
	// for the name service.
	answerTimeout = time.Minute
)

// Dial connects to the socket at path and asks who is there.
func Dial(path string) (*Client, error) {
	conn, err := dial(path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, reader: bufio.NewReader(conn)}
	lines, status, err := c.ask("identify", promptTimeout)
	if err == nil && status != OK {
		err = errors.New(strings.Join(lines, "; "))
	}
	if err == nil {
		err = json.Unmarshal([]byte(strings.Join(lines, "")), &c.Identity)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask %q who is there: %w", path, err)
	}
	return c, nil
}

// Ask sends a request line and returns the answer. After an error the client is
// closed: an answer that comes late would be taken for that of the next request.
func (c *Client) Ask(request string) (lines []string, status Status, err error) {
	timeout := answerTimeout
	switch name, _ := Resolve(request); name {
	case "kill":
		timeout = 0 // it answers when the last session has ended
	case "complete":
		timeout = promptTimeout
	}
	lines, status, err = c.ask(request, timeout)
	if err != nil {
		c.Close()
	}
	return lines, status, err
}

func (c *Client) ask(request string, timeout time.Duration) ([]string, Status, error) {
	if strings.ContainsAny(request, "\n\r") || len(request) >= MaxRequest {
		return []string{"syntax error"}, Misused, nil
	}
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.conn.SetDeadline(deadline)
	_, err := fmt.Fprintf(c.conn, "%s\n", request)
	if err == nil || errors.Is(err, syscall.EPIPE) { // it may have said why it left
		return readAnswer(c.reader)
	}
	return nil, Failed, err
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Found is what a search for daemons has come to.
type Found struct {
	Clients []*Client // connected, one for each daemon that answered
	Errs    []error   // of sockets and directories that could not be asked
}

// Search connects to the daemons in the directories that this user looks into.
// The caller closes the clients. Sockets of daemons that were killed are
// removed where they belong to this user.
func Search() Found {
	var found Found
	stale := map[*os.File][]string{}
	var mu sync.Mutex // guards found and stale
	var asking sync.WaitGroup
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
		for _, name := range sockets(dir) {
			asking.Go(func() {
				client, err := Dial(filepath.Join(path, name))
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
		removeStale(filepath.Join(dir.Name(), name))
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
