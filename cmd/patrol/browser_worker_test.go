//go:build clients && linux

package main

import (
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"testing"

	"patrol/rotator/workspacetest"
)

// workerPage is a page that leaves a service worker in the browser.
const workerPage = `<!doctype html><meta charset="utf-8"><title>before patrol</title><script>
"use strict"
;(async () => {
	await navigator.serviceWorker.register("/worker.js", {scope: "/"})
	await navigator.serviceWorker.ready
	await fetch("HOME/loaded")
})()
</script>`

// oldWorker is that worker. Whatever the browser then asks of its origin, it asks by
// itself as well, in all the ways that a worker has, and tells the test what it could
// read.
const oldWorker = `"use strict"
const home = "HOME"
const question = '{"model":"m","messages":[{"role":"user","content":"hello"}]}'
oninstall = () => skipWaiting()
onactivate = event => event.waitUntil(clients.claim())
const read = async (name, go) => {
	try { const answer = await go(); return answer.status + " " + await answer.text() } catch { return "" }
}
onfetch = event => {
	if (new URL(event.request.url).origin !== location.origin) return
	event.respondWith((async () => {
		const report = {}, url = (path, name) => path + "?try=" + encodeURIComponent(name)
		const tries = {
			"passed on": () => fetch(event.request.clone()),
			"made anew": () => fetch(new Request(event.request.url, {headers: event.request.headers})),
			"made anew, same origin": () => fetch(new Request(event.request.clone(), {mode: "same-origin", headers: {"X-Api-Key": "x"}})),
			"fetch get": () => fetch(url("/v1/models", "fetch get")),
			"fetch json": () => fetch(url("/v1/chat/completions", "fetch json"), {method: "POST", headers: {"Content-Type": "application/json"}, body: question}),
			"fetch no-cors": () => fetch(url("/v1/chat/completions", "fetch no-cors"), {method: "POST", mode: "no-cors", body: question}),
			"fetch no referrer": () => fetch(url("/v1/models", "fetch no referrer"), {referrerPolicy: "no-referrer", credentials: "omit", cache: "reload"}),
		}
		// At once: patrol's first answer ends the worker.
		await Promise.all(Object.entries(tries).map(async ([name, go]) => { report[name] = await read(name, go) }))
		await fetch(home + "/report", {method: "POST", body: JSON.stringify(report)})
		return new Response("the old worker's page")
	})())
}
`

// TestBrowserOldWorker: what had our port before us has left a service worker in the
// browser. A person types our address. The worker gets nothing through, and is gone
// after that: patrol's first answer has its browser clear what was stored for us.
func TestBrowserOldWorker(t *testing.T) {
	browser := debian(t, "chromium", "chromium")
	install := func(t *testing.T) *visit {
		v := newVisit(t)
		ln := v.listen(t)
		ended, out := v.start(t, browser, "http://127.0.0.1:"+portOf(ln)+"/install")
		select {
		case <-v.loaded:
		case <-ended:
			t.Fatalf("the worker wasn't installed; the browser printed:\n%s", *out)
		}
		v.goOn()
		v.closeBrowser()
		v.stopPage()
		return v
	}
	typed := func(t *testing.T, v *visit, path string) {
		v.start(t, browser, "http://"+v.page.Addr().String()+path)
	}
	t.Run("guarded", func(t *testing.T) {
		svc := newTestService(t, workspacetest.Config{})
		svc.serve(t)
		v := install(t)
		v.tap = newTap(t, v.page.Addr().String(), svc.proxy)
		t.Cleanup(func() { t.Logf("on the wire:%s", v.wire()) })
		typed(t, v, "/v1/models?try=typed")
		answered := func(path string, from int) bool {
			return slices.ContainsFunc(v.tap.requests()[from:], func(r tapped) bool { return r.path == path && r.status != 0 })
		}
		await(t, func() bool { return answered("/v1/models?try=typed", 0) })
		v.closeBrowser()
		// A browser that is closed at once may not have come to clear anything.
		const visits = 3
		ours, there := len(v.tap.requests()), true
		for n := 0; there && n < visits; n++ {
			before := len(v.tap.requests())
			typed(t, v, "/")
			await(t, func() bool { return answered("/", before) })
			v.closeBrowser()
			there = slices.ContainsFunc(v.tap.requests()[before:], func(r tapped) bool { return strings.Contains(r.path, "try=") })
		}
		if there {
			t.Errorf("the worker is still there after %d visits", visits)
		}
		for i, r := range v.tap.requests() {
			switch {
			case i >= ours && r.path == "/" && r.status == http.StatusOK:
			case r.status != http.StatusForbidden && r.status != 0: // 0 is none: the worker was ended
				t.Errorf("%s %s was answered %d: %v", r.method, r.path, r.status, r.header)
			}
		}
		if through := reached(svc.ws); len(through) > 0 {
			t.Errorf("these reached the workspace: %q", through)
		}
	})
	t.Run("in a browser that clears nothing", func(t *testing.T) {
		svc := newTestService(t, workspacetest.Config{})
		svc.serve(t)
		v := install(t)
		v.tap = newTap(t, v.page.Addr().String(), withoutClearing(t, svc.proxy))
		typed(t, v, "/v1/models?try=typed")
		v.wait(t)
		t.Logf("on the wire:%s", v.wire())
		for name, read := range v.read {
			if read != "" && !strings.HasPrefix(read, "403 ") {
				t.Errorf("%s: the worker has read %q", name, read)
			}
		}
		sent := triesIn(func(yield func(string) bool) {
			for _, r := range v.tap.requests() {
				if _, query, _ := strings.Cut(r.path, "?"); r.status != http.StatusForbidden || !yield(query) {
					t.Errorf("%s %s was answered %d: %v", r.method, r.path, r.status, r.header)
				}
			}
		})
		for _, name := range workerTries {
			if !slices.Contains(sent, name) {
				t.Errorf("%s: the worker has sent nothing", name)
			}
		}
		if through := reached(svc.ws); len(through) > 0 {
			t.Errorf("these reached the workspace: %q", through)
		}
	})
	t.Run("no guard", func(t *testing.T) {
		ws, bare := unguarded(t)
		v := install(t)
		v.tap = newTap(t, v.page.Addr().String(), bare)
		typed(t, v, "/v1/models?try=typed")
		v.wait(t)
		v.wantThrough(t, ws, workerTries)
		if read := v.read["fetch json"]; !strings.HasPrefix(read, "200 ") {
			t.Errorf("the worker has read %q", read)
		}
	})
}

// workerTries are those of the worker that need nobody's leave, and what was typed.
var workerTries = []string{"typed", "fetch get", "fetch json", "fetch no-cors", "fetch no referrer"}

// withoutClearing stands before a proxy and takes Clear-Site-Data off its answers.
func withoutClearing(t *testing.T, proxy string) (url string) {
	t.Helper()
	return listenHTTP(t, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(proxy, "http://")
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("Clear-Site-Data")
			return nil
		},
	})
}
