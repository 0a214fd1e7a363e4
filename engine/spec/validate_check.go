package spec

import (
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What a check may be made of, in bytes and in numbers.
const (
	maxSend      = 16 << 10
	maxExpect    = 1024
	maxTarget    = 4096 // of HTTP: path, method and host
	maxHeaders   = 100
	maxHeader    = 4096
	maxArguments = 100
	maxArgument  = 4096
)

// check checks the settings that are of use, by themselves and to one another.
func (v *validator) check(path Path, where string, c *Check) {
	settings(v, c.Settings(), c, path, where)
	if c.Type == CheckExec && len(c.Command) == 0 {
		v.fault(path.Key(KeyCommand), where, "command is missing: type %q needs one", c.Type)
	}
	if c.Type == CheckTCP && c.Send != "" && c.SendHex != "" {
		v.fault(path.Key(KeySendHex), where, "send and send_hex are both set: one says what is sent, the other has to be \"\"")
	}
	if _, useless := c.Useless(KeyCertFile); !useless && (c.CertFile == "") != (c.KeyFile == "") {
		key, missing := KeyCertFile, KeyKeyFile
		if c.CertFile == "" {
			key, missing = missing, key
		}
		v.fault(path.Key(key), where, "%s needs %s", key.name, missing.name)
	}
}

func toSend(text string) string {
	switch {
	case len(text) > maxSend:
		return fmt.Sprintf("has %d bytes: the most is %d", len(text), maxSend)
	case !utf8.ValidString(text):
		return fmt.Sprintf("%.60q is not UTF-8: send_hex takes any bytes", text)
	}
	return ""
}

func toSendHex(digits string) string {
	if len(digits) > 2*maxSend {
		return fmt.Sprintf("has %d digits: the most is %d", len(digits), 2*maxSend)
	}
	if _, err := hex.DecodeString(digits); err != nil {
		return fmt.Sprintf("%.60q is not pairs of hexadecimal digits, such as \"0d0a\"", digits)
	}
	return ""
}

func expression(text string) string {
	if len(text) > maxExpect {
		return fmt.Sprintf("has %d bytes: the most is %d", len(text), maxExpect)
	}
	if _, err := regexp.Compile(text); err != nil {
		return fmt.Sprintf("%.60q is not a regular expression: %s", text, strings.TrimPrefix(printable(err.Error()), "error parsing regexp: "))
	}
	return ""
}

// requestPath checks that text can be the target of a request (RFC 9112, section
// 3.2.1).
func requestPath(text string) string {
	if _, err := url.ParseRequestURI(text); err != nil || !strings.HasPrefix(text, "/") || len(text) > maxTarget ||
		strings.Contains(text, "#") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%.60q is not the path of a request, such as \"/health?full=1\": it begins with \"/\", and what is not printable ASCII is written as %%20", text)
	}
	return ""
}

func requestMethod(text string) string {
	if !isToken(text) || len(text) > maxTarget {
		return fmt.Sprintf("%.60q is not the method of a request, such as \"GET\"", text)
	}
	return ""
}

// requestHost checks a host with or without a port (RFC 9110, section 7.2).
func requestHost(text string) string {
	if text == "" {
		return ""
	}
	whole := text
	if !strings.Contains(text, ":") || strings.HasSuffix(text, "]") {
		whole += ":80"
	}
	host, _, err := SplitListen(whole)
	if err != nil || host == "" || strings.Contains(host, "%") {
		return fmt.Sprintf("%.60q is not host or host:port", text)
	}
	return ""
}

// owned are the headers that a check writes by itself.
var owned = []string{"connection", "content-length", "host", "transfer-encoding"}

func requestHeaders(headers map[string]string) string {
	if len(headers) > maxHeaders {
		return fmt.Sprintf("has %d of them: the most is %d", len(headers), maxHeaders)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value, lower := headers[name], strings.ToLower(name)
		switch {
		case !isToken(name) || len(name) > maxHeader:
			return fmt.Sprintf("%.60q is not the name of a header", name)
		case slices.Contains(owned, lower):
			return fmt.Sprintf("%q is not for you to set: a check does that by itself, see host", name)
		case seen[lower]:
			return fmt.Sprintf("%q is there twice", name)
		case len(value) > maxHeader:
			return fmt.Sprintf("%q has %d bytes: the most is %d", name, len(value), maxHeader)
		case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Sprintf("%q has control characters in its value", name)
		}
		seen[lower] = true
	}
	return ""
}

// isToken reports whether text is a token (RFC 9110, section 5.6.2).
func isToken(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return notInName(r) && !strings.ContainsRune("!#$%&'*+.^`|~", r)
	})
}

func statuses(ranges StatusRanges) string {
	if err := new(StatusRanges).UnmarshalText([]byte(ranges.String())); err != nil {
		return err.Error()
	}
	return ""
}

func role(text string) string {
	if !slices.Contains([]string{"", "master", "slave"}, text) {
		return fmt.Sprintf("%.60q is none of \"\", \"master\", \"slave\"", text)
	}
	return ""
}

// command checks a program and its arguments. Whether the program is there shows
// when it is started.
func command(words []string) string {
	if len(words) > maxArguments {
		return fmt.Sprintf("has %d words: the most is %d", len(words), maxArguments)
	}
	for i, word := range words {
		switch {
		case i == 0 && (word == "" || !isPrintable(word) || strings.HasSuffix(word, "/") || strings.Contains(word, "/") && !filepath.IsAbs(word)):
			return fmt.Sprintf("%.60q is neither the absolute path of a program nor the name of one", word)
		case len(word) > maxArgument:
			return fmt.Sprintf("has a word of %d bytes: the most is %d", len(word), maxArgument)
		case strings.Contains(word, "\x00") || !utf8.ValidString(word):
			return fmt.Sprintf("%.60q is not text", word)
		}
	}
	return ""
}
