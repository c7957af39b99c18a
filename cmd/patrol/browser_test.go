//go:build clients && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestBrowser: no web page gets a request through, wherever it comes from, nor if it
// comes from whatever had patrol's own address before. The same pages do where there is
// no guard.
func TestBrowser(t *testing.T) {
	browser := debian(t, "chromium", "chromium")
	for _, site := range []struct{ name, host string }{
		{"another port", "127.0.0.1"},
		{"another site", "evil.test"},
	} {
		page := func(t *testing.T, upstream string) *visit {
			v := newVisit(t)
			v.tap = newTap(t, "127.0.0.1:0", upstream)
			ln := v.listen(t)
			v.open(t, browser, site.host, ln)
			v.goOn(v.tap.url, strings.Replace(v.tap.url, "127.0.0.1", "localhost", 1))
			v.wait(t)
			return v
		}
		t.Run(site.name, func(t *testing.T) {
			svc := newTestService(t, workspacetest.Config{})
			svc.serve(t)
			v := page(t, svc.proxy)
			v.wantNothing(t, svc.ws)
			v.wantUnread(t, "")
		})
		t.Run(site.name+", no guard", func(t *testing.T) {
			ws, bare := unguarded(t)
			v := page(t, bare)
			v.wantThrough(t, ws, simpleTries)
			v.wantUnread(t, "") // browsers see to that
		})
	}
	// Once the page is loaded its port becomes patrol's, and its name, where that is
	// another's, this machine's: to the browser, patrol then is where the page came from.
	taken := func(t *testing.T, host, upstream string) *visit {
		v := newVisit(t)
		ln := v.listen(t)
		v.open(t, browser, host, ln)
		v.stopPage()
		v.tap = newTap(t, ln.Addr().String(), upstream)
		v.goOn("http://" + host + ":" + portOf(ln))
		v.wait(t)
		return v
	}
	for _, page := range []struct{ name, host, refusal string }{
		{"rebound name", "evil.test", "patrol"},
		{"our own address", "127.0.0.1", "no requests from web pages"},
	} {
		t.Run(page.name, func(t *testing.T) {
			svc := newTestService(t, workspacetest.Config{})
			svc.serve(t)
			v := taken(t, page.host, svc.proxy)
			v.wantNothing(t, svc.ws)
			v.wantUnread(t, page.refusal)
		})
		t.Run(page.name+", no guard", func(t *testing.T) {
			ws, bare := unguarded(t)
			v := taken(t, page.host, bare)
			v.wantThrough(t, ws, append([]string{"fetch json", "fetch with key", "fetch put"}, simpleTries...))
			if read := v.read["http://"+page.host+":"+portOf(v.page)+" fetch json"]; !strings.HasPrefix(read, "200 ") {
				t.Errorf("the page has read %q", read)
			}
		})
	}
}

func portOf(ln net.Listener) string {
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// unguarded is a proxy that lets everybody in, before a workspace.
func unguarded(t *testing.T) (*workspacetest.Server, string) {
	t.Helper()
	svc := newTestService(t, workspacetest.Config{})
	handovers := make(chan pat.Handover)
	p, err := proxy.New(proxy.Config{Host: svc.ws.URL, Handovers: handovers})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if _, err := pat.Publish(ctx, handovers, pat.New(svc.first.Value, svc.ws.URL)); err != nil {
		t.Fatal(err)
	}
	return svc.ws, listenHTTP(t, p)
}

// A visit is a browser that shows the page.
type visit struct {
	home     string // where the page reports to
	profile  string // the browser's
	page     net.Listener
	stopPage func()
	tap      *tap

	closeBrowser func()

	loaded  chan struct{}
	targets chan []string
	report  chan map[string]string
	read    map[string]string // what the page could read, by target and try
}

func newVisit(t *testing.T) *visit {
	t.Helper()
	v := &visit{profile: t.TempDir(), loaded: make(chan struct{}, 1), targets: make(chan []string, 1), report: make(chan map[string]string, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /loaded", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		v.loaded <- struct{}{}
		select {
		case targets := <-v.targets:
			_ = json.NewEncoder(w).Encode(targets)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /report", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		var read map[string]string
		if err := json.NewDecoder(r.Body).Decode(&read); err != nil {
			t.Errorf("the page's report: %v", err)
		}
		v.report <- read
	})
	v.home = listenHTTP(t, mux)
	return v
}

// listen serves the page.
func (v *visit) listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v.page = ln
	v.stopPage = serveOn(t, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := map[string]string{"/": attackPage, "/install": workerPage, "/worker.js": oldWorker}[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", map[bool]string{false: "text/html", true: "text/javascript"}[r.URL.Path == "/worker.js"])
		_, _ = io.WriteString(w, strings.Replace(text, "HOME", v.home, 1))
	}))
	return ln
}

const browserPatience = 90 * time.Second

