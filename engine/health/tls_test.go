package health

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"balance/engine/balancer"
	"balance/engine/spec"
)

// authority signs certificates, and has its own in a file.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	a.cert, _ = x509.ParseCertificate(der)
	write(t, a.file, "CERTIFICATE", der)
	return a
}

func write(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// sign returns a certificate for a name that is valid from and for so long, and
// puts it and its key in two files.
func (a *authority) sign(t *testing.T, name string, from time.Time, valid time.Duration) (pair tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: from, NotAfter: from.Add(valid),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, certFile, "CERTIFICATE", der)
	write(t, keyFile, "EC PRIVATE KEY", private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, certFile, keyFile
}

// secured returns a server that speaks TLS, and then says something.
func secured(t *testing.T, config *tls.Config, says string) net.Addr {
	return server(t, func(conn *net.TCPConn) {
		secured := tls.Server(conn, config)
		if secured.Handshake() == nil {
			io.WriteString(secured, says)
			io.Copy(io.Discard, secured)
		}
	})
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	now := time.Now()
	good, _, _ := ca.sign(t, "db1", now.Add(-time.Hour), 2*time.Hour)
	expired, _, _ := ca.sign(t, "db1", now.Add(-2*time.Hour), time.Hour)
	early, _, _ := ca.sign(t, "db1", now.Add(time.Hour), time.Hour)
	strange, _, _ := ca.sign(t, "\x1b[2J\a", now.Add(-time.Hour), 2*time.Hour)
	_, certFile, keyFile := ca.sign(t, "client", now.Add(-time.Hour), 2*time.Hour)
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	for _, test := range []struct {
		name   string
		pair   tls.Certificate
		auth   bool // it wants a certificate of the client
		check  func(*spec.Check)
		want   Outcome
		answer string
	}{
		{"an authority of its own", good, false, func(c *spec.Check) { c.CAFile = ca.file }, Passed, "by TLS"},
		{"another name", good, false, func(c *spec.Check) { c.CAFile, c.ServerName = ca.file, "db2" }, Insecure, `certificate is for "db1", not for "db2"`},
		{"no authority", good, false, func(c *spec.Check) {}, Insecure, "signed by nobody who is trusted"},
		{"another authority", good, false, func(c *spec.Check) { c.CAFile = other.file }, Insecure, "signed by nobody who is trusted"},
		{"expired", expired, false, func(c *spec.Check) { c.CAFile = ca.file }, Insecure, "certificate has expired"},
		{"not valid yet", early, false, func(c *spec.Check) { c.CAFile = ca.file }, Insecure, "certificate is not valid before"},
		{"a strange name", strange, false, func(c *spec.Check) { c.CAFile = ca.file }, Insecure, `"\x1b[2J\a"`},
		{"whatever it is", expired, false, func(c *spec.Check) { c.Insecure = true }, Passed, "by TLS"},
		{"with a certificate", good, true, func(c *spec.Check) {
			c.CAFile, c.CertFile, c.KeyFile, c.Expect = ca.file, certFile, keyFile, "welcome"
		}, Passed, "welcome"},
		{"without a certificate", good, true, func(c *spec.Check) { c.CAFile, c.Expect = ca.file, "welcome" }, Reset, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{test.pair}}
			if test.auth {
				config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients
			}
			r := once(t, secured(t, config, "welcome"), func(c *spec.Check) {
				c.Type, c.TLS, c.ServerName = spec.CheckTCP, true, "db1"
				test.check(c)
			})
			if r.Outcome != test.want || !strings.Contains(r.Answer, test.answer) {
				t.Errorf("%v, %s, want %v and %s", r.Outcome, r.Answer, test.want, test.answer)
			}
		})
	}
	r := once(t, server(t, says("220 no TLS\r\n")), func(c *spec.Check) { c.Type, c.TLS = spec.CheckTCP, true })
	if r.Outcome != Insecure || !strings.Contains(r.Answer, "it does not speak TLS") {
		t.Errorf("a server without TLS: %+v", r)
	}
}

// TestFilesAreReadAgain has the authority of a server change, in the file that a
// check names: what is set anew without a change takes the new one, keeps its
// health, and keeps the old one while the file cannot be read.
func TestFilesAreReadAgain(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	pair, _, _ := second.sign(t, "db1", time.Now().Add(-time.Hour), 2*time.Hour)
	target := tcpTarget(secured(t, &tls.Config{Certificates: []tls.Certificate{pair}}, ""))
	target.Check.TLS, target.Check.ServerName, target.Check.CAFile = true, "db1", first.file
	target.Check.Interval = time.Hour
	results := make(chan Result, 10)
	c := New(Options{
		Addresses: func(host string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(host)} },
		Report:    func(_ *balancer.Channel, _ balancer.Health, _ bool, r Result) { results <- r },
	})
	defer c.Close()
	channel := channelOf("db1")
	set := map[*balancer.Channel]Target{channel: target}
	c.Set(set)
	if r := <-results; r.Outcome != Insecure {
		t.Fatalf("%+v", r)
	}
	text, err := os.ReadFile(second.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.Set(set)
	if status, _ := c.Status(channel); status.Health != balancer.Unhealthy {
		t.Errorf("set anew it is %s", status.Health)
	}
	if r, _ := c.Now(t.Context(), channel, nil); r.Outcome != Passed {
		t.Errorf("with the new file: %+v", r)
	}
	os.Remove(first.file)
	if Load(&target.Check) == nil {
		t.Error("a check whose file is gone was loaded")
	}
	c.Set(set)
	if r, _ := c.Now(t.Context(), channel, nil); r.Outcome != Passed {
		t.Errorf("without the file: %+v", r)
	}
}

func TestLoad(t *testing.T) {
	ca := newAuthority(t)
	_, certFile, keyFile := ca.sign(t, "x", time.Now(), time.Hour)
	_, _, otherKey := ca.sign(t, "x", time.Now(), time.Hour)
	for _, test := range []struct {
		check spec.Check
		want  string // in the error; empty for none
	}{
		{spec.Check{}, ""},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CAFile: ca.file, CertFile: certFile, KeyFile: keyFile}, ""},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CAFile: "/nowhere"}, "/nowhere"},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CAFile: "/dev/zero"}, "longer than"},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CAFile: keyFile}, "holds no certificate"},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CertFile: certFile, KeyFile: otherKey}, "private key"},
		{spec.Check{Type: spec.CheckTCP, TLS: true, CertFile: certFile}, "key_file"},
		{spec.Check{Type: spec.CheckTCP, Expect: "("}, "expect"},
		{spec.Check{Type: spec.CheckTCP, SendHex: "0"}, "send_hex"},
		{spec.Check{Type: spec.CheckHTTP, Method: "A B", Path: "/"}, "method"},
		{spec.Check{Type: spec.CheckHTTP, Method: "GET", Path: "/\x01"}, "invalid"},
		{spec.Check{Type: spec.CheckExec}, "command"},
		{spec.Check{Type: spec.CheckExec, Command: []string{"/nowhere/check"}}, "/nowhere/check"},
	} {
		err := Load(&test.check)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.check, err, test.want)
		}
	}
}
