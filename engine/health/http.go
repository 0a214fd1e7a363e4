package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"balance/engine/spec"
)

// httpKind makes one request on a connection of its own, follows no redirect, and
// reads no more of the body than it has to.
type httpKind struct {
	check  *spec.Check
	tls    *tls.Config
	expect *regexp.Regexp // nil if the status is enough
}

func newHTTP(check *spec.Check) (kind, error) {
	k := &httpKind{check: check}
	var err error
	if k.expect, err = newExpect(check); err != nil {
		return nil, err
	}
	if k.tls, err = newTLS(check); err != nil {
		return nil, err
	}
	_, err = k.request("localhost")
	return k, err
}

// url returns what is asked for, with the host as it was declared.
func (k *httpKind) url(server string) string {
	scheme := "http"
	if k.check.TLS {
		scheme = "https"
	}
	return scheme + "://" + server + k.check.Path
}

func (k *httpKind) request(server string) (*http.Request, error) {
	request, err := http.NewRequest(k.check.Method, k.url(server), nil)
	if err != nil {
		return nil, err
	}
	request.Close = true
	request.Header.Set("User-Agent", "balance")
	for name, value := range k.check.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			request.Host = value
			continue
		}
		request.Header.Set(name, value)
	}
	if k.check.Host != "" {
		request.Host = k.check.Host
	}
	return request, nil
}

func (k *httpKind) ask(ctx context.Context, v *visit) (string, error) {
	server, where := v.target.server(), ""
	if _, unix := v.target.unix(); unix {
		server, where = v.target.hostname(), " at "+shortened(server)
	}
	request, err := k.request(server)
	if err != nil {
		return "", failed(Local, "cannot check: %v", err)
	}
	conn, err := v.connect(ctx, false)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if k.tls != nil {
		secured, err := v.secure(ctx, conn, k.tls)
		if err != nil {
			return "", err
		}
		defer secured.Close()
		conn = secured
	}
	t := v.talk(conn)
	// Headers may take as much as the body.
	t.limit.N = 2 * maxAnswer
	asked := request.Method + " " + shortened(k.url(server)) + where
	response, err := k.exchange(t, asked, request)
	if err != nil {
		return "", err
	}
	// The body is not closed: that would read the rest of it.
	t.answered(quote([]byte(response.Proto + " " + response.Status)))
	words := asked + " answered " + strconv.Itoa(response.StatusCode)
	if !k.check.Status.Contains(response.StatusCode) {
		return "", failed(Answered, "%s, not %s", words, statuses(k.check.Status))
	}
	if k.expect == nil {
		return words, nil
	}
	body, found, err := match(response.Body, k.expect)
	switch {
	case found:
		return words + " and " + quote(body), nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", failed(TimedOut, "%s and %s within %s, not what is expected", words, quote(body), v.target.Check.Timeout)
	case err != nil && !errors.Is(err, io.EOF):
		return "", failed(Reset, "%s and broke off after %s: %s", words, quote(body), cause(err))
	}
	t.answered(quote(body))
	return "", failed(Answered, "%s and %s, not what is expected", words, quote(body))
}

// exchange sends the request and returns the response that is not an interim one.
func (k *httpKind) exchange(t *talk, asked string, request *http.Request) (*http.Response, error) {
	var text strings.Builder
	if err := request.Write(&text); err != nil {
		return nil, failed(Local, "cannot check: %v", err)
	}
	if err := t.send(asked, []byte(text.String())); err != nil {
		return nil, err
	}
	for {
		_, err := t.in.Peek(1)
		t.got = t.in.Buffered()
		if err != nil {
			return nil, t.broken(err)
		}
		response, err := http.ReadResponse(t.in, request)
		var network net.Error
		switch {
		case err == nil && (response.StatusCode >= 200 || response.StatusCode == http.StatusSwitchingProtocols):
			return response, nil
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
			return nil, t.broken(err)
		default:
			return nil, failed(Answered, "%s answered what is not HTTP: %s", asked, err)
		}
	}
}

// match reads up to maxAnswer bytes until they match. What came is looked at
// whenever it has doubled, and at the end.
func match(body io.Reader, expression *regexp.Regexp) (read []byte, found bool, err error) {
	read = make([]byte, 0, 4096)
	for looked := 0; ; {
		if len(read) == cap(read) {
			read = append(read, 0)[:len(read)]
		}
		n, err := body.Read(read[len(read):min(cap(read), maxAnswer)])
		read = read[:len(read)+n]
		over := err != nil || len(read) == maxAnswer
		if over || len(read) >= 2*looked && len(read) > 0 {
			if expression.Match(read) {
				return read, true, nil
			}
			looked = len(read)
		}
		if over {
			return read, false, err
		}
	}
}

// statuses returns statuses as they are declared.
func statuses(ranges spec.StatusRanges) string {
	var all []string
	for _, r := range ranges {
		text := strconv.Itoa(r.First)
		if r.Last != r.First {
			text += "-" + strconv.Itoa(r.Last)
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

// shortened returns a text that leaves room for others in an Answer.
func shortened(text string) string {
	if len(text) <= maxQuote {
		return text
	}
	return fmt.Sprintf("%s…", strings.ToValidUTF8(text[:maxQuote], ""))
}
