package preface

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestProxyThroughHAProxy sends each header to an HAProxy, which checks it and
// sends one of its own: what comes out must say the same.
func TestProxyThroughHAProxy(t *testing.T) {
	for _, out := range []struct{ name, server string }{
		{"v1", "send-proxy"},
		{"v2", "send-proxy-v2"},
		{"v2 with all", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"},
	} {
		t.Run(out.name, func(t *testing.T) {
			address, servers := startHAProxy(t, out.server)
			for _, in := range []struct {
				name string
				p    Proxy
			}{
				{"TCP4", Proxy{Source: source4, Destination: destination4}},
				{"TCP6", Proxy{Source: source6, Destination: destination6}},
				{"mixed", Proxy{Source: source4, Destination: destination6}},
				{"TLVs", Proxy{Source: source4, Destination: destination4, TLVs: []byte(tlv(4, "pad") + tlv(2, "shop.example.net") + tlv(0xe0, "x"))}},
				{"LOCAL", Proxy{Local: true}},
				{"nothing", Proxy{}},
			} {
				for version := 1; version <= 2; version++ {
					t.Run(fmt.Sprintf("%s by v%d", in.name, version), func(t *testing.T) {
						back, client := throughHAProxy(t, address, servers, AppendProxy(nil, version, &in.p, []byte("unique")))
						want := Proxy{Version: back.Version, Source: in.p.Source, Destination: in.p.Destination}
						if !want.Source.IsValid() { // the addresses of the connection count
							want.Source, want.Destination = client, address
						}
						if out.name == "v2 with all" {
							if id := version == 2 && in.p.Source.IsValid(); id && !strings.Contains(string(back.TLVs), tlv(5, "unique")) {
								t.Errorf("no unique id in %q", back.TLVs)
							}
							if named := version == 2 && in.name == "TLVs"; named && !strings.Contains(string(back.TLVs), tlv(2, "shop.example.net")) {
								t.Errorf("no name in %q", back.TLVs)
							}
						}
						back.TLVs = nil
						if !reflect.DeepEqual(back, want) {
							t.Errorf("%+v, want %+v", back, want)
						}
					})
				}
			}
		})
	}
}

// TestHAProxyRefuses a checksum of ours that a byte on the way made wrong, or it
// would not have looked at the right ones either.
func TestHAProxyRefuses(t *testing.T) {
	address, _ := startHAProxy(t, "send-proxy")
	header := AppendProxy(nil, 2, &Proxy{Source: source4, Destination: destination4}, nil)
	header[fixedSize]++
	conn := dialHAProxy(t, address)
	if _, err := conn.Write(header); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// startHAProxy has it take PROXY headers at the address that it returns, and
// connect to the listener that it returns.
func startHAProxy(t *testing.T, server string) (netip.AddrPort, net.Listener) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Skip("haproxy is not installed")
	}
	servers, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.Close() })
	clients, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer clients.Close()
	inherited, err := clients.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer inherited.Close()

	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
defaults
  mode tcp
  timeout connect 20s
  timeout client 20s
  timeout server 20s
listen through
  unique-id-format %%[fc_pp_unique_id]
  bind fd@3 accept-proxy
  server here %s %s
`, servers.Addr(), server), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	command := exec.Command(program, "-db", "-f", file)
	command.ExtraFiles = []*os.File{inherited}
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("haproxy says: %q", output.String())
		}
	})
	return clients.Addr().(*net.TCPAddr).AddrPort(), servers
}

func dialHAProxy(t *testing.T, address netip.AddrPort) net.Conn {
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// throughHAProxy sends a header and gives the one that comes out, and the address
// from which it was sent.
func throughHAProxy(t *testing.T, address netip.AddrPort, servers net.Listener, header []byte) (Proxy, netip.AddrPort) {
	conn := dialHAProxy(t, address)
	if _, err := conn.Write(append(header, "data"...)); err != nil {
		t.Fatal(err)
	}
	if err := servers.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	server, err := servers.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for b, one := []byte(nil), make([]byte, 1); ; {
		p, size, err := ReadProxy(b)
		if err != nil && err != ErrShort {
			t.Fatalf("%q: %v", b, err)
		}
		if err == nil && len(b) == size+len("data") {
			if string(b[size:]) != "data" {
				t.Fatalf("%q behind the header", b[size:])
			}
			return p, conn.LocalAddr().(*net.TCPAddr).AddrPort()
		}
		if _, err := io.ReadFull(server, one); err != nil {
			t.Fatalf("behind %q: %v", b, err)
		}
		b = append(b, one...)
	}
}
