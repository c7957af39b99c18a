//go:build unix

package main

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/state"
)

func keyRows() []row {
	return []row{
		{name: "who can't be told by his user needs a key, or over loopback a token of ours", run: showKeyRequired},
		{name: "a client key that was revoked is refused whoever shows it", run: showRevokedKey},
		{name: "logs and metrics name the client by its key", run: showClientNamed},
		{name: "a token that was replaced counts until it is revoked, and --old-tokens longer", only: ofBinary, run: showOldTokens},
	}
}

// As on macOS, and for a container or another machine.
func showKeyRequired(t *testing.T, f *fixture) {
	ip := network(t)
	own := f.with(t, settings{listen: []string{ip.String() + ":0"}, keys: true, noOwners: true})
	showBadCredentials(t, own)
	good := showAgentsWithKey(t, own) + showGoodCredentials(t, own)
	own.url = "http://" + own.addresses()[1]
	for _, header := range [][]string{nil, {"X-Api-Key", own.token(t)}} {
		if got := own.ask(t, http.MethodPost, "/v1/messages", question, header...); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("beyond loopback, with %q: %d %s", header, got.StatusCode, got.body)
		}
	}
	for _, key := range []string{clientKey, own.defaultKey(t)} {
		good++
		if got := own.ask(t, http.MethodPost, "/v1/messages", question, "X-Api-Key", key); got.StatusCode != http.StatusOK {
			t.Errorf("beyond loopback with a key: %d %s", got.StatusCode, got.body)
		}
	}
	if got := own.ask(t, http.MethodPost, "/v1/messages", question, "Host", "evil.example", "X-Api-Key", clientKey); got.StatusCode != http.StatusForbidden {
		t.Errorf("another Host: %d", got.StatusCode)
	}
	own.arrived(t, good)
	for _, secret := range []string{clientKey, own.defaultKey(t)} {
		if strings.Contains(own.log(), secret) {
			t.Error("a client key is in the log")
		}
	}
}

// showAgentsWithKey asks as each agent of the README's table does, with the default key,
// and returns how many requests that makes upstream.
func showAgentsWithKey(t *testing.T, own *fixture) (n int) {
	key := own.defaultKey(t)
	for _, agent := range []struct {
		name, look string // what it asks for first, if anything, without a credential
		method     string
		path       string
		header     []string
	}{
		{"OpenCode", "", "POST", "/v1/chat/completions", []string{"Authorization", "Bearer " + key}},
		{"Claude Code", "/", "POST", "/v1/messages?beta=true", []string{"Authorization", "Bearer " + key}},
		{"Claude Code, apiKeyHelper", "/", "POST", "/v1/messages?beta=true", []string{"Authorization", "Bearer " + key, "X-Api-Key", key}},
		{"Claude Code, counting", "", "POST", "/v1/messages/count_tokens", []string{"X-Api-Key", key}},
		{"Codex", "/v1", "POST", "/v1/responses", []string{"Authorization", "Bearer " + key}},
		{"Codex, models", "", "GET", "/v1/models", []string{"Authorization", "Bearer " + key}},
		{"Gemini CLI", "/gemini", "POST", "/v1beta/models/m:streamGenerateContent?alt=sse", []string{"X-Goog-Api-Key", key}},
		{"Pi", "/anthropic", "POST", "/anthropic/v1/messages", []string{"X-Api-Key", key}},
		{"curl -u", "", "POST", "/v1/chat/completions", []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("patrol:"+key))}},
	} {
		if agent.look != "" {
			if got := own.ask(t, http.MethodHead, agent.look, ""); got.StatusCode != http.StatusOK {
				t.Errorf("%s: HEAD %s: %d", agent.name, agent.look, got.StatusCode)
			}
		}
		if got := own.ask(t, agent.method, agent.path, question); got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "patrol keys new") {
			t.Errorf("%s without a key: %d %s", agent.name, got.StatusCode, got.body)
		}
		n++
		if got := own.ask(t, agent.method, agent.path, question, agent.header...); got.StatusCode == http.StatusUnauthorized || got.StatusCode == http.StatusForbidden {
			t.Errorf("%s with the default key: %d %s", agent.name, got.StatusCode, got.body)
		}
	}
	return n
}

