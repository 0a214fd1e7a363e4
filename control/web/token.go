package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// A token is long enough that nobody finds it by trying, and fits into a header.
const (
	minToken = 16  // bytes
	maxToken = 512 // bytes
)

// ReadToken returns the token in the first line of a file: visible characters of
// ASCII. It refuses a file that others than its owner and its group may read or
// write. No error tells anything of the content.
func ReadToken(path string) (string, error) {
	// Without O_NONBLOCK the open of a FIFO would wait for its writer.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", withoutPath(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	if mode := info.Mode().Perm(); mode&0o006 != 0 {
		return "", fmt.Errorf("others may read or write it (mode %04o): it must be for its owner, and at most its group", mode)
	}
	// /proc/kmsg, for one, says that it is a regular file, and is waited for.
	if err := file.SetReadDeadline(time.Now()); err != nil && !errors.Is(err, os.ErrNoDeadline) {
		return "", withoutPath(err)
	}
	head, err := io.ReadAll(io.LimitReader(file, 2*maxToken))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "", errors.New("it has no end: a read would wait for more")
	case err != nil:
		return "", withoutPath(err)
	}
	line, _, _ := strings.Cut(string(head), "\n")
	token := strings.TrimRight(line, " \t\r")
	switch {
	case len(token) < minToken:
		return "", fmt.Errorf("the token in its first line has %d characters, fewer than %d", len(token), minToken)
	case len(token) > maxToken:
		return "", fmt.Errorf("the token in its first line has more than %d characters", maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("the token in its first line has characters other than the visible ones of ASCII")
	}
	return token, nil
}

// withoutPath leaves out what the caller tells.
func withoutPath(err error) error {
	if system, ok := errors.AsType[*os.PathError](err); ok {
		return system.Err
	}
	return err
}

// protect lets those through who bear the token (RFC 6750, 2.1); everybody if
// there is none.
func protect(token string, next http.Handler) http.Handler {
	if token == "" {
		return next
	}
	want := sha256.Sum256([]byte(token)) // equal in length to what is compared with it
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(given)))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="balance"`)
			http.Error(w, "a token is needed: Authorization: Bearer TOKEN", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
