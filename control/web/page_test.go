package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"balance/control"
	"balance/engine"
	"balance/engine/balancer"
)

// browser is a headless browser with one tab, and what it complains of.
type browser struct {
	context.Context

	mu         sync.Mutex
	complaints []string // guarded by mu
	asked      []string // guarded by mu; URLs
}

func startBrowser(t *testing.T) *browser {
	path := without(t, "browser", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("no-proxy-server", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	timed, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	allocated, stop := chromedp.NewExecAllocator(timed, options...)
	t.Cleanup(stop)
	b := new(browser)
	b.Context, _ = chromedp.NewContext(allocated)
	t.Cleanup(func() {
		if err := chromedp.Cancel(b.Context); err != nil {
			t.Error(err)
		}
	})
	if err := chromedp.Listen(b, b.hear); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	call(t, b, log.Enable, cdp.Empty{})
	call(t, b, network.Enable, network.EnableParams{})
	return b
}

// hear notes what a page should never cause. Violations of the content
// security policy come as entries of the log.
func (b *browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch event := event.(type) {
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", event.Entry.Level, event.Entry.Text, event.Entry.URL))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console %s", event.Type))
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("exception: %s", event.ExceptionDetails.Text))
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, event.Request.URL)
	}
}

// forgive forgets complaints that hold a text.
func (b *browser) forgive(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = slices.DeleteFunc(b.complaints, func(complaint string) bool { return strings.Contains(complaint, text) })
}

func (b *browser) check(t *testing.T, base string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		t.Errorf("the browser says: %s", complaint)
	}
	for _, url := range b.asked {
		if !strings.HasPrefix(url, base) {
			t.Errorf("the page asks for %s", url)
		}
	}
}

func (b *browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b, actions...); err != nil {
		t.Fatal(err)
	}
}

// call sends a command of the protocol that the browser is driven by.
func call[P, R any](t *testing.T, b *browser, command cdp.Command[P, R], params P) {
	t.Helper()
	if _, err := chromedp.Call(b, command, params); err != nil {
		t.Fatal(err)
	}
}

// paint asks for the page in a color scheme: "light" or "dark".
func (b *browser) paint(t *testing.T, scheme string) {
	t.Helper()
	call(t, b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// eval returns what an expression of JavaScript comes to.
func eval[T any](t *testing.T, b *browser, expression string) T {
	t.Helper()
	value, err := chromedp.Run(b, chromedp.Evaluate[T](expression))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return value
}

// until waits until an expression is true.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	for end := time.Now().Add(patience); !eval[bool](t, b, expression); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s; the page says:\n%s", expression, eval[string](t, b, "document.body.innerText"))
		}
	}
}

const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>&amp;'"`

