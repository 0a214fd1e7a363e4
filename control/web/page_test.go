package web

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	"balance/engine/spec"
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

// check tells what was heard since the last check.
func (b *browser) check(t *testing.T, base string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.complaints, b.asked = nil, nil }()
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

// open shows a page, in a window of a size.
func (b *browser) open(t *testing.T, url string, width, height int64) {
	t.Helper()
	b.do(t, chromedp.EmulateViewport(width, height), chromedp.Navigate("about:blank"))
	b.mu.Lock()
	b.complaints, b.asked = nil, nil
	b.mu.Unlock()
	b.do(t, chromedp.Navigate(url))
}

// fits tells of a page that is wider than a phone.
func (b *browser) fits(t *testing.T) {
	t.Helper()
	for _, width := range []int64{375, 320} {
		b.do(t, chromedp.EmulateViewport(width, 800))
		if wide := eval[int](t, b, `document.documentElement.scrollWidth`); wide > int(width) {
			t.Errorf("the page is %d pixels wide on a screen of %d", wide, width)
		}
	}
	b.do(t, chromedp.EmulateViewport(1280, 900))
}

// accessible has axe look at the page, light and dark; without axe the contrasts
// alone are looked at.
func (b *browser) accessible(t *testing.T, what string) {
	t.Helper()
	script := os.Getenv(axeVariable)
	if script != "" {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		if eval[bool](t, b, `typeof axe === "undefined"`) {
			b.do(t, chromedp.Evaluate[chromedp.Void](string(text)+"; undefined"))
		}
	}
	for _, scheme := range []string{"light", "dark"} {
		b.paint(t, scheme)
		for _, low := range eval[[]string](t, b, contrasts) {
			t.Errorf("%s, %s: hard to read: %s", what, scheme, low)
		}
		if script == "" {
			continue
		}
		var violations []string
		for range 5 { // the page may have been drawn anew under axe's eyes
			var err error
			violations, err = chromedp.Run(b, chromedp.Evaluate[[]string](axeRun, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			if len(violations) == 0 {
				break
			}
			time.Sleep(time.Second)
		}
		for _, violation := range violations {
			t.Errorf("%s, %s: %s", what, scheme, violation)
		}
	}
	b.paint(t, "light")
}

// axeVariable names the file of axe-core that the page is examined with.
const axeVariable = "BALANCE_AXE"

// axeRun comes to what axe finds: the rule, and the first node that breaks it.
const axeRun = `axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) =>
	violations.map((v) => v.id + ": " + v.help + ": " + v.nodes.length + ": " + v.nodes[0].html.slice(0, 200) + " " + v.nodes[0].failureSummary))`

// until waits until an expression is true.
func (b *browser) until(t *testing.T, expression string) {
	t.Helper()
	for end := time.Now().Add(patience); !eval[bool](t, b, expression); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s; the page says:\n%s", expression, eval[string](t, b, "document.body.innerText"))
		}
	}
}

// press clicks on what a selector finds, once that can be seen.
func (b *browser) press(t *testing.T, selector string) {
	t.Helper()
	b.until(t, fmt.Sprintf(`Boolean(document.querySelector(%q)?.checkVisibility())`, selector))
	eval[chromedp.Void](t, b, fmt.Sprintf(`document.querySelector(%q).click()`, selector))
}

// asks waits for a question, and compares what it says.
func (b *browser) asks(t *testing.T, title, text, verb string) {
	t.Helper()
	b.until(t, `document.querySelector("#question").open`)
	got := eval[[]string](t, b, `["#question-title", "#question-text", "#question .yes"].map((of) => document.querySelector(of).textContent)`)
	if want := []string{title, text, verb}; !slices.Equal(got, want) {
		t.Errorf("it is asked %q, want %q", got, want)
	}
}

const hostile = `<img src=x onerror="alert(1)"><script>alert(2)</script>&amp;'"`

