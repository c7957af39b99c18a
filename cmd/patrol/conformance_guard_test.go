//go:build unix

package main

import (
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
)

func guardRows() []row {
	return []row{
		{name: "refusals are logged with the reason, counted, and say how to be let in", run: showRefusalsTold},
		{name: "a Host is allowed exactly, at any port, and by --allow-host", run: showAllowedHosts},
		{name: "any other Host is refused", run: showForeignHosts},
		{name: "any Origin, and any Sec-Fetch-Site but none, is refused, whatever the method and the path", run: showPages},
		{name: "a program on a browser's stack is allowed, and a person's browser reaches our own pages only", run: showPersons},
		{name: "our own pages tell browsers to keep, run and show nothing of them", run: showOwnPages},
		{name: "whom the guard refuses reaches nothing, and reads why in his agent's form", run: showGuardFirst},
		{name: "a supervisor learns by any name whether patrol is well, and no more", run: showProbes},
		{name: "our own user is let in by any address of this machine, and listening beyond it is warned of", run: showOwnAddress},
	}
}

func showAllowedHosts(t *testing.T, f *fixture) {
	hosts := []string{
		"localhost", "localhost:1", "LOCALHOST:65535", "127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:4000",
		allowedHost, allowedHost + ":9", strings.ToUpper(allowedHost),
	}
	for _, host := range hosts {
		if got := f.ask(t, http.MethodPost, "/v1/messages", question, "Host", host); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", host, got.StatusCode, got.body)
		}
	}
	f.arrived(t, len(hosts))
}

func showForeignHosts(t *testing.T, f *fixture) {
	for _, host := range []string{
		"evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:4000", "127.0.0.1evil.example", "evil-localhost",
		"evil.localhost", "localhost.", "127.1", "127.0.0.2", "0.0.0.0", "[::]", "::1", "[::1", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "localhost:", "localhost:x",
		"localhost:80:80", "localhost@evil.example", "evil.example@localhost", "localhost/x", "localhost,evil.example", "localhost evil.example",
		"x" + allowedHost, allowedHost + ".evil.example", "x." + allowedHost, "ſocalhost", "",
	} {
		got := f.raw(t, "POST /v1/messages HTTP/1.1\r\nHost: "+host+"\r\nROW\r\nContent-Length: 2\r\n\r\n{}")
		switch {
		case got.StatusCode == http.StatusBadRequest: // not even HTTP
		case got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, "--allow-host"):
			t.Errorf("%q: %d %s", host, got.StatusCode, got.body)
		}
	}
	for _, request := range []string{
		"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n",
		"POST /v1/messages HTTP/1.1\r\n",
		"POST /v1/messages HTTP/1.0\r\n",
		"POST /v1/messages HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: localhost\r\nForwarded: host=localhost\r\n",
	} {
		if got := f.raw(t, request+"ROW\r\nContent-Length: 2\r\n\r\n{}"); got.StatusCode/100 != 4 {
			t.Errorf("%q: %d %s", request, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 0)
}

func showPages(t *testing.T, f *fixture) {
	own := strings.TrimPrefix(f.url, "http://")
	for _, tt := range [][]string{
		{"Origin", f.url}, // which another program may have left in the browser
		{"Origin", "http://" + allowedHost, "Host", allowedHost},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", "http://localhost:3000"},
		{"Origin", "http://127.0.0.1"},
		{"Origin", "http://" + own + ".evil.example"},
		{"Origin", "chrome-extension://abc"},
		{"Origin", ""},
		{"Sec-Fetch-Site", "same-origin"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", ""},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "none", "Origin", f.url},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, // a link elsewhere
		{"Service-Worker", "script", "Sec-Fetch-Site", "same-origin"},
		{"Service-Worker", "script"},
		// What a page may send without being asked for leave first.
		{"Origin", "https://evil.example", "Content-Type", "text/plain"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Content-Type", "application/x-www-form-urlencoded"},
		{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"},
		// A name of --allow-host isn't loopback to a browser, so that an image says nothing of where it is.
		{"Host", allowedHost, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"},
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"} {
			for _, path := range []string{"/v1/messages", "/api/2.0/clusters/list", "/", "/healthz", "/metrics"} {
				got := f.ask(t, method, path, "", tt...)
				if got.StatusCode != http.StatusForbidden || got.Header["Access-Control-Allow-Origin"] != nil {
					t.Errorf("%s %s %q: %d %s", method, path, tt, got.StatusCode, got.body)
				}
			}
		}
	}
	f.arrived(t, 0)
}

// VS Code's requests come from Chromium's network stack.
func showPersons(t *testing.T, f *fixture) {
	programs := [][]string{
		{"Sec-Fetch-Site", "none"},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "empty", "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Code/1.99 Chrome/132 Electron/34"},
		{"Sec-Fetch-Mode", "cors"}, // Node's fetch
	}
	for _, header := range programs {
		if got := f.ask(t, http.MethodPost, "/v1/messages", question, header...); got.StatusCode != http.StatusOK {
			t.Errorf("%q: %d %s", header, got.StatusCode, got.body)
		}
	}
	person := []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-User", "?1", "Sec-Fetch-Dest", "document"}
	for path, want := range map[string]int{
		"/": http.StatusOK, "/healthz": http.StatusOK, "/readyz": http.StatusOK, "/health": http.StatusOK, "/metrics": http.StatusOK,
		"/v1/models": http.StatusForbidden, "/v1/messages": http.StatusForbidden, "/api/2.0/clusters/list": http.StatusForbidden, "/nothing": http.StatusForbidden,
	} {
		if got := f.ask(t, http.MethodGet, path, "", person...); got.StatusCode != want {
			t.Errorf("a person at %s: %d %s", path, got.StatusCode, got.body)
		}
	}
	f.arrived(t, len(programs))
}

func showOwnPages(t *testing.T, f *fixture) {
	for _, path := range []string{"/", "/health", "/metrics", "/nothing"} {
		got := f.ask(t, http.MethodGet, path, "")
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Clear-Site-Data": `"storage"`, // cookies are those of every port
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got.Header.Get(name), want)
			}
		}
		if policy := got.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: Content-Security-Policy is %q", path, policy)
		}
	}
	f.arrived(t, 0)
}

