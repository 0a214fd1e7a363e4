package preface

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clients are programs that speak TLS, how each is told what to name, and what
// its ClientHello says. PORT and DIR stand for the port of a listener on
// 127.0.0.1, and for a directory of the client's own.
var clients = []struct {
	name    string
	program string
	args    string
	want    Hello
}{
	{"openssl", "openssl", "s_client -connect 127.0.0.1:PORT -servername Shop.Example.NET -alpn h2,http/1.1",
		Hello{ServerName: "shop.example.net", ALPN: []string{"h2", "http/1.1"}}},
	{"openssl-tls12", "openssl", "s_client -connect 127.0.0.1:PORT -servername shop.example.net -tls1_2",
		Hello{ServerName: "shop.example.net"}},
	{"openssl-noname", "openssl", "s_client -connect 127.0.0.1:PORT -noservername -alpn postgresql",
		Hello{ALPN: []string{"postgresql"}}},
	{"gnutls", "gnutls-cli", "--port PORT --sni-hostname shop.example.net --alpn h2 --alpn http/1.1 --no-ca-verification 127.0.0.1",
		Hello{ServerName: "shop.example.net", ALPN: []string{"h2", "http/1.1"}}},
	{"gnutls-tls12", "gnutls-cli", "--port PORT --sni-hostname shop.example.net --priority NORMAL:-VERS-TLS1.3 --no-ca-verification 127.0.0.1",
		Hello{ServerName: "shop.example.net"}},
	{"curl", "curl", "-sk --noproxy * --resolve shop.example.net:PORT:127.0.0.1 https://shop.example.net:PORT/",
		Hello{ServerName: "shop.example.net", ALPN: []string{"h2", "http/1.1"}}},
	{"chromium", "chromium", "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-proxy-server --no-first-run --disable-background-networking --user-data-dir=DIR --host-resolver-rules=MAP~shop.example.net~127.0.0.1 --dump-dom https://shop.example.net:PORT/",
		Hello{ServerName: "shop.example.net", ALPN: []string{"h2", "http/1.1"}}},
}

// TestHelloOfClients has each program connect, and reads as a plane does: all that
// has come, until it is decided. With BALANCE_CAPTURE=1 it writes that to testdata.
func TestHelloOfClients(t *testing.T) {
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) {
			if _, err := exec.LookPath(client.program); err != nil {
				t.Skipf("%s is not installed", client.program)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			_, port, _ := net.SplitHostPort(listener.Addr().String())

			ctx, cancel := context.WithCancel(t.Context())
			args := strings.Fields(strings.NewReplacer("PORT", port, "DIR", t.TempDir()).Replace(client.args))
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "~", " ")
			}
			command := exec.CommandContext(ctx, client.program, args...)
			// A browser has children, which end with it.
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
			command.WaitDelay = 20 * time.Second
			var output strings.Builder
			command.Stdout, command.Stderr = &output, &output
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan struct{})
			go func() {
				defer close(exited)
				defer listener.Close() // one that does not connect is not waited for
				_ = command.Wait()     // it does not get the answer that it wants
			}()
			defer func() { cancel(); <-exited }()

			b, h, err := firstFlight(listener)
			if err != nil || !reflect.DeepEqual(h, client.want) {
				cancel()
				<-exited
				t.Fatalf("%+v, %v; want %+v; it says:\n%q", h, err, client.want, output.String())
			}
			if os.Getenv("BALANCE_CAPTURE") != "" {
				if err := os.WriteFile(filepath.Join("testdata", client.name+".hello"), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// firstFlight takes clients until one sends something, and reads from it until
// ReadHello decides. A browser may open connections that it does not use.
func firstFlight(listener net.Listener) ([]byte, Hello, error) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return nil, Hello{}, err
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			return nil, Hello{}, err
		}
		b := make([]byte, 0, 2*MaxHello)
		for {
			h, err := ReadHello(b)
			if !errors.Is(err, ErrShort) {
				return b, h, err
			}
			n, err := conn.Read(b[len(b):min(len(b)+100, cap(b))])
			b = b[:len(b)+n]
			if err != nil && len(b) == 0 {
				break
			}
			if err != nil {
				return b, Hello{}, err
			}
		}
	}
}
