package web

import (
	"balance/engine/spec"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// contentSecurityPolicy lets the page load its own files and nothing else, and
// lets no script write markup.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// guard turns away what is not a reader who means this server. A browser can
// be made to send requests here by any page it shows: by a name of that page's
// own that resolves to this machine (DNS rebinding), which the Host tells, or
// across origins, which Sec-Fetch-Site or Origin tell.
//
// Whatever is no request to read is refused, but for acts where they are allowed.
func guard(settings Settings, next http.Handler) http.Handler {
	_, unix := spec.UnixPath(settings.Address) // which no browser can be made to connect to
	host, _, _ := net.SplitHostPort(settings.Address)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !(settings.acts() && isAct(r)):
			header.Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD: this cannot be changed here", http.StatusMethodNotAllowed)
		case !unix && !knownHost(r.Host, host) && !isProbe(r):
			http.Error(w, "unknown host: use an IP address, localhost, or the host that the daemon is told to listen on", http.StatusMisdirectedRequest)
		case !sameOrigin(r):
			http.Error(w, "requests of other origins are refused", http.StatusForbidden)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// knownHost reports whether a Host header names this server in a way that no
// foreign page can have as its own origin.
func knownHost(header, configured string) bool {
	name := header
	if host, _, err := net.SplitHostPort(header); err == nil {
		name = host
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") || configured != "" && strings.EqualFold(name, configured)
}

// isProbe reports whether a request asks for health or readiness without
// naming a host, as HTTP/1.0 allows and probes of load balancers do. No browser
// leaves the host out (RFC 9112, 3.2).
func isProbe(r *http.Request) bool {
	return r.Host == "" && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || strings.HasPrefix(r.URL.Path, "/readyz/"))
}

// sameOrigin reports whether a request comes from a page of this server, or
// from no page at all. A link from elsewhere may lead to the status page: its
// origin cannot read what the browser shows then.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	}
	origin := r.Header.Get("Origin")
	return origin == "" || strings.EqualFold(origin, "http://"+r.Host)
}
