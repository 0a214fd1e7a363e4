package web

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const testToken = "0123456789-abcdef"

func TestToken(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	handler := newHandler(&Daemon{r.daemon}, new(history), Settings{Address: ":8404", PProf: true, Token: testToken})
	ask := func(path, authorization string) *httptest.ResponseRecorder {
		request := httptest.NewRequest("GET", path, nil)
		request.Host = "127.0.0.1:8404"
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder
	}
	for _, path := range []string{"/metrics", "/api/v1/status", "/api/v1/sessions", "/api/v1/config", "/api/v1/history", "/api/nothing", "/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline"} {
		for authorization, want := range map[string]int{
			"":                               401,
			"Bearer":                         401,
			"Bearer ":                        401,
			"Bearer wrong":                   401,
			"Bearer " + testToken[1:]:        401,
			"Bearer " + testToken + "x":      401,
			"Basic " + testToken:             401,
			testToken:                        401,
			"Bearer " + testToken:            200,
			"bearer  " + testToken + " ":     200,
			"Bearer " + testToken + "\t\xff": 401,
		} {
			if path == "/api/nothing" && want == 200 {
				want = 404
			}
			got := ask(path, authorization)
			if got.Code != want {
				t.Errorf("%s with %q: status %d, want %d", path, authorization, got.Code, want)
			}
			challenge := got.Header().Get("WWW-Authenticate")
			if (challenge == `Bearer realm="balance"`) != (want == 401) {
				t.Errorf("%s with %q: challenge %q", path, authorization, challenge)
			}
			if want == 401 && strings.Contains(got.Body.String(), "balance_") {
				t.Errorf("%s with %q: %s", path, authorization, got.Body)
			}
		}
	}
	open := []string{"/", "/healthz", "/readyz"}
	files, err := embedded.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.Name() != "index.html" { // which is /
			open = append(open, "/"+file.Name())
		}
	}
	for _, path := range open {
		if got := ask(path, ""); got.Code != 200 {
			t.Errorf("%s without a token: status %d", path, got.Code)
		}
	}
	if got := ask("/nothing", ""); got.Code != 404 {
		t.Errorf("what there is not: status %d", got.Code)
	}
	if got := ask("//metrics", ""); got.Code == 200 {
		t.Errorf("status %d: %s", got.Code, got.Body)
	}
}

func TestServerTakesAnotherToken(t *testing.T) {
	r := newRig(t)
	r.apply(listener("x", group(r.echo())))
	s := r.serve()
	for token, want := range map[string]int{testToken: 401, "": 200} {
		r.put(s, Settings{Address: "127.0.0.1:0", Token: token})
		if code, _ := fetch(t, s.URL()+"metrics"); code != want {
			t.Errorf("with the token %q: status %d", token, code)
		}
	}
}

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, content string
		mode          os.FileMode
		token, err    string
	}{
		{"a line", testToken + "\n", 0o600, testToken, ""},
		{"no line feed", testToken, 0o400, testToken, ""},
		{"of Windows, and more lines", testToken + " \r\nx\n", 0o640, testToken, ""},
		{"the longest", strings.Repeat("x", maxToken), 0o600, strings.Repeat("x", maxToken), ""},
		{"a large file", testToken + "\n" + strings.Repeat("x", 1<<20), 0o600, testToken, ""},
		{"empty", "", 0o600, "", "the token in its first line has 0 characters, fewer than 16"},
		{"short", "secret-secret-1\n", 0o600, "", "the token in its first line has 15 characters, fewer than 16"},
		{"long", strings.Repeat("x", maxToken+1), 0o600, "", "the token in its first line has more than 512 characters"},
		{"endless", strings.Repeat("x", 1<<20), 0o600, "", "the token in its first line has more than 512 characters"},
		{"with a blank", "secret secret secret\n", 0o600, "", "the token in its first line has characters other than the visible ones of ASCII"},
		{"not ASCII", "sécrèt-sécrèt-sécrèt\n", 0o600, "", "the token in its first line has characters other than the visible ones of ASCII"},
		{"binary", "secret-secret\x00secret\n", 0o600, "", "the token in its first line has characters other than the visible ones of ASCII"},
		{"for all to read", testToken, 0o604, "", "others may read or write it (mode 0604): it must be for its owner, and at most its group"},
		{"for all to write", testToken, 0o602, "", "others may read or write it (mode 0602): it must be for its owner, and at most its group"},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, test.mode); err != nil {
			t.Fatal(err)
		}
		token, err := ReadToken(path)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if token != test.token || got != test.err {
			t.Errorf("%s: %.40q, %q", test.name, token, got)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		fifo:                     "it is not a regular file",
		dir:                      "it is not a regular file",
		filepath.Join(dir, "no"): "no such file or directory",
		"/dev/zero":              "it is not a regular file",
	} {
		if _, err := ReadToken(path); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	const endless = "/proc/kmsg"
	if file, err := os.Open(endless); err == nil { // as root, on Linux
		file.Close()
		if _, err := ReadToken(endless); err == nil || err.Error() != "it has no end: a read would wait for more" {
			t.Errorf("%s: %v", endless, err)
		}
	}
}
