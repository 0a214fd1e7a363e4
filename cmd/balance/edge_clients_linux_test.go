package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// prints waits until a client prints what is wanted.
func prints(t *testing.T, want, name string, args ...string) {
	t.Helper()
	var out []byte
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		out, _ = bounded(t, name, args...).CombinedOutput()
		if strings.Contains(string(out), want) {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s %s says %q, want %q", name, strings.Join(args, " "), out, want)
			return
		}
	}
}

// groupOf is a group with keys, for channels.
func groupOf(keys string, channels ...string) string {
	return fmt.Sprintf("[[listener.group]]\n%s\nchannels = [\"%s\"]\n", keys, strings.Join(channels, `", "`))
}

// TestEdgeUnix has curl come by a unix socket to nginx on another, which is told whom
// a client of an address is, and of a client of the unix socket nothing.
func TestEdgeUnix(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "curl")
	dir := serverDir(t)
	startNginx(t, dir, "server { listen unix:DIR/web.sock; return 200 \"by a path\\n\"; }\n"+
		"server { listen unix:DIR/told.sock proxy_protocol; return 200 \"for <$proxy_protocol_addr>\\n\"; }", "")
	onBothPlanes(t, func(t *testing.T, plane string) {
		inlets, open := t.TempDir(), address(t).String()
		var listeners string
		for _, name := range []string{"web", "told-v1", "told-v2"} {
			server, version, _ := strings.Cut(name, "-")
			listeners += fmt.Sprintf("[[listener]]\nname = %q\nlisten = [\"unix:%s\"]\nhold_off = \"0s\"\n", name, filepath.Join(inlets, name)) +
				groupOf(fmt.Sprintf("send_proxy = %q", version), "unix:"+filepath.Join(dir, server+".sock"))
		}
		startEdge(t, plane, strings.Replace(listeners, "told-v2\"]", "told-v2\", \""+open+"\"]", 1))
		for name, want := range map[string]string{"web": "by a path\n", "told-v1": "for <>\n", "told-v2": "for <>\n"} {
			prints(t, want, "curl", "-sS", "--unix-socket", filepath.Join(inlets, name), "http://any/")
		}
		prints(t, "for <"+outside+">\n", "curl", "-sS", "--interface", outside, "http://"+open+"/")
	})
}