// TestPage looks at the page with a browser, one for all: it takes longest to start.
func TestPage(t *testing.T) {
	b := startBrowser(t)
	t.Run("Live", b.live)
	t.Run("Many", b.many)
	t.Run("TenThousand", b.tenThousand)
	t.Run("Views", b.views)
	t.Run("Acts", b.acts)
	t.Run("Undoing", b.undoing)
	t.Run("Late", b.late)
	t.Run("Token", b.token)
	t.Run("Health", b.health)
	t.Run("Pictures", b.pictures)
	if os.Getenv(axeVariable) == "" {
		t.Run("Axe", func(t *testing.T) {
			t.Skipf("%s names no file of axe-core: contrasts alone were looked at", axeVariable)
		})
	}
}

// live follows a daemon as it is used, reloaded and lost.
func (b *browser) live(t *testing.T) {
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

	b.open(t, base, 1280, 900)
	b.until(t, `document.querySelectorAll(".cell").length === 2`)
	b.until(t, `/^All is well: . of 6 channels are up,.* 1 taken out of service\.$/.test(document.querySelector(".headline").textContent)`)
	if got := eval[string](t, b, `document.querySelectorAll(".cell .name")[1].textContent`); got != hostile {
		t.Errorf("the name of the second listener is shown as %q", got)
	}
	for range 6 { // two a channel: one takes what the failing one does not
		r.talk(r.dial(0), 1000)
	}
	b.until(t, `document.querySelectorAll(".cell.open tbody tr").length === 4`)
	for _, want := range []string{
		`document.querySelectorAll(".cell tbody td.load")[0].textContent.startsWith("3 of 4")`,
		`document.querySelectorAll(".cell tbody td.weight")[0].textContent === "1 · 50 %"`,
		`document.querySelector(".cell .load b").textContent === "6"`,
		`document.querySelector(".cell .notes").textContent.includes("0 waiting")`,
		`document.querySelectorAll(".cell tbody td.state")[2].textContent.includes("failing")`,
		`document.querySelectorAll(".cell tbody td.errors-of")[2].textContent.includes("refused")`,
		`/refused.*, since \d\d:\d\d/.test(document.querySelectorAll(".cell tbody .why")[2].textContent)`,
		`document.querySelector("#verdict").className === "notice bad"`,
		`document.querySelector('#open [data-of="active"]').textContent === "6"`,
		`document.querySelector("#traffic path.one").getAttribute("d").length > 10`,
		`document.querySelector("#events li").textContent.includes("failing")`,
		`document.querySelectorAll("#open line.flag.bad").length > 0`,
	} {
		b.until(t, want)
	}

	// The link in the banner leads to the channel, and its curves.
	eval[chromedp.Void](t, b, `document.querySelector(".problems a").click()`)
	b.until(t, `document.activeElement.className === "link" && document.activeElement.getAttribute("aria-expanded") === "true"`)
	b.until(t, `document.querySelectorAll("tr.detail svg.chart").length === 3`)
	if acts := eval[int](t, b, `document.querySelectorAll("tr.detail .acts button").length`); acts != 0 {
		t.Errorf("%d acts are offered to who may do nothing", acts)
	}

	r.reloaded(control.Reload{Time: time.Now(), Errs: []error{errors.New("balance.toml:3: " + hostile), errors.New("balance.toml:9: port 0 is not one of 1 to 65535")}})
	b.until(t, `document.querySelector(".problems").textContent.includes("the last reload failed: balance.toml:3")`)
	eval[chromedp.Void](t, b, `document.querySelector(".problems a").click()`)
	b.until(t, `document.querySelector("#configuration").checkVisibility() && document.querySelectorAll(".errors li").length === 2`)
	if got := eval[string](t, b, `document.querySelector(".errors li").textContent`); got != "balance.toml:3: "+hostile {
		t.Errorf("the error is shown as %q", got)
	}
	b.until(t, `document.querySelectorAll("#settings details").length > 4`)
	r.reloaded(control.Reload{Time: time.Now(), Hash: strings.Repeat("ab", 32)})
	b.until(t, `document.querySelectorAll(".errors li").length === 0`)
	if n := eval[int](t, b, `document.querySelectorAll("main img, main script").length`); n != 0 {
		t.Errorf("names became %d elements", n)
	}

	b.check(t, base)
	server.Close()
	b.until(t, `!document.querySelector("#lost").hidden && document.body.classList.contains("stale")`)
	b.forgive("ERR_CONNECTION_REFUSED")
	b.do(t, chromedp.Navigate("about:blank"))
	b.check(t, "")
}

