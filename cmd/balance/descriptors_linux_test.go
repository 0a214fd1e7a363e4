package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestFull has more clients than the descriptors of the daemon allow. It can
// be asked how it is all the same, and those who wait are served in the end.
func TestFull(t *testing.T) {
	for _, dataPlane := range []string{"eventloop", "portable"} {
		t.Run(dataPlane, func(t *testing.T) { testFull(t, dataPlane) })
	}
}

func testFull(t *testing.T, dataPlane string) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.WriteString(conn, "hello\n")
				io.Copy(io.Discard, conn)
			}()
		}
	}()
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	page, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/balance.toml"
	writeFile(t, file, fmt.Sprintf(`[defaults]
data_plane = %q
[control]
http = %q
[[listener]]
listen = %q
group = [{ channels = [%q] }]
`, dataPlane, page, listen, server.Addr()))
	d := startLogged(t, "sh", "-c", `ulimit -n 128 && exec balance -config "$1"`, "balance", file)
	var clients []net.Conn
	for range 120 {
		conn, err := net.Dial("tcp", listen.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients = append(clients, conn)
	}
	d.await(t, 0, "as many sessions as there may be")
	for range 3 {
		answer, err := http.Get("http://" + page.String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		ask := exec.Command("balance", "-c", "status", portOf(listen))
		ask.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+d.directory)
		status, err := ask.CombinedOutput()
		if err != nil || !strings.Contains(string(status), "sessions     47 of at most 47\n") {
			t.Fatalf("status: %v\n%s", err, status)
		}
	}
	for i, conn := range clients {
		conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadFull(conn, make([]byte, 6)); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		conn.Close()
	}
	if d.log.matches(0, "pausing") {
		t.Error("the daemon was out of descriptors")
	}
}