// TestEdgeSSH has ssh led to a server by the network that it comes from, as long as
// its source has not as many sessions as one may have.
func TestEdgeSSH(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/sbin/sshd", "ssh", "ssh-keygen")
	if os.Getuid() != 0 {
		t.Skip("skipped: sshd serves root alone here")
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := bounded(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var servers [2]net.Addr
	for i := range servers {
		servers[i] = address(t)
		config := filepath.Join(dir, fmt.Sprintf("sshd%d", i))
		banner := config + ".banner"
		writeFile(t, banner, fmt.Sprintf("server %d\n", i))
		writeFile(t, config, fmt.Sprintf("Banner %s\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s.pub\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n", banner, servers[i], key, key))
		// It wants a directory of its own in /run.
		server := exec.Command("unshare", "-m", "sh", "-c", "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f \"$0\"", config)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	}
	onBothPlanes(t, func(t *testing.T, plane string) {
		listen := address(t)
		d := startEdge(t, plane, fmt.Sprintf("[[listener]]\nname = \"ssh\"\nlisten = %q\nhold_off = \"0s\"\n[listener.admit]\nmax_sessions = 1\n", listen)+
			groupOf(`from = ["127.0.0.3"]`, servers[0].String())+groupOf("", servers[1].String()))
		// Without a command: the shell of this machine's root may take its time.
		ssh := func(from string) []string {
			return []string{"-F", "none", "-v", "-N", "-i", key, "-b", from, "-p", portOf(listen), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@127.0.0.1"}
		}
		// enters is a session with the server that shows the banner.
		enters := func(from, banner string) *exec.Cmd {
			t.Helper()
			client := bounded(t, "ssh", ssh(from)...)
			said := new(lockedBuffer)
			client.Stderr = said
			if err := client.Start(); err != nil {
				t.Fatal(err)
			}
			awaitThat(t, "ssh from "+from+" is in", func() bool { return strings.Contains(said.String(), "Authenticated to") })
			if !strings.Contains(said.String(), banner) {
				t.Errorf("from %s: %s, want the %s", from, said, banner)
			}
			return client
		}
		leaves := func(client *exec.Cmd) {
			client.Process.Signal(os.Interrupt)
			client.Wait()
		}
		awaitThat(t, "the servers listen", func() bool {
			return !slices.ContainsFunc(servers[:], func(addr net.Addr) bool {
				conn, err := net.Dial("tcp", addr.String())
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
		})
		held := enters("127.0.0.3", "server 0")
		leaves(enters("127.0.0.4", "server 1"))
		before := d.log.Len()
		if out, err := bounded(t, "ssh", ssh("127.0.0.3")...).CombinedOutput(); err == nil || strings.Contains(string(out), "server 0") {
			t.Errorf("a second session of the source is let in: %s", out)
		}
		d.await(t, before, `msg="clients refused" listener=ssh reason=sessions client=127.0.0.3:`)
		leaves(held)
		d.await(t, before, `msg=session .*client=127.0.0.3:`)
		leaves(enters("127.0.0.3", "server 0"))
	})
}

// transparency is a network of a client, balance and a server, each a namespace, with
// commands that have the server's answers come back to balance.
const transparency = `
set -e
mount -t tmpfs none /run
ip link set lo up
for n in client server; do
	ip netns add $n
	ip link add $n type veth peer name eth netns $n
	ip link set $n up
	ip -n $n link set lo up
	ip -n $n link set eth up
done
ip addr add 192.0.2.1/24 dev client
ip addr add 2001:db8:1::1/64 dev client nodad
ip addr add 198.51.100.1/24 dev server
ip addr add 2001:db8:2::1/64 dev server nodad
ip -n client addr add 192.0.2.7/24 dev eth
ip -n client addr add 2001:db8:1::7/64 dev eth nodad
ip -n server addr add 198.51.100.9/24 dev eth
ip -n server addr add 2001:db8:2::9/64 dev eth nodad
ip -n client route add default via 192.0.2.1
ip -n client -6 route add default via 2001:db8:1::1
ip -n server route add default via 198.51.100.1
ip -n server -6 route add default via 2001:db8:2::1
eval "$3"
ip netns exec server nginx -c "$1" -e stderr &
balance -config "$2" &
for url in http://192.0.2.1/ 'http://[2001:db8:1::1]/'; do
	until ip netns exec client curl -sS --max-time 5 "$url"; do sleep 0.05; done
done
`

// TestEdgeTransparent has a server see the address of a client two networks away:
// where all that the server sends is delivered to balance, and by the commands in the
// documentation.
func TestEdgeTransparent(t *testing.T) {
	t.Parallel()
	needs(t, "nginx", "curl", "ip", "unshare")
	if os.Getuid() != 0 {
		t.Skip("skipped: networks of its own take root")
	}
	content, err := os.ReadFile("../../docs/edge.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile(`(?m)^    ip(tables)? .*\n`).FindAllString(string(content), -1)
	if len(documented) != 3 {
		t.Fatalf("the documentation has %q", documented)
	}
	both := func(commands string) string {
		return commands + regexp.MustCompile(`(?m)^ *ip(tables)?`).ReplaceAllStringFunc(commands, func(name string) string {
			return map[string]string{"ip": "ip -6", "iptables": "ip6tables"}[strings.TrimSpace(name)]
		})
	}
	for name, commands := range map[string]string{
		"interface":     "ip rule add iif server lookup 100\nip route add local default dev lo table 100\n",
		"documentation": strings.Join(documented, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "documentation" {
				needs(t, "iptables", "ip6tables")
			}
			onBothPlanes(t, func(t *testing.T, plane string) { testEdgeTransparent(t, plane, both(commands)) })
		})
	}
}

func testEdgeTransparent(t *testing.T, plane, commands string) {
	dir := t.TempDir()
	nginx, file := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "transparent.toml")
	writeFile(t, nginx, "daemon off;\npid /run/nginx.pid;\nworker_processes 1;\nevents { worker_connections 64; }\nhttp {\n\taccess_log off;\n\tserver { listen 80; listen [::]:80; return 200 \"$remote_addr\\n\"; }\n}\n")
	writeFile(t, file, fmt.Sprintf("[defaults]\ndata_plane = %q\ntransparent = true\nhold_off = \"0s\"\n", plane)+
		"[[listener]]\nlisten = \"192.0.2.1:80\"\n"+groupOf("", "198.51.100.9")+
		"[[listener]]\nlisten = \"[2001:db8:1::1]:80\"\n"+groupOf("", "[2001:db8:2::9]"))
	// The last process of a namespace of processes takes all others along.
	program := bounded(t, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", transparency, "sh", nginx, file, commands)
	program.Env = append(os.Environ(), "RUNTIME_DIRECTORY="+t.TempDir())
	var errors strings.Builder
	program.Stderr = &errors
	out, err := program.Output()
	if err != nil || string(out) != "192.0.2.7\n2001:db8:1::7\n" {
		t.Errorf("the server sees %q: %v\n%s", out, err, errors.String())
	}
}