// TestPage looks at the page with a browser.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	r := newRig(t)
	limited, failing, off := r.echo(), r.refused(), r.echo()
	limited.MaxConns, off.Disabled = 4, true
	hash := group(r.echo(), r.echo())
	hash.Mode = balancer.Hash
	web, other := listener("web", group(limited, r.echo(), failing), group(off)), listener(hostile, hash)
	web.Queue = 7
	r.apply(web, other)
	server := r.serve()
	base := server.URL()

	b.do(t, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(base))
	b.until(t, `document.querySelectorAll("tbody tr").length === 6`)
	b.until(t, `/^. of 6 channels are up,.* 1 taken out of service\.$/.test(document.querySelector(".headline").textContent)`)
	if got := eval[string](t, b, `document.querySelectorAll("h2")[4].textContent`); got != hostile {
		t.Errorf("the name of the second listener is shown as %q", got)
	}
	if n := eval[int](t, b, `document.querySelectorAll("main img, main script").length`); n != 0 {
		t.Errorf("names became %d elements", n)
	}

	t.Run("Live", func(t *testing.T) {
		for range 6 { // two a channel: one takes what the failing one does not
			r.talk(r.dial(0), 1000)
		}
		b.until(t, `document.querySelectorAll(".load")[1].textContent.startsWith("3 of 4")`)
		b.until(t, `document.querySelectorAll(".load small")[0].textContent === "weight 1, 50 % of the group"`)
		b.until(t, `document.querySelectorAll(".listener .tally b")[0].textContent === "6"`)
		b.until(t, `document.querySelector(".listener .tally .waiting").textContent === "0 waiting"`)
		if n := eval[int](t, b, `document.querySelectorAll(".waiting").length`); n != 1 {
			t.Errorf("%d listeners are shown with a queue", n)
		}
		b.until(t, `document.querySelectorAll(".state")[3].textContent.includes("failing")`)
		b.until(t, `document.querySelectorAll(".errors-of")[3].textContent.includes("refused")`)
		b.until(t, `document.querySelector("#verdict").className === "notice bad"`)
		b.until(t, `document.querySelector('[data-of="active"]').textContent === "6"`)
		b.until(t, `document.querySelector("#traffic path.one").getAttribute("d").length > 10`)
	})

	t.Run("Reload", func(t *testing.T) {
		r.reloaded(control.Reload{Time: time.Now(), Errs: []error{errors.New("balance.toml:3: " + hostile), errors.New("balance.toml:9: port 0 is not one of 1 to 65535")}})
		b.until(t, `document.querySelectorAll(".errors li").length === 2`)
		if got := eval[string](t, b, `document.querySelector(".errors li").textContent`); got != "balance.toml:3: "+hostile {
			t.Errorf("the error is shown as %q", got)
		}
		b.until(t, `document.querySelector(".headline").textContent === "balance serves clients, but needs a look."`)
		b.until(t, `document.querySelector(".problems").textContent.includes("the last reload failed: balance.toml:3")`)
		r.reloaded(control.Reload{Time: time.Now(), Hash: strings.Repeat("ab", 32)})
		b.until(t, `document.querySelectorAll(".errors li").length === 0`)
	})

	t.Run("Appearance", func(t *testing.T) {
		ground := map[string]string{}
		for _, scheme := range []string{"light", "dark"} {
			b.paint(t, scheme)
			ground[scheme] = eval[string](t, b, `getComputedStyle(document.body).backgroundColor`)
			for _, low := range eval[[]string](t, b, contrasts) {
				t.Errorf("%s: hard to read: %s", scheme, low)
			}
		}
		if ground["light"] == ground["dark"] {
			t.Errorf("light and dark are both %s", ground["dark"])
		}
	})

	t.Run("Phone", func(t *testing.T) {
		for _, width := range []int64{375, 320} {
			b.do(t, chromedp.EmulateViewport(width, 800))
			if wide := eval[int](t, b, `document.documentElement.scrollWidth`); wide > int(width) {
				t.Errorf("the page is %d pixels wide on a screen of %d", wide, width)
			}
		}
		b.do(t, chromedp.EmulateViewport(1280, 900))
	})

	t.Run("Keyboard", func(t *testing.T) {
		eval[chromedp.Void](t, b, `document.activeElement.blur(), window.scrollTo(0, 0)`)
		var order []string
		for range 10 {
			b.do(t, chromedp.KeyEvent("\t"))
			order = append(order, eval[string](t, b, `(document.activeElement.closest("[id]")?.id ?? "") + "/" + document.activeElement.tagName.toLowerCase()`))
			if !eval[bool](t, b, focusShows) {
				t.Errorf("the focus on %s does not show", order[len(order)-1])
			}
		}
		got := strings.Join(order, " ")
		for _, want := range []string{"pause/button", "open/svg", "fresh/svg", "traffic/svg"} {
			if !strings.Contains(got, want) {
				t.Errorf("Tab reaches %s, but not %s", got, want)
			}
		}
		b.do(t, chromedp.Focus("#open svg"), chromedp.KeyEvent(kb.ArrowLeft))
		b.until(t, `document.querySelector("#open .when").textContent.startsWith("at ")`)
		b.do(t, chromedp.Focus("#pause"), chromedp.KeyEvent(" "))
		b.until(t, `document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
		b.do(t, chromedp.KeyEvent(" "))
		b.until(t, `document.querySelector("#pause").getAttribute("aria-pressed") === "false"`)
	})

	b.check(t, base)
	server.Close()
	b.until(t, `!document.querySelector("#lost").hidden`)
	b.until(t, `document.body.classList.contains("stale")`)
}

// TestPageAsksForTheToken reads a page that shows nothing without one.
func TestPageAsksForTheToken(t *testing.T) {
	b := startBrowser(t)
	r := newRig(t)
	r.apply(listener("web", group(r.echo(), r.echo())))
	server := NewServer(r.daemon, r.logger())
	t.Cleanup(server.Close)
	settings := Settings{Address: "127.0.0.1:0", Token: testToken}
	r.put(server, settings)
	base := server.URL()
	enter := func(token string) {
		t.Helper()
		eval[chromedp.Void](t, b, `document.querySelector("#token").value = "", document.querySelector("#token").focus()`)
		b.do(t, chromedp.KeyEvent(token+"\r"))
	}

	b.do(t, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(base))
	b.until(t, `!document.querySelector("#locked").hidden`)
	b.until(t, `document.activeElement.id === "token"`)
	if shown := eval[bool](t, b, `document.querySelector("#verdict").checkVisibility() || document.querySelector("#pause").checkVisibility()`); shown {
		t.Error("more than the question is shown")
	}
	enter("wrong-wrong-wrong-wrong")
	b.until(t, `document.querySelector("#refused").textContent === "balance does not take this token."`)
	enter("sécrèt")
	b.until(t, `document.querySelector("#refused").textContent === "This cannot be a token."`)
	for _, scheme := range []string{"light", "dark"} {
		b.paint(t, scheme)
		for _, low := range eval[[]string](t, b, contrasts) {
			t.Errorf("%s: hard to read: %s", scheme, low)
		}
	}
	b.do(t, chromedp.EmulateViewport(320, 800))
	if wide := eval[int](t, b, `document.documentElement.scrollWidth`); wide > 320 {
		t.Errorf("the page is %d pixels wide on a screen of 320", wide)
	}

	const open = `document.querySelectorAll("tbody tr").length === 2 && document.querySelector("#locked").hidden && document.querySelector("#verdict").checkVisibility()`
	enter(testToken)
	b.until(t, open)
	if shown := eval[bool](t, b, `document.querySelector('nav a[href="metrics"]').checkVisibility()`); shown {
		t.Error("there is a link that leads nowhere without the token")
	}
	if value := eval[string](t, b, `document.querySelector("#token").value`); value != "" {
		t.Error("the token stays in the form")
	}
	b.do(t, chromedp.Reload())
	b.until(t, open)

	// Another token, and none.
	settings.Token = testToken + "2"
	r.put(server, settings)
	b.until(t, `!document.querySelector("#locked").hidden`)
	enter(settings.Token)
	b.until(t, open)
	settings.Token = ""
	r.put(server, settings)
	b.do(t, chromedp.Evaluate[chromedp.Void](`sessionStorage.clear()`), chromedp.Reload())
	b.until(t, open)
	b.until(t, `document.querySelector('nav a[href="metrics"]').checkVisibility()`)

	b.forgive("status of 401")
	b.check(t, base)
}

// TestPageTellsOfHealth shows states that are made up, with words that servers
// might have said.
func TestPageTellsOfHealth(t *testing.T) {
	b := startBrowser(t)
	now := time.Now()
	l := sick(now)
	changes := []engine.Event{
		{ID: 1, Time: now.Add(-time.Minute), Listener: hostile, Channel: "db1:80", What: "up"},
		{ID: 2, Time: now.Add(-12 * time.Second), Listener: "web", Channel: "db1:80", What: "down", Reason: hostile},
	}
	mux := http.NewServeMux()
	mux.Handle("/", newHandler(&Daemon{newRig(t).daemon}, new(history), Settings{}))
	mux.HandleFunc("/api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, status{Now: now, Started: now.Add(-time.Hour), Problems: []string{}, Warnings: []string{}, Listeners: []listenerStatus{control.ReportListener(&l)}})
	})
	mux.HandleFunc("/api/v1/events", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, eventList{Events: changes})
	})
	server := httptest.NewServer(guard(Settings{}, mux))
	t.Cleanup(server.Close)

	b.do(t, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL))
	b.until(t, `document.querySelectorAll("tbody tr").length === 4`)
	text := func(selector string, n int) string {
		t.Helper()
		return eval[string](t, b, fmt.Sprintf(`document.querySelectorAll(%q)[%d].textContent`, selector, n))
	}
	for i, want := range []string{"✕downfor 12 s", "▲held offfor 0 s", "◌untested", "◆slowfor 1 min"} {
		if got := text("td.state", i); got != want {
			t.Errorf("state %d is shown as %q, want %q", i, got, want)
		}
	}
	for i, want := range []string{hostile, "for another 4 s: refused", "", ""} {
		if got := text("td.channel .reason", i); got != want {
			t.Errorf("reason %d is shown as %q, want %q", i, got, want)
		}
	}
	if got, want := text("td.channel .check", 0), "checked 2 s ago in 1.5 ms: said "+hostile; got != want {
		t.Errorf("the check is shown as %q, want %q", got, want)
	}
	if got, want := text(".headline", 0), "3 of 4 channels need a look."; got != want {
		t.Errorf("the headline is %q, want %q", got, want)
	}
	if got, want := text(".problems li", 0), "web, group 0, db1:80: down ("+hostile+")"; got != want {
		t.Errorf("the first problem is %q, want %q", got, want)
	}
	for i, want := range []string{" web db1:80 down: " + hostile, " " + hostile + " db1:80 up"} {
		if got := text("#changes li", i); !strings.HasSuffix(got, want) || len(got) != len("15:04:05")+len(want) {
			t.Errorf("change %d is shown as %q, want %q", i, got, want)
		}
	}
	if n := eval[int](t, b, `document.querySelectorAll("main img, main script").length`); n != 0 {
		t.Errorf("words became %d elements", n)
	}
	for _, scheme := range []string{"light", "dark"} {
		b.paint(t, scheme)
		for _, low := range eval[[]string](t, b, contrasts) {
			t.Errorf("%s: hard to read: %s", scheme, low)
		}
	}
	for _, width := range []int64{375, 320} {
		b.do(t, chromedp.EmulateViewport(width, 800))
		if wide := eval[int](t, b, `document.documentElement.scrollWidth`); wide > int(width) {
			t.Errorf("the page is %d pixels wide on a screen of %d", wide, width)
		}
	}
	b.check(t, server.URL)
}

// focusShows is true if the element that has the focus has an outline.
const focusShows = `(() => {
	const style = getComputedStyle(document.activeElement);
	return document.activeElement !== document.body && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
})()`

// contrasts lists the texts whose contrast is below 4.5 to 1 (WCAG 2.1, 1.4.3).
const contrasts = `(() => {
	const parse = (color) => color.match(/[\d.]+/g).map(Number);
	const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
		.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
	const ground = (node) => {
		for (; node; node = node.parentElement) {
			const color = parse(getComputedStyle(node).backgroundColor);
			if (color.length === 3 || color[3] === 1) return color;
		}
		return [255, 255, 255];
	};
	const low = [];
	for (const node of document.querySelectorAll("body *")) {
		const own = [...node.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
		if (!own || node.closest("noscript, svg, [hidden]")) continue;
		const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) low.push(node.textContent.trim().slice(0, 40) + " " + ratio.toFixed(2));
	}
	return low;
})()`

// TestScreenshot writes what the README shows, if it is told where to.
func TestScreenshot(t *testing.T) {
	path := os.Getenv("BALANCE_SCREENSHOT")
	if path == "" {
		t.Skip("BALANCE_SCREENSHOT names no file")
	}
	b := startBrowser(t)
	server := scene(t)
	width, height, scheme := int64(1200), int64(1000), "light"
	fmt.Sscanf(os.Getenv("BALANCE_SCREENSHOT_SIZE"), "%dx%d-%s", &width, &height, &scheme)
	b.paint(t, scheme)
	b.do(t,
		chromedp.EmulateViewport(width, height),
		chromedp.Navigate(server.URL()),
		chromedp.WaitVisible("tbody tr"),
		chromedp.Sleep(9*sampleEvery))
	picture, err := chromedp.Run(b, chromedp.FullScreenshot(100))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