// many looks at 20 listeners and 200 channels, of which a few are not well.
func (b *browser) many(t *testing.T) {
	server := scene{listeners: 20, channels: 10, trouble: true}.serve(t)
	b.open(t, server.URL, 1366, 768)
	b.until(t, `document.querySelectorAll(".cell").length === 20`)
	if got, want := eval[string](t, b, `document.querySelector(".headline").textContent`), "3 of 200 channels need a look; every listener serves its clients."; got != want {
		t.Errorf("the headline is %q, want %q", got, want)
	}
	if got, want := eval[[]string](t, b, `[...document.querySelectorAll(".cell.open .name")].map((n) => n.textContent)`), []string{"web", "pg-main", "imap"}; !slices.Equal(got, want) {
		t.Errorf("unfolded are %q, want %q", got, want)
	}
	if got := eval[int](t, b, `document.querySelectorAll(".cell tbody tr").length`); got != 3 {
		t.Errorf("%d channels are unfolded, though 3 are troubled", got)
	}
	// That is how far one has to scroll.
	for _, screen := range []struct{ width, height, most int64 }{{1366, 768, 2100}, {390, 844, 4300}} {
		b.do(t, chromedp.EmulateViewport(screen.width, screen.height))
		if tall := eval[int64](t, b, `document.documentElement.scrollHeight`); tall > screen.most {
			t.Errorf("the page is %d pixels tall on a screen of %dx%d", tall, screen.width, screen.height)
		}
	}
	if !eval[bool](t, b, `document.querySelector(".cells").getBoundingClientRect().bottom <= document.querySelector(".charts").getBoundingClientRect().top`) {
		t.Error("on a phone the charts come before the servers")
	}
	b.fits(t)

	b.do(t, chromedp.KeyEvent("/"))
	b.until(t, `document.activeElement.id === "filter"`)
	b.do(t, chromedp.KeyEvent(kb.Escape)) // the browser that is driven writes what it is told not to
	for _, step := range []struct{ keys, cells, rows string }{
		{"10.7.0.13", "auth", "10.7.0.13:8080"},
		{kb.Escape, "", ""},
		{"held off", "web", "10.0.0.12:8080"},
	} {
		b.do(t, chromedp.KeyEvent(step.keys))
		if step.cells == "" {
			b.until(t, `document.querySelectorAll(".cell").length === 20`)
			continue
		}
		b.until(t, fmt.Sprintf(`[...document.querySelectorAll(".cell .name")].map((n) => n.textContent).join() === %q`, step.cells))
		b.until(t, fmt.Sprintf(`[...document.querySelectorAll(".cell tbody .link")].map((n) => n.textContent).join() === %q`, step.rows))
	}
	b.do(t, chromedp.KeyEvent(kb.Escape))
	eval[chromedp.Void](t, b, `document.querySelector("#troubled").click()`)
	b.until(t, `document.querySelectorAll(".cell").length === 3`)
	eval[chromedp.Void](t, b, `document.querySelector("#troubled").click()`)
	for order, first := range map[string]string{"name": "admin", "active": "imap"} {
		eval[chromedp.Void](t, b, fmt.Sprintf(`document.querySelector("#sort").value = %q, document.querySelector("#sort").dispatchEvent(new Event("input"))`, order))
		b.until(t, fmt.Sprintf(`document.querySelector(".cell .name").textContent === %q`, first))
	}

	// Everything can be reached and seen with the keyboard.
	eval[chromedp.Void](t, b, `document.querySelector("#sort").value = "trouble", document.querySelector("#sort").dispatchEvent(new Event("input"))`)
	b.do(t, chromedp.Focus(".skip"))
	var order []string
	for i := range 24 {
		if i > 0 {
			b.do(t, chromedp.KeyEvent("\t"))
		}
		order = append(order, eval[string](t, b, `document.activeElement.id || document.activeElement.className || document.activeElement.localName`))
		if !eval[bool](t, b, focusShows) {
			t.Errorf("the focus on %s does not show", order[len(order)-1])
		}
	}
	got := strings.Join(order, " ")
	for _, want := range []string{"skip", "pause", "filter", "sort", "troubled", "fold", "link", "more"} {
		if !strings.Contains(got, want) {
			t.Errorf("Tab reaches %s, but not %s", got, want)
		}
	}
	b.do(t, chromedp.Focus("#open svg"), chromedp.KeyEvent(kb.ArrowLeft))
	b.until(t, `document.querySelector("#open .when").textContent.startsWith("at ")`)
	b.do(t, chromedp.Focus("#pause"), chromedp.KeyEvent(" "))
	b.until(t, `document.querySelector("#pause").getAttribute("aria-pressed") === "true"`)
	eval[chromedp.Void](t, b, `document.querySelector(".problems a").click()`)
	b.until(t, `document.querySelectorAll("tr.detail").length === 1`)
	b.accessible(t, "many")
	b.check(t, server.URL)
}

