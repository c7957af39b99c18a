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
		{name: "a foreign Origin or Sec-Fetch-Site is refused, whatever the method", run: showForeignPages},
		{name: "our own Origin, and Sec-Fetch-Site same-origin or none, are allowed", run: showOwnPages},
		{name: "whom the guard refuses reaches nothing, and reads why in his agent's form", run: showGuardFirst},
		{name: "a supervisor learns from any page whether patrol is well, and no more", run: showProbes},
		{name: "beyond loopback a credential is required", run: showCredentialRequired},
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

func showForeignPages(t *testing.T, f *fixture) {
	own := strings.TrimPrefix(f.url, "http://")
	for _, tt := range [][]string{
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", "http://localhost:3000"},
		{"Origin", "http://127.0.0.1"},
		{"Origin", "http://" + own + ".evil.example"},
		{"Origin", "http://" + own + "@evil.example"},
		{"Origin", "chrome-extension://abc"},
		{"Origin", ""},
		{"Origin", "http://" + own, "Origin", "https://evil.example"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", ""},
		{"Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"},
		// What a page may send without being asked for leave first.
		{"Origin", "https://evil.example", "Content-Type", "text/plain"},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Content-Type", "application/x-www-form-urlencoded"},
		{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization"},
		// A name of --allow-host isn't loopback to a browser, so that an image says nothing of where it is.
		{"Host", allowedHost, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"},
	} {
		for _, method := range []string{"GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE"} {
			for _, path := range []string{"/v1/messages", "/api/2.0/clusters/list", "/"} {
				got := f.ask(t, method, path, "", tt...)
				if got.StatusCode != http.StatusForbidden || got.Header["Access-Control-Allow-Origin"] != nil {
					t.Errorf("%s %s %q: %d %s", method, path, tt, got.StatusCode, got.body)
				}
			}
		}
	}
	f.arrived(t, 0)
}

func showOwnPages(t *testing.T, f *fixture) {
	headers := [][]string{{"Origin", f.url}, {"Sec-Fetch-Site", "same-origin"}, {"Sec-Fetch-Site", "none"}, {"Origin", "http://" + allowedHost, "Host", allowedHost}}
	for _, header := range headers {
		if got := f.ask(t, http.MethodPost, "/v1/messages", question, header...); got.StatusCode != http.StatusOK {
			t.Errorf("%q: %d %s", header, got.StatusCode, got.body)
		}
	}
	f.arrived(t, len(headers))
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
		if got := f.ask(t, http.MethodGet, path, "", "Sec-Fetch-Site", "cross-site"); got.StatusCode != http.StatusOK || got.body != "" {
			t.Errorf("%s from a page: %d %q", path, got.StatusCode, got.body)
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

// A client that comes by this machine's address in a network might be anywhere.
func showCredentialRequired(t *testing.T, f *fixture) {
	ip := network(t)
	own := f.with(t, settings{listen: []string{ip.String() + ":0", "0.0.0.0:0"}, keys: true})
	if own.binary != nil {
		own.awaitLog(t, "beyond this machine")
	}
	if got := own.ask(t, http.MethodPost, "/v1/messages", question); got.StatusCode != http.StatusOK {
		t.Errorf("over loopback: %d %s", got.StatusCode, got.body)
	}
	own.url = "http://" + own.addresses()[1]
	showBadCredentials(t, own)
	good := showGoodCredentials(t, own)
	if got := own.ask(t, http.MethodPost, "/v1/messages", question, "Host", "evil.example", "X-Api-Key", clientKey); got.StatusCode != http.StatusForbidden {
		t.Errorf("another Host: %d", got.StatusCode)
	}
	own.arrived(t, 1+good)
	_, port, _ := net.SplitHostPort(own.addresses()[2])
	for host, want := range map[string]int{"127.0.0.1": http.StatusOK, ip.String(): http.StatusUnauthorized} {
		own.url = "http://" + host + ":" + port
		if got := own.ask(t, http.MethodPost, "/v1/messages", question); got.StatusCode != want {
			t.Errorf("listening on all addresses, by %s: %d %s", host, got.StatusCode, got.body)
		}
	}
	if strings.Contains(own.log(), clientKey) {
		t.Error("the client key is in the log")
	}
}

func showBadCredentials(t *testing.T, own *fixture) {
	for _, header := range [][]string{
		nil,
		{"Authorization", "Bearer wrong"},
		{"Authorization", "Basic " + clientKey},
		{"Authorization", clientKey},
		{"X-Api-Key", clientKey + "x"},
		{"X-Api-Key", "# agents elsewhere"},
		{"X-Api-Key", ""},
		{"Cookie", clientKey},
		{"X-Forwarded-For", "127.0.0.1"},
	} {
		got := own.ask(t, http.MethodPost, "/v1/messages", question, header...)
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "--client-key-file") || !strings.Contains(got.body, "patrol token") {
			t.Errorf("with %q: %d %s", header, got.StatusCode, got.body)
		}
	}
	for _, path := range []string{"/", "/health", "/nothing"} {
		if got := own.ask(t, http.MethodGet, path, ""); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}

// showGoodCredentials returns how many there are.
func showGoodCredentials(t *testing.T, own *fixture) int {
	first, retired := own.ws.Tokens()[0].Value, own.token(t)
	own.rotate(t)
	good := [][]string{
		{"Authorization", "Bearer " + clientKey},
		{"Authorization", "bearer " + clientKey},
		{"X-Api-Key", clientKey},
		{"X-Goog-Api-Key", clientKey},
		{"Authorization", "Bearer wrong", "X-Api-Key", clientKey},
		{"Authorization", "Bearer " + own.token(t)},
		{"X-Api-Key", retired},
		{"X-Goog-Api-Key", first},
	}
	for _, header := range good {
		if got := own.ask(t, http.MethodPost, "/v1/messages", question, header...); got.StatusCode != http.StatusOK {
			t.Errorf("with a good credential as %s: %d %s", header[0], got.StatusCode, got.body)
		}
	}
	return len(good)
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
