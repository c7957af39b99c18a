package proxy_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const canary = "dapi-canary-0123456789"

// forms are the routes by whose form an agent is answered.
var forms = []struct{ path, form string }{
	{"/v1/chat/completions", "openai"},
	{"/responses", "openai"},
	{"/v1/models", "openai"},
	{"/v1/messages?beta=true", "anthropic"},
	{"/v1/messages/count_tokens", "anthropic"},
	{"/v1beta/models/M:generateContent", "gemini"},
	{"/serving-endpoints/x/invocations", "databricks"},
	{"/serving-endpoints/chat/completions", "openai"},
	{"/serving-endpoints/anthropic/v1/messages", "anthropic"},
	{"/serving-endpoints/google/v1beta/models/M:x", "gemini"},
	{"/ai-gateway/mlflow/v1/chat/completions", "openai"},
	{"/ai-gateway/anthropic/v1/messages", "anthropic"},
	{"/ai-gateway/gemini/v1beta/models/M:x", "gemini"},
}

func TestNoToken(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	expired := issue(ws)
	expired.Expiry = time.Now().Add(-time.Second)
	foreign := issue(ws)
	foreign.Host = pat.New("", "https://other.example").Host
	for name, tok := range map[string]pat.Token{"none": {}, "zero": pat.New("", ws.URL), "expired": expired, "foreign": foreign} {
		t.Run(name, func(t *testing.T) {
			var sentence error
			h := open(t, proxy.Config{Host: ws.URL, Wait: -1, Ready: func() error { return sentence }})
			if name != "none" {
				h.publish(t, issue(ws))
				<-h.publish(t, tok)
			}
			for _, sentence = range []error{nil, errors.New("no token: run patrol login")} {
				for _, tt := range forms {
					got := h.do(t, "POST", tt.path, `{}`)
					if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" {
						t.Errorf("%s: %d %v", tt.path, got.StatusCode, got.Header)
					}
					if msg := message(t, tt.form, got); sentence != nil && msg != sentence.Error() {
						t.Errorf("%s: %q", tt.path, msg)
					}
				}
			}
			if strings.Contains(h.log.String(), tok.Expose()) && !tok.IsZero() {
				t.Errorf("the token is in the log:\n%s", h.log)
			}
		})
	}
	if n := len(ws.Requests()); n != 0 {
		t.Errorf("%d requests reached the workspace", n)
	}
}

// TestTokenStaysWithItsHost: only the very workspace's tokens are used.
func TestTokenStaysWithItsHost(t *testing.T) {
	for _, tt := range []struct {
		host, token string
		used        bool
	}{
		{"https://w.example", "https://w.example", true},
		{"https://w.example:443/", "https://W.example", true},
		{"https://w.example/?o=1", "https://w.example", true},
		{"https://w.example/?o=1", "https://w.example?o=2", false},
		{"https://w.example", "http://w.example", false},
		{"https://w.example", "", false},
	} {
		var dialled atomic.Bool // nobody is, unless there is a token
		h := open(t, proxy.Config{Host: tt.host, Wait: -1, Dial: func(context.Context, string, string) (net.Conn, error) {
			dialled.Store(true)
			return nil, errors.New("no network")
		}})
		h.publish(t, pat.New(canary, tt.token))
		got := h.do(t, "POST", "/v1/messages", `{}`)
		if used := got.StatusCode == http.StatusBadGateway; used != tt.used || dialled.Load() != used {
			t.Errorf("workspace %s, token of %s: used %v", tt.host, tt.token, used)
		}
	}
}

func TestNoAnswerFromUpstream(t *testing.T) {
	gone := upstream(t, func(http.ResponseWriter, *http.Request) {})
	gone.Close()
	mute := upstream(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, tt := range []struct{ url, want string }{
		{gone.URL, "refused"},
		{mute.URL, "without an answer"},
		{"http://nothing.invalid", "resolved"},
	} {
		h := open(t, proxy.Config{Host: tt.url})
		h.publish(t, pat.New(canary, tt.url))
		for _, f := range forms {
			got := h.do(t, "POST", f.path, `{"prompt":"`+canary+`"}`)
			msg := message(t, f.form, got)
			if got.StatusCode != http.StatusBadGateway || !strings.Contains(msg, tt.want) || !strings.Contains(msg, tt.url) {
				t.Errorf("%s: %d %q", f.path, got.StatusCode, msg)
			}
		}
		if log := h.log.String(); !strings.Contains(log, "no answer from upstream") || strings.Contains(log, canary) {
			t.Errorf("log:\n%s", log)
		}
	}
}

func TestPages(t *testing.T) {
	var sentence error
	var warnings []string
	const host = "https://w.example"
	h := open(t, proxy.Config{Host: host, Ready: func() error { return sentence }, Warnings: func() []string { return warnings }})
	status := func(path string) (int, string) {
		got := h.do(t, "GET", path, "")
		if head := h.do(t, "HEAD", path, ""); head.StatusCode != got.StatusCode || head.body != "" {
			t.Errorf("HEAD %s: %d %q, GET %d", path, head.StatusCode, head.body, got.StatusCode)
		}
		return got.StatusCode, got.body
	}
	expect := func(when string, ready int, reason string) {
		t.Helper()
		for path, want := range map[string]int{"/": 200, "/healthz": 200, "/health": 200, "/metrics": 200, "/readyz": ready} {
			got, body := status(path)
			if got != want {
				t.Errorf("%s: %s: %d, want %d", when, path, got, want)
			}
			if path == "/readyz" && !strings.Contains(body, reason) {
				t.Errorf("%s: %s says %q, want %q", when, path, body, reason)
			}
		}
	}
	expect("no token", 503, "no Databricks token")
	tok := pat.New(canary, host)
	h.publish(t, tok)
	expect("token", 200, "ok")
	warnings = []string{"auth.json can't be written"}
	expect("a warning", 200, warnings[0])
	if _, body := status("/health"); !strings.Contains(body, warnings[0]) {
		t.Errorf("/health says %q", body)
	}
	sentence = errors.New("the chain is dead: run patrol login")
	expect("not ready", 503, "run patrol login")
	expect("not ready", 503, warnings[0])
	sentence, warnings = nil, nil
	tok.Expiry = time.Now().Add(-time.Minute)
	h.publish(t, tok)
	expect("expired", 503, "expired")
	for _, base := range []string{"/v1", "/anthropic", "/openai/v1", "/gemini"} {
		if head, get := h.do(t, "HEAD", base, ""), h.do(t, "GET", base, ""); head.StatusCode != 200 || get.StatusCode != 404 {
			t.Errorf("%s: HEAD %d, GET %d", base, head.StatusCode, get.StatusCode)
		}
	}
	if got := h.do(t, "POST", "/readyz", "x"); got.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz: %d", got.StatusCode)
	}
}