// tenThousand has one listener with so many channels: few of them are made, and
// the filter finds any.
func (b *browser) tenThousand(t *testing.T) {
	server := scene{listeners: 10, channels: 1000}.serve(t)
	b.open(t, server.URL, 1366, 768)
	b.until(t, `document.querySelectorAll(".cell").length === 10`)
	eval[chromedp.Void](t, b, `document.querySelector(".fold").click()`)
	b.until(t, `document.querySelectorAll(".cell tbody tr").length === 60`)
	if nodes := eval[int](t, b, `document.querySelectorAll("*").length`); nodes > 3000 {
		t.Errorf("the page has %d elements", nodes)
	}
	b.check(t, server.URL)
}

// views shows sessions and configuration.
func (b *browser) views(t *testing.T) {
	server := scene{listeners: 3, channels: 4, write: true}.serve(t)
	b.open(t, server.URL+"/#/sessions", 1366, 768)
	b.until(t, `document.querySelectorAll("#sessions tbody tr").length === 40`)
	if got := eval[string](t, b, `document.querySelector("#sessions .shown").textContent`); got != "40 of 2,345; a filter narrows them" {
		t.Errorf("it says %q", got)
	}
	eval[chromedp.Void](t, b, `document.querySelectorAll("#sessions .sort")[8].click()`)
	b.until(t, `document.querySelector("#sessions tbody tr td").textContent === "118" && document.querySelectorAll("#sessions th")[8].getAttribute("aria-sort") === "descending"`)
	b.accessible(t, "sessions")
	b.fits(t)
	eval[chromedp.Void](t, b, `location.hash = "#/configuration"`)
	b.until(t, `document.querySelectorAll("#settings > details").length === 7`)
	b.accessible(t, "configuration")
	b.fits(t)
	b.check(t, server.URL)
}

// acts does to a daemon what the page offers, and is asked each time.
func (b *browser) acts(t *testing.T) {
	r := newRig(t)
	one, two := r.echo(), r.echo()
	r.apply(listener("web", group(one, two)))
	r.talk(r.dial(0), 10)
	server := NewServer(r.daemon, r.logger())
	t.Cleanup(server.Close)
	r.put(server, Settings{Address: "127.0.0.1:0", Token: testToken, Write: true})
	base := server.URL()
	b.open(t, base, 1366, 768)
	b.until(t, `document.activeElement.id === "token"`)
	b.do(t, chromedp.KeyEvent(testToken+"\r"))
	b.until(t, `document.querySelectorAll(".cell tbody tr").length === 2`)
	eval[chromedp.Void](t, b, `document.querySelector("tbody .link").click()`)
	press := func(selector string) { t.Helper(); b.press(t, selector) }
	state := func() string { return r.engine.Snapshot().Listeners[0].Groups[0].Channels[0].State.String() }

	press("tr.detail .acts button")
	b.until(t, `document.querySelector("#question").open && document.querySelector("#question-title").textContent.startsWith("Drain web/127.0.0.1:")`)
	if got := eval[string](t, b, `document.querySelector("#question-text").textContent`); got != "It gets no new sessions. Those it has (1) may come to their end; then it is disabled, until somebody enables it." {
		t.Errorf("it is asked %q", got)
	}
	b.accessible(t, "question")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.until(t, `!document.querySelector("#question").open`)
	if state() != "up" {
		t.Errorf("it was not asked for, and yet the channel is %s", state())
	}
	press("tr.detail .acts button")
	press("#question .yes")
	b.until(t, `document.querySelector("tbody td.state").textContent.includes("draining") && !document.querySelector("#question").open`)
	press("tr.detail .acts button")
	b.until(t, `document.querySelector("#question-title").textContent.startsWith("Enable web/")`)
	press("#question .yes")
	b.until(t, `document.querySelector("tbody td.state").textContent.includes("up")`)
	b.until(t, `[...document.querySelectorAll("#events li.act")].map((n) => n.textContent).join().includes("by page")`)

	press("tr.detail .acts a")
	press("#sessions tbody button")
	press("#question .yes")
	b.until(t, `document.querySelectorAll("#sessions tbody tr").length === 0`)
	if n := r.engine.Snapshot().Listeners[0].Active; n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	b.forgive("status of 401")
	b.do(t, chromedp.Evaluate[chromedp.Void](`sessionStorage.clear()`))
	b.check(t, base)
}

