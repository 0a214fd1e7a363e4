package web

import (
	"balance/engine/spec"
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// peer is a process that is both the clients and the servers of many
// sessions, so that this one has its descriptors for the relay alone.
type peer struct {
	testing.TB
	echo    spec.Channel
	orders  io.Writer
	answers *bufio.Reader
}

const peerVariable = "BALANCE_TEST_PEER"

func (r *rig) startPeer() *peer {
	r.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), peerVariable+"=1")
	process.Stderr = os.Stderr
	orders, err := process.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	answers, err := process.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := process.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		orders.Close()
		process.Wait()
	})
	p := &peer{TB: r, orders: orders, answers: bufio.NewReader(answers)}
	p.echo.Host = "127.0.0.1"
	if _, err := fmt.Fscanln(p.answers, &p.echo.Port); err != nil {
		r.Fatal(err)
	}
	return p
}

// dial connects so many clients, who stay.
func (p *peer) dial(address string, clients int) {
	p.Helper()
	fmt.Fprintln(p.orders, address, clients)
	var dialed int
	if _, err := fmt.Fscanln(p.answers, &dialed); err != nil || dialed != clients {
		p.Fatalf("%d clients of %d: %v", dialed, clients, err)
	}
}

// bePeer is what the process does, until its standard input ends.
func bePeer() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	go serveEcho(l)
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	var kept []net.Conn
	for {
		var address string
		var clients int
		if _, err := fmt.Scanln(&address, &clients); err != nil {
			return
		}
		for range clients {
			conn, err := net.Dial("tcp4", address)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				break
			}
			kept = append(kept, conn)
		}
		fmt.Println(len(kept))
	}
}

func serveEcho(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go echo(conn)
	}
}

// echo is io.Copy without the pipe that that holds for each connection.
func echo(conn net.Conn) {
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(buffer[:n])
	}
}

// descriptors returns how many this process may have.
func descriptors(t testing.TB) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(uint64(limit.Cur), 1<<20))
}