func showGuardFirst(t *testing.T, f *fixture) {
	forms := map[string]api{"/": openAI, "/health": openAI, "/metrics": openAI, "/nothing": openAI}
	maps.Copy(forms, apiOf)
	for path, form := range forms {
		for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Host", "evil.example"}, {"Host", "127.0.0.1.evil.example"}} {
			got := f.ask(t, http.MethodPost, path, question, header...)
			if text, _ := got.message(t, form); got.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %q: %d %s", path, header, got.StatusCode, text)
			}
		}
	}
	f.arrived(t, 0)
}

func showProbes(t *testing.T, f *fixture) {
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := f.ask(t, http.MethodGet, path, "", "Host", "10.1.2.3:4000"); got.StatusCode != http.StatusOK || got.body != "" {
			t.Errorf("%s by another name: %d %q", path, got.StatusCode, got.body)
		}
		// A page whose name was rebound to this machine.
		if got := f.ask(t, http.MethodGet, path, "", "Host", "evil.example", "User-Agent", "Mozilla/5.0"); got.StatusCode != http.StatusForbidden {
			t.Errorf("%s by another name in a browser: %d %q", path, got.StatusCode, got.body)
		}
		if got := f.ask(t, http.MethodGet, path, ""); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "ok") {
			t.Errorf("%s: %d %q", path, got.StatusCode, got.body)
		}
	}
	f.arrived(t, 0)
}

// network returns an address of this machine that isn't loopback.
func network(t *testing.T) net.IP {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP
		}
	}
	t.Skip("this machine has no address but loopback")
	return nil
}

func showOwnAddress(t *testing.T, f *fixture) {
	ip := network(t)
	own := f.with(t, settings{listen: []string{ip.String() + ":0", "0.0.0.0:0"}})
	if own.binary != nil {
		own.awaitLog(t, "beyond this machine")
	}
	asked := 0
	_, port, _ := net.SplitHostPort(own.addresses()[2])
	for _, address := range []string{own.addresses()[1], "127.0.0.1:" + port, ip.String() + ":" + port} {
		own.url = "http://" + address
		asked++
		if got := own.ask(t, http.MethodPost, "/v1/messages", question); got.StatusCode != http.StatusOK {
			t.Errorf("by %s: %d %s", address, got.StatusCode, got.body)
		}
	}
	own.arrived(t, asked)
}

// The counters have the words of the log.
func showRefusalsTold(t *testing.T, f *fixture) {
	before := f.refused(t)
	for why, header := range map[string][]string{
		"host": {"Host", "stranger.example"}, "origin": {"Origin", "https://page.example"}, "fetch_site": {"Sec-Fetch-Site", "cross-site"},
	} {
		got := f.ask(t, http.MethodPost, "/v1/chat/completions", question, header...)
		if _, kind := got.message(t, openAI); kind != "invalid_request_error" {
			t.Errorf("%s: %s", why, got.body)
		}
		if n := f.refused(t)[why] - before[why]; n != 1 {
			t.Errorf("%s: %d more are counted, want 1", why, n)
		}
	}
	for _, line := range []string{"reason=host ", "host=stranger.example", "reason=origin ", "origin=page.example", "reason=fetch_site "} {
		f.awaitLog(t, line)
	}
	got := f.ask(t, http.MethodGet, "/api/2.0/token/list", "")
	if got.StatusCode != http.StatusForbidden || !strings.Contains(got.body, "token API") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	f.awaitLog(t, "token API")
}