// undo plays the part of the daemon that keeps configurations.
type undo struct {
	mu      sync.Mutex
	kept    []control.Configuration // guarded by mu
	waiting *control.Unconfirmed    // guarded by mu
	refuses error                   // guarded by mu
	calls   []string                // guarded by mu
}

// serve has a daemon keep them so.
func (u *undo) serve(d *control.Daemon) {
	d.History = func() []control.Configuration {
		u.mu.Lock()
		defer u.mu.Unlock()
		return slices.Clone(u.kept)
	}
	d.Compare = func(number int) (control.Comparison, error) {
		return control.Comparison{Before: number - 1,
			Changed:  spec.Changes{{Sign: spec.Added, Listener: "web", Channel: "10.0.0.19:8080"}, {Sign: spec.Removed, Listener: hostile}},
			Rollback: spec.Changes{{Sign: spec.Changed, Listener: "web", Channel: "10.0.0.10:8080", Key: "weight", Old: "3", New: "1"}}}, nil
	}
	d.Unconfirmed = func() *control.Unconfirmed {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.waiting
	}
	d.Confirm = func(by engine.Actor) (int, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.calls = append(u.calls, fmt.Sprintf("confirm by %s", by))
		u.waiting = nil
		return len(u.kept), nil
	}
	d.Rollback = func(by engine.Actor, number int, write bool) (control.Rollback, error) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.calls = append(u.calls, fmt.Sprintf("rollback to %d by %s, write %t", number, by, write))
		if u.refuses != nil {
			return control.Rollback{}, u.refuses
		}
		u.waiting = nil
		u.keepLocked(fmt.Sprintf("rollback %d", number))
		return control.Rollback{To: number, Number: len(u.kept)}, nil
	}
}

func (u *undo) keepLocked(why string) {
	for i := range u.kept {
		u.kept[i].InForce = false
	}
	u.kept = append(u.kept, control.Configuration{Number: len(u.kept) + 1, Time: time.Now(), By: "ann (1000), control", Why: why, Changes: 1, InForce: true})
}

// set puts a configuration in force that waits to be confirmed, if it is to, and
// says what becomes of the next rollback.
func (u *undo) set(why string, waits bool, refuses error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.keepLocked(why)
	u.refuses = refuses
	if n := len(u.kept); waits {
		u.waiting = &control.Unconfirmed{Number: n, Back: n - 1, By: "ann (1000), control", Why: why, Since: time.Now(), Until: time.Now().Add(10 * time.Minute)}
	}
}

// called returns what was asked for since it was called last.
func (u *undo) called() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer func() { u.calls = nil }()
	return strings.Join(u.calls, ", ")
}

