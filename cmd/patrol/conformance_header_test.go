//go:build unix

package main

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func headerRows() []row {
	return []row{
		{name: "every credential is taken off, and ours put on", run: showCredentials},
		{name: "ours is put on where the client sent none", run: showNoCredential},
		{name: "hop-by-hop headers are taken off", run: showHopByHop},
		{name: "headers that Connection names are taken off, but never ours", run: showNamedByConnection},
		{name: "x-databricks-*, Databricks-*, anthropic-* and User-Agent pass untouched", run: showUntouched},
		{name: "no header is added but ours", run: showNothingAdded},
	}
}

func showCredentials(t *testing.T, f *fixture) {
	const theirs = "dapi-of-the-client"
	sent := []string{
		"Authorization", "Bearer " + theirs, "Authorization", "Basic " + theirs,
		"X-Api-Key", theirs, "Api-Key", theirs, "X-Goog-Api-Key", theirs,
		"Cookie", "session=" + theirs, "Cookie", "other=" + theirs,
		"Proxy-Authorization", "Basic " + theirs,
		"X-Forwarded-For", theirs, "X-Forwarded-Host", theirs, "X-Real-Ip", theirs, "Forwarded", "for=" + theirs,
		"X-Forwarded-Access-Token", theirs,
	}
	for i, path := range []string{
		"/v1/chat/completions", "/v1/messages", "/responses", asItIs, "/api/2.0/clusters/list",
		"/v1beta/models/m:generateContent?alt=sse&key=" + theirs,
	} {
		f.ask(t, http.MethodPost, path, question, sent...)
		a := f.arrived(t, i+1)[i]
		for name, values := range a.header {
			if strings.Contains(strings.Join(values, " "), theirs) {
				t.Errorf("%s: %s came upstream", path, name)
			}
		}
		if strings.Contains(a.uri, theirs) {
			t.Errorf("%s came as %s", path, a.uri)
		}
	}
	if strings.Contains(f.log(), theirs) {
		t.Error("a client's credential is in the log")
	}
}

func showNoCredential(t *testing.T, f *fixture) {
	got := f.ask(t, http.MethodPost, "/v1/messages", question)
	if f.arrived(t, 1); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

func showHopByHop(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Keep-Alive", "timeout=5")
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.Header().Set("Proxy-Connection", "keep-alive")
		w.Header().Set("X-Databricks-Request-Id", "42")
		if !f.wire.tls { // HTTP/2 has no Connection
			w.Header().Set("Connection", "X-Hop")
			w.Header().Set("X-Hop", "1")
		}
	})
	names := []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Te", "Trailer"}
	var sent []string
	for _, name := range names {
		sent = append(sent, name, "x")
	}
	got := f.ask(t, http.MethodPost, "/v1/messages", question, sent...)
	a := f.arrived(t, 1)[0]
	if got.Header.Get("X-Databricks-Request-Id") != "42" {
		t.Errorf("the answer has the header %v", got.Header)
	}
	for _, name := range append(names, "Connection", "Transfer-Encoding", "X-Hop") {
		if a.header[name] != nil || got.Header[name] != nil {
			t.Errorf("%s came upstream as %q and back as %q", name, a.header[name], got.Header[name])
		}
	}
}

func showNamedByConnection(t *testing.T, f *fixture) {
	got := f.raw(t, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\nX-Named: 1\r\nX-Other: 1\r\nX-Kept: 1\r\n"+
		"Connection: keep-alive, x-named\r\nConnection: Authorization, X-Api-Key, X-Other, Content-Length\r\nContent-Length: 2\r\n\r\n{}")
	a := f.arrived(t, 1)[0] // which looks for ours
	if got.StatusCode != http.StatusOK || a.header["X-Named"] != nil || a.header["X-Other"] != nil || a.header.Get("X-Kept") != "1" || a.body != "{}" {
		t.Errorf("%d, came with %v and %q", got.StatusCode, a.header, a.body)
	}
}

func showUntouched(t *testing.T, f *fixture) {
	want := http.Header{
		"X-Databricks-Org-Id": {"1"}, "X-Databricks-Geo": {"é"}, "Databricks-Workspace": {" a  b "}, "Anthropic-Version": {"2023-06-01"},
		"Anthropic-Beta": {"one,two", "three"}, "User-Agent": {"claude-cli/2.1 (external, cli)"}, "X-Stainless-Lang": {"js"},
		"Accept": {"application/json, text/event-stream"}, "Content-Type": {"application/json; charset=utf-8"}, "X-Empty": {""},
	}
	req := f.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question))
	maps.Copy(req.Header, want)
	f.send(t, req)
	a := f.arrived(t, 1)[0]
	for name, values := range want {
		for i := range values {
			values[i] = strings.TrimSpace(values[i]) // no part of a value
		}
		if !slices.Equal(a.header[name], values) {
			t.Errorf("%s: %q came as %q", name, values, a.header[name])
		}
	}
}

func showNothingAdded(t *testing.T, f *fixture) {
	f.raw(t, "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nROW\r\nContent-Length: 2\r\n\r\n{}")
	a := f.arrived(t, 1)[0]
	for name := range a.header {
		if !slices.Contains([]string{rowHeader, "Authorization", "Content-Length"}, name) {
			t.Errorf("%s: %q", name, a.header[name])
		}
	}
	if host := strings.SplitN(f.upstream.url, "/", 4)[2]; a.host != host {
		t.Errorf("the Host is %q, want %q", a.host, host)
	}
}