// open starts the browser and waits until it shows the page.
func (v *visit) open(t *testing.T, browser, host string, ln net.Listener) {
	t.Helper()
	ended, out := v.start(t, browser, "http://"+host+":"+portOf(ln)+"/")
	select {
	case <-v.loaded:
	case <-ended:
		t.Fatalf("the browser has ended, or didn't load the page in time; it printed:\n%s", *out)
	}
}

// start starts the browser as if a person had typed the URL. It is ended with the test,
// or by closing the visit's browser; out is what it has printed by then.
func (v *visit) start(t *testing.T, browser, url string) (ended <-chan struct{}, out *string) {
	t.Helper()
	home, strays := v.profile, newStrays(t)
	args := []string{
		browser, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-popup-blocking", "--disable-dev-shm-usage",
		"--user-data-dir=" + home, "--host-resolver-rules=MAP evil.test 127.0.0.1",
		"--proxy-server=" + strays.url, "--proxy-bypass-list=evil.test",
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to start as root without
	}
	ctx, cancel := context.WithCancel(beforeDeadline(t))
	end := make(chan struct{})
	out = new(string)
	go func() {
		defer close(end)
		*out, _ = program{args: append(args, url), env: machineEnviron(home), patience: browserPatience}.do(ctx)
	}()
	v.closeBrowser = sync.OnceFunc(func() {
		cancel()
		<-end
		if asked := strays.hosts(); len(asked) > 0 {
			t.Logf("the browser tried to reach %q", asked)
		}
	})
	t.Cleanup(v.closeBrowser)
	return end, out
}

// goOn has the page try all that it knows on these.
func (v *visit) goOn(targets ...string) { v.targets <- targets }

// wait waits until it has.
func (v *visit) wait(t *testing.T) {
	t.Helper()
	select {
	case v.read = <-v.report:
	case <-time.After(browserPatience):
		t.Fatal("the page doesn't come to an end")
	}
}

// triesIn returns the tries that these queries name.
func triesIn(queries func(yield func(string) bool)) []string {
	names := make(map[string]struct{})
	for query := range queries {
		if values, err := url.ParseQuery(query); err == nil && values.Has("try") {
			names[values.Get("try")] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// reached returns which tries reached the workspace.
func reached(ws *workspacetest.Server) []string {
	return triesIn(func(yield func(string) bool) {
		for _, r := range ws.Requests() {
			if !yield(r.Query) {
				return
			}
		}
	})
}

// wire describes what the browser sent and got: which tries looked alike.
func (v *visit) wire() string {
	alike := make(map[string][]string)
	for _, r := range v.tap.requests() {
		how := fmt.Sprintf("Origin %q, Sec-Fetch-Site %q: %d", r.header.Get("Origin"), r.header.Get("Sec-Fetch-Site"), r.status)
		what, query, _ := strings.Cut(r.path, "?try=")
		if name, err := url.QueryUnescape(query); err == nil && name != "" {
			what = name
		}
		if what = r.method + " by " + what; !slices.Contains(alike[how], what) {
			alike[how] = append(alike[how], what)
		}
	}
	var b strings.Builder
	for _, how := range slices.Sorted(maps.Keys(alike)) {
		fmt.Fprintf(&b, "\n\t%s\n\t\t%s", how, strings.Join(alike[how], ", "))
	}
	return b.String()
}

// wantNothing checks that the tries came as far as patrol, and no further.
func (v *visit) wantNothing(t *testing.T, ws *workspacetest.Server) {
	t.Helper()
	t.Logf("on the wire:%s", v.wire())
	sent := triesIn(func(yield func(string) bool) {
		for _, r := range v.tap.requests() {
			// Which a browser asks of the window's refusal, as if it were a page.
			icon := r.path == "/favicon.ico" && r.status == http.StatusNotFound
			if r.status != http.StatusForbidden && !icon {
				t.Errorf("%s %s was answered %d", r.method, r.path, r.status)
			}
			_, query, _ := strings.Cut(r.path, "?")
			if !yield(query) {
				return
			}
		}
	})
	for _, name := range simpleTries {
		if !slices.Contains(sent, name) {
			t.Errorf("%s: the browser has sent nothing", name)
		}
	}
	if through := reached(ws); len(through) > 0 {
		t.Errorf("these reached the workspace: %q", through)
	}
}

// wantUnread checks that the page could read nothing, or nothing without this
// refusal.
func (v *visit) wantUnread(t *testing.T, refusal string) {
	t.Helper()
	for name, read := range v.read {
		if read != "" && (refusal == "" || !strings.Contains(read, refusal)) {
			t.Errorf("%s: the page has read %q", name, read)
		}
	}
}

// wantThrough checks that these tries reached the workspace.
func (v *visit) wantThrough(t *testing.T, ws *workspacetest.Server, want []string) {
	t.Helper()
	through := reached(ws)
	t.Logf("got through: %q", through)
	for _, name := range want {
		if !slices.Contains(through, name) {
			t.Errorf("%s: it didn't get through, so the test above shows nothing; on the wire:%s", name, v.wire())
		}
	}
}
