package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"balance/engine/spec"
	"balance/patience"
)

// maxFile is how long a file of certificates or keys may be.
const maxFile = 1 << 20

// newTLS returns how a check asks for TLS, with what its files hold now; nil if it
// does not.
func newTLS(check *spec.Check) (*tls.Config, error) {
	if !check.TLS {
		return nil, nil
	}
	config := &tls.Config{ServerName: check.ServerName, InsecureSkipVerify: check.Insecure}
	if check.CAFile != "" {
		text, err := readFile(check.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("ca_file: %q holds no certificate", check.CAFile)
		}
	}
	if check.CertFile != "" || check.KeyFile != "" {
		cert, err := readFile(check.CertFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		key, err := readFile(check.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("key_file: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert_file %q and key_file %q: %w", check.CertFile, check.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// files waits for the file systems that files of checks are on.
var files = patience.New(5*time.Second, 8)

func readFile(name string) ([]byte, error) {
	return patience.Within(context.Background(), files, func() ([]byte, error) { return readBounded(name) })
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%q is longer than %d bytes", name, maxFile)
	}
	return text, nil
}

// secure shakes hands by TLS. The server has to have a certificate for the host of
// the target, unless the check names another one.
func (v *visit) secure(ctx context.Context, conn net.Conn, config *tls.Config) (*tls.Conn, error) {
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = v.target.hostname()
	}
	began := time.Now()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		err := v.insecure(ctx, err, config.ServerName)
		v.took("tls", began, err.Error())
		return nil, err
	}
	state := secured.ConnectionState()
	v.took("tls", began, tls.VersionName(state.Version)+", certificate for "+names(state.PeerCertificates[0]))
	return secured, nil
}

// insecure puts in words why a handshake failed.
func (v *visit) insecure(ctx context.Context, err error, name string) error {
	server := v.target.server()
	var invalid x509.CertificateInvalidError
	var wrongName x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var noTLS tls.RecordHeaderError
	switch {
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return failed(TimedOut, "TLS with %s: no answer within %s", server, v.target.Check.Timeout)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		if cert := invalid.Cert; time.Now().Before(cert.NotBefore) {
			return failed(Insecure, "TLS with %s: certificate is not valid before %s", server, cert.NotBefore.UTC().Format(time.DateTime))
		}
		return failed(Insecure, "TLS with %s: certificate has expired at %s", server, invalid.Cert.NotAfter.UTC().Format(time.DateTime))
	case errors.As(err, &wrongName):
		return failed(Insecure, "TLS with %s: certificate is for %s, not for %q", server, names(wrongName.Certificate), name)
	case errors.As(err, &unknown):
		return failed(Insecure, "TLS with %s: certificate is signed by nobody who is trusted", server)
	case errors.As(err, &noTLS):
		return failed(Insecure, "TLS with %s: it does not speak TLS", server)
	case errors.Is(err, io.EOF):
		return failed(Insecure, "TLS with %s: it closed the connection", server)
	}
	return failed(Insecure, "TLS with %s: %s", server, cause(err))
}

// names returns the names that a certificate is for, quoted.
func names(cert *x509.Certificate) string {
	all := cert.DNSNames
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = append(all, cert.Subject.CommonName)
	}
	return quote([]byte(strings.Join(all, " ")))
}