// undoing reads the history, goes back in it, and answers for a change that
// waits to be confirmed.
func (b *browser) undoing(t *testing.T) {
	r, u := newRig(t), new(undo)
	r.apply(listener("web", group(r.echo())))
	u.serve(&r.daemon)
	u.set("start", false, nil)
	u.set("reload", false, nil)
	u.set("apply new.toml", true, errors.New("it cannot listen"))
	server := NewServer(r.daemon, r.logger())
	t.Cleanup(server.Close)
	r.put(server, Settings{Address: "127.0.0.1:0", Token: testToken, Write: true})
	base := server.URL()
	b.open(t, base+"#/configuration", 1366, 768)
	b.until(t, `document.activeElement.id === "token"`)
	b.do(t, chromedp.KeyEvent(testToken+"\r"))

	// The history, the latest first, and a diff of it.
	const entries = `[...document.querySelectorAll("#past li")].map((li) => ["b", ".muted", ":scope > button"].map((part) => li.querySelector(part)?.textContent.trim()).filter(Boolean).join(" "))`
	expect := func(want ...string) {
		t.Helper()
		b.until(t, fmt.Sprintf(`%s.length === %d`, entries, len(want)))
		if got := eval[[]string](t, b, entries); !slices.Equal(got, want) {
			t.Errorf("the history is %q, want %q", got, want)
		}
	}
	const by = ", by ann (1000), control, 1 change"
	expect("3 apply new.toml"+by+", in force", "2 reload"+by+" Go back to it…", "1 start"+by+" Go back to it…")
	for entry, want := range map[int]string{
		2: "What it changed from 1\n+ web channel 10.0.0.19:8080\n- " + hostile + "\n\nWhat going back to it would change now\n~ web channel 10.0.0.10:8080 weight 3 → 1\n",
		1: "What it changed from 2\n+ web channel 10.0.0.19:8080\n- " + hostile + "\n",
	} {
		diff := fmt.Sprintf(`document.querySelector("#past li:nth-child(%d) .diff")`, entry)
		if eval[bool](t, b, diff+`.checkVisibility()`) {
			t.Errorf("diff %d is there before it is asked for", entry)
		}
		b.press(t, fmt.Sprintf("#past li:nth-child(%d) summary", entry))
		b.until(t, diff+`.checkVisibility() && `+diff+`.textContent !== ""`)
		if got := eval[string](t, b, diff+`.textContent`); got != want {
			t.Errorf("diff %d is %q, want %q", entry, got, want)
		}
	}
	if got := eval[string](t, b, `[...document.querySelectorAll("#past li:nth-child(2) .diff span")].map((line) => line.className).join()`); got != "added,removed,changed" {
		t.Errorf("the lines of a diff look like %s", got)
	}

	// The banner, whose clock runs down, is answered.
	const left = `(([, min, s]) => 60 * min + Number(s ?? 0))(document.querySelector("#confirm p").textContent.match(/itself in (\d+) min(?: (\d+) s)?,/))`
	b.until(t, `document.querySelector("#confirm").checkVisibility()`)
	banner := eval[string](t, b, `document.querySelector("#confirm p").textContent.replace(/\d+ min( \d+ s)?/, "TIME")`)
	if want := "Change 3 (apply new.toml, by ann (1000), control) is undone by itself in TIME, unless somebody confirms it. Configuration 2 comes back then."; banner != want {
		t.Errorf("the banner says %q, want %q", banner, want)
	}
	b.until(t, fmt.Sprintf(`%s < %d`, left, eval[int](t, b, left)))
	b.accessible(t, "unconfirmed")
	b.fits(t)

	const confirm, back = `#confirm [data-act="confirm"]`, `#confirm [data-act="rollback"]`
	const closed = `!document.querySelector("#question").open`
	const calm = closed + ` && !document.querySelector("#confirm").checkVisibility()`
	const stays = "It is put in force as one more change; the file on disk stays as it is, and differs from then on."
	b.press(t, confirm)
	b.asks(t, "Keep this configuration?", "It stays in force, and does not go back by itself any more.", "Confirm")
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.until(t, closed)
	b.press(t, back)
	b.asks(t, "Go back to the configuration before?", stays, "Go back")
	if got := u.called(); got != "" {
		t.Errorf("nothing was answered, but there came %s", got)
	}
	b.press(t, "#question .yes")
	b.until(t, `document.querySelector("#question .problem").textContent === "It was not done: it cannot listen"`)
	if got, want := u.called(), "rollback to 0 by page from 127.0.0.1, write false"; got != want {
		t.Errorf("there came %q, want %q", got, want)
	}
	b.do(t, chromedp.KeyEvent(kb.Escape))
	b.until(t, closed)
	b.press(t, confirm)
	b.asks(t, "Keep this configuration?", "It stays in force, and does not go back by itself any more.", "Confirm")
	if got := eval[string](t, b, `document.querySelector("#question .problem").textContent`); got != "" {
		t.Errorf("the new question shows the old problem: %q", got)
	}
	b.press(t, "#question .yes")
	b.until(t, calm)
	if got, want := u.called(), "confirm by page from 127.0.0.1"; got != want {
		t.Errorf("there came %q, want %q", got, want)
	}

	// Back to one of the history, and from a banner.
	u.set("weight 0 3", true, nil)
	b.until(t, `document.querySelector("#confirm").checkVisibility()`)
	b.press(t, "#past li:nth-child(3) button")
	b.asks(t, "Go back to configuration 1?", stays, "Go back")
	b.press(t, "#question .yes")
	b.until(t, calm)
	expect("5 rollback 1"+by+", in force", "4 weight 0 3"+by+" Go back to it…", "3 apply new.toml"+by+" Go back to it…",
		"2 reload"+by+" Go back to it…", "1 start"+by+" Go back to it…")
	u.set("maxc 0 9", true, nil)
	b.press(t, back)
	b.press(t, "#question .yes")
	b.until(t, calm)
	if got, want := u.called(), "rollback to 1 by page from 127.0.0.1, write false, rollback to 0 by page from 127.0.0.1, write false"; got != want {
		t.Errorf("there came %q, want %q", got, want)
	}
	b.forgive("status of 401")
	b.forgive("status of 409") // of what was refused
	b.do(t, chromedp.Evaluate[chromedp.Void](`sessionStorage.clear()`))
	b.check(t, base)
}