func showBadCredentials(t *testing.T, own *fixture) {
	for _, header := range [][]string{
		nil,
		{"Authorization", "Bearer wrong"},
		{"Authorization", "Basic " + clientKey},
		{"Authorization", clientKey},
		{"X-Api-Key", clientKey + "x"},
		{"X-Api-Key", own.defaultKey(t)[1:]},
		{"X-Api-Key", "# agents elsewhere"},
		{"X-Api-Key", ""},
		{"Cookie", clientKey},
		{"X-Forwarded-For", "127.0.0.1"},
	} {
		got := own.ask(t, http.MethodPost, "/v1/messages", question, header...)
		if got.StatusCode != http.StatusUnauthorized || !strings.Contains(got.body, "patrol keys new") {
			t.Errorf("with %q: %d %s", header, got.StatusCode, got.body)
		}
	}
	for path, want := range map[string]int{
		"/health": http.StatusUnauthorized, "/metrics": http.StatusUnauthorized, "/nothing": http.StatusUnauthorized, "/v1": http.StatusUnauthorized,
		"/": http.StatusOK, "/healthz": http.StatusOK, "/readyz": http.StatusOK,
	} {
		if got := own.ask(t, http.MethodGet, path, ""); got.StatusCode != want || strings.Contains(got.body, "warnings") {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}

// showGoodCredentials returns how many there are.
func showGoodCredentials(t *testing.T, own *fixture) int {
	first, replaced := own.ws.Tokens()[0].Value, own.token(t)
	own.rotate(t)
	good := [][]string{
		{"Authorization", "Bearer " + clientKey},
		{"Authorization", "bearer " + clientKey},
		{"X-Api-Key", clientKey},
		{"X-Goog-Api-Key", clientKey},
		{"Authorization", "Bearer wrong", "X-Api-Key", clientKey},
		{"Authorization", "Bearer " + own.token(t)},
		{"X-Api-Key", replaced},
		{"X-Goog-Api-Key", first},
	}
	for _, header := range good {
		if got := own.ask(t, http.MethodPost, "/v1/messages", question, header...); got.StatusCode != http.StatusOK {
			t.Errorf("with a good credential as %s: %d %s", header[0], got.StatusCode, got.body)
		}
	}
	own.awaitLog(t, "restart that agent")
	return len(good)
}

func showRevokedKey(t *testing.T, f *fixture) {
	own := f.with(t, settings{})
	lost := own.revoke(t)
	got := own.ask(t, http.MethodPost, "/v1/messages", question, "X-Api-Key", lost)
	if text, _ := got.message(t, anthropic); got.StatusCode != http.StatusUnauthorized || !strings.Contains(text, "revoked") || !strings.Contains(text, "patrol keys new") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	own.awaitLog(t, "key=lost")
	if got := own.ask(t, http.MethodPost, "/v1/messages", question, "X-Api-Key", "what never was a key"); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	own.arrived(t, 1)
}

func showClientNamed(t *testing.T, f *fixture) {
	own := f.with(t, settings{})
	requests := func(client string) int {
		n, _ := strconv.Atoi(metric(t, own, `patrol_client_requests_total{client="`+client+`"}`))
		return n
	}
	before, unknown := requests(state.DefaultKey), requests("unknown")
	for _, header := range [][]string{{"X-Api-Key", own.defaultKey(t)}, {"X-Api-Key", own.defaultKey(t)}, {"X-Api-Key", own.token(t)}} {
		own.ask(t, http.MethodPost, "/v1/messages", question, header...)
	}
	if n, un := requests(state.DefaultKey)-before, requests("unknown")-unknown; n != 2 || un != 1 {
		t.Errorf("%d more by the default key, %d by a token, want 2 and 1", n, un)
	}
	own.handle(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	own.ask(t, http.MethodPost, "/v1/messages", question, "X-Api-Key", own.defaultKey(t))
	own.awaitLog(t, "client="+state.DefaultKey)
}

// metric returns a value of /metrics, "" if it isn't there.
func metric(t *testing.T, f *fixture, name string) string {
	t.Helper()
	for line := range strings.Lines(f.ask(t, http.MethodGet, "/metrics", "").body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func showOldTokens(t *testing.T, f *fixture) {
	own := f.with(t, settings{noOwners: true, oldTokens: time.Nanosecond})
	replaced := own.token(t)
	ask := func(token string) int {
		return own.ask(t, http.MethodPost, "/v1/messages", question, "X-Api-Key", token).StatusCode
	}
	if status := ask(replaced); status != http.StatusOK {
		t.Errorf("the token in use: %d", status)
	}
	own.rotate(t) // with --grace 0s
	await(t, func() bool { return ask(replaced) == http.StatusUnauthorized })
	for _, live := range own.ws.Live() {
		if live.Value == replaced {
			t.Error("it was refused before it was revoked")
		}
	}
	if status := ask(own.token(t)); status != http.StatusOK {
		t.Errorf("the new token: %d", status)
	}
}