// late has an answer come after a later one: it is not shown any more.
func (b *browser) late(t *testing.T) {
	made := scene{listeners: 1, channels: 2}
	var asked atomic.Uint64
	release := make(chan struct{})
	page := made.handler(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/status" {
			page.ServeHTTP(w, r)
			return
		}
		turn := asked.Add(1)
		if turn == 2 {
			select {
			case <-release:
			case <-r.Context().Done(): // nobody waits for it any more
			}
		}
		answer := made.status(time.Now(), 0)
		answer.Generation = turn
		writeJSON(w, answer)
	}))
	t.Cleanup(server.Close)

	b.open(t, server.URL+"/#/configuration", 1366, 768)
	eventually(t, "it is asked again", func() bool { return asked.Load() == 2 })
	eval[chromedp.Void](t, b, `window.seen = [], new MutationObserver(() => seen.push(document.querySelectorAll("#configuration .facts dd")[1].textContent))
		.observe(document.querySelector("#configuration .facts"), { subtree: true, childList: true, characterData: true })`)
	for _, want := range []string{"true", "false"} { // Pause, and on
		b.press(t, "#pause")
		b.until(t, fmt.Sprintf(`document.querySelector("#pause").getAttribute("aria-pressed") === %q`, want))
	}
	b.until(t, `seen.includes("3")`)
	close(release)
	b.until(t, `seen.includes("5")`)
	if seen := eval[[]string](t, b, `seen`); slices.Contains(seen, "2") {
		t.Errorf("generations are seen as %q", seen)
	}
	b.check(t, server.URL)
}

// token reads a page that shows nothing without one.
func (b *browser) token(t *testing.T) {
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

	b.open(t, base, 1280, 900)
	b.until(t, `!document.querySelector("#locked").hidden`)
	b.until(t, `document.activeElement.id === "token"`)
	if shown := eval[bool](t, b, `document.querySelector("#verdict").checkVisibility() || document.querySelector("#pause").checkVisibility()`); shown {
		t.Error("more than the question is shown")
	}
	enter("wrong-wrong-wrong-wrong")
	b.until(t, `document.querySelector("#refused").textContent === "balance does not take this token."`)
	enter("sécrèt")
	b.until(t, `document.querySelector("#refused").textContent === "This cannot be a token."`)
	b.accessible(t, "token")
	b.fits(t)

	const open = `document.querySelectorAll(".cell tbody tr").length === 2 && document.querySelector("#locked").hidden && document.querySelector("#verdict").checkVisibility()`
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

// health shows states that are made up, with words that servers might have
// said.
func (b *browser) health(t *testing.T) {
	now := time.Now()
	l := sick(now)
	changes := []engine.Event{
		{ID: 1, Time: now.Add(-time.Minute), Listener: hostile, Channel: "db1:80", Name: "w1", What: "up"},
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

	b.open(t, server.URL, 1280, 900)
	b.until(t, `document.querySelectorAll(".cell tbody tr").length === 4`)
	text := func(selector string, n int) string {
		t.Helper()
		return eval[string](t, b, fmt.Sprintf(`document.querySelectorAll(%q)[%d].textContent`, selector, n))
	}
	for i, want := range []string{"✕downfor 12 s", "▲held offfor 0 s", "◌untested", "◆slowfor 1 min"} {
		if got := text("td.state", i); got != want {
			t.Errorf("state %d is shown as %q, want %q", i, got, want)
		}
	}
	at := func(ago time.Duration) string { // as the browser has it, which may stand in another zone
		return eval[string](t, b, fmt.Sprintf(`new Date(%d).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" })`, now.Add(-ago).UnixMilli()))
	}
	for i, want := range []string{hostile + ", since " + at(12*time.Second), "refused, since " + at(0) + ", for another 4 s", "", "in service, but was sent bytes and sends none back, since " + at(time.Minute)} {
		if got := text("td.channel .why", i); got != want {
			t.Errorf("reason %d is shown as %q, want %q", i, got, want)
		}
	}
	if got, want := text(".headline", 0), "Listener web serves nobody."; got != want {
		t.Errorf("the headline is %q, want %q", got, want)
	}
	if got, want := text(".problems li", 0), "web w1: down, "+hostile+", since "+at(12*time.Second); got != want {
		t.Errorf("the first problem is %q, want %q", got, want)
	}
	for i, want := range []string{"✕web db1:80 down: " + hostile, "●" + hostile + " w1 up"} {
		if got := text("#events li", i); !strings.HasSuffix(got, want) || len(got) != len("15:04:05")+len(want) {
			t.Errorf("event %d is shown as %q, want %q", i, got, want)
		}
	}
	eval[chromedp.Void](t, b, `document.querySelector("tbody .link").click()`)
	b.until(t, `document.querySelectorAll("tr.detail .facts dd").length === 7`)
	if got, want := text("tr.detail .facts dd", 1), "http of db1:8008, 2 s ago in 1.5 ms: said "+hostile+", 7 times in a row"; got != want {
		t.Errorf("the check is shown as %q, want %q", got, want)
	}
	if n := eval[int](t, b, `document.querySelectorAll("main img, main script").length`); n != 0 {
		t.Errorf("words became %d elements", n)
	}
	b.accessible(t, "health")
	b.fits(t)
	b.forgive("404") // that of the curves, which nobody keeps here
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

// pictures makes those of the documents, if it is told where to.
func (b *browser) pictures(t *testing.T) {
	dir := os.Getenv("BALANCE_SCREENSHOT")
	if dir == "" {
		t.Skip("BALANCE_SCREENSHOT names no directory")
	}
	many := scene{listeners: 20, channels: 10, trouble: true}
	unconfirmed := many
	unconfirmed.write, unconfirmed.unconfirmed = true, true
	for _, picture := range []struct {
		name          string
		scene         scene
		width, height int64
		scheme        string
	}{
		{"page-laptop", many, 1366, 900, "light"},
		{"page-wide", many, 2560, 1440, "dark"},
		{"page-phone", many, 390, 844, "light"},
		{"page-confirm", unconfirmed, 1366, 300, "light"},
	} {
		b.paint(t, picture.scheme)
		b.open(t, picture.scene.serve(t).URL, picture.width, picture.height)
		b.until(t, `document.querySelectorAll(".cell").length === 20 && document.querySelector("#traffic path.one").getAttribute("d").length > 10`)
		b.until(t, `/\d/.test(document.querySelector("td.rate").textContent)`) // a second look has been taken
		data, err := chromedp.Run(b, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if data, err = small(data); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+picture.name+".png", data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// small returns a picture with its 256 most frequent colors alone, which takes a
// third of the bytes.
func small(data []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	bounds := full.Bounds()
	count := map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[full.At(x, y)]++
		}
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	few := image.NewPaletted(bounds, colors[:min(len(colors), 256)])
	nearest := map[color.Color]uint8{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := full.At(x, y)
			index, known := nearest[c]
			if !known {
				index = uint8(few.Palette.Index(c))
				nearest[c] = index
			}
			few.SetColorIndex(x, y, index)
		}
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err = encoder.Encode(&b, few)
	return b.Bytes(), err
}
