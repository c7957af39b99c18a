package proxy_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestBases: which setting leads where.
func TestBases(t *testing.T) {
	const host = "http://w.example"
	t.Setenv("NO_PROXY", "*")
	var target string
	up := upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		target = "http://" + r.Host + r.RequestURI
		if r.Header.Get("Authorization") != "Bearer "+canary {
			t.Errorf("to %s: %q", target, r.Header["Authorization"])
		}
	})
	toUpstream := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, up.Listener.Addr().String())
	}
	type bases struct{ chat, openAI, anthropic, gemini string }
	for name, tt := range map[string]struct {
		cfg  proxy.Config
		want bases
	}{
		"default": {proxy.Config{}, bases{
			host + "/serving-endpoints", host + "/serving-endpoints", host + "/serving-endpoints/anthropic", host + "/serving-endpoints/google",
		}},
		"set": {
			proxy.Config{Upstream: "http://a.example/1", OpenAIUpstream: "http://b.example/", AnthropicUpstream: "http://c.example:81", GeminiUpstream: "http://D.example/x/y/"},
			bases{"http://a.example/1", "http://b.example", "http://c.example:81", "http://d.example/x/y"},
		},
		"workspace's gateway": {proxy.Config{Gateway: proxy.GatewayOfWorkspace}, bases{
			host + "/ai-gateway/mlflow/v1", host + "/ai-gateway/codex/v1", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"workspace's gateway, by its URL": {proxy.Config{Gateway: host + "/ai-gateway/"}, bases{
			host + "/ai-gateway/mlflow/v1", host + "/ai-gateway/codex/v1", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"dedicated gateway": {proxy.Config{Gateway: "http://123.ai-gateway.cloud.databricks.com"}, bases{
			"http://123.ai-gateway.cloud.databricks.com/mlflow/v1", "http://123.ai-gateway.cloud.databricks.com/openai/v1",
			"http://123.ai-gateway.cloud.databricks.com/anthropic", "http://123.ai-gateway.cloud.databricks.com/gemini",
		}},
		"gateway, one set": {proxy.Config{Gateway: proxy.GatewayOfWorkspace, OpenAIUpstream: "http://b.example"}, bases{
			host + "/ai-gateway/mlflow/v1", "http://b.example", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"host with a query": {proxy.Config{Host: host + "?o=1"}, bases{
			host + "/serving-endpoints", host + "/serving-endpoints", host + "/serving-endpoints/anthropic", host + "/serving-endpoints/google",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := tt.cfg
			if cfg.Host == "" {
				cfg.Host = host
			}
			cfg.Dial = toUpstream
			h := open(t, cfg)
			h.publish(t, pat.New(canary, host))
			query := ""
			if strings.Contains(cfg.Host, "?") {
				query = "?o=1"
			}
			for path, want := range map[string]string{
				"/v1/chat/completions": tt.want.chat + "/chat/completions", "/completions": tt.want.chat + "/completions", "/v1/embeddings": tt.want.chat + "/embeddings",
				"/responses": tt.want.openAI + "/responses", "/v1/models": tt.want.openAI + "/models",
				"/v1/messages": tt.want.anthropic + "/v1/messages", "/anthropic/v1/messages/count_tokens": tt.want.anthropic + "/v1/messages/count_tokens",
				"/gemini/v1beta/models/M:x": tt.want.gemini + "/v1beta/models/M:x",
				"/serving-endpoints/x":      host + "/serving-endpoints/x", "/ai-gateway/x": host + "/ai-gateway/x",
			} {
				if h.do(t, "POST", path, `{}`); target != want+query {
					t.Errorf("%s: %s, want %s", path, target, want+query)
				}
			}
		})
	}
}

// message returns the sentence of an answer by patrol itself, as an agent of
// this kind looks for it.
func message(t testing.TB, form string, r reply) string {
	t.Helper()
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("Content-Type %q", ct)
	}
	var v struct {
		Type      string
		ErrorCode string `json:"error_code"`
		Message   string
		Error     struct {
			Type, Message, Status string
			Code                  any
		}
	}
	if err := json.Unmarshal([]byte(r.body), &v); err != nil {
		t.Fatalf("%q: %v", r.body, err)
	}
	msg := v.Error.Message
	ok := false
	switch form {
	case "openai":
		ok = v.Error.Type != "" && v.Error.Code != nil && v.Type == ""
	case "anthropic":
		ok = v.Type == "error" && v.Error.Type != ""
	case "gemini":
		ok = v.Error.Code == float64(r.StatusCode) && v.Error.Status != ""
	case "databricks":
		ok, msg = v.ErrorCode != "", v.Message
	}
	if !ok || msg == "" {
		t.Errorf("%s is no error in the form of %s", r.body, form)
	}
	return msg
}

func TestConfigRefused(t *testing.T) {
	for _, tt := range []struct{ host, upstream, want string }{
		{"", "", "--host is missing"},
		{"w.example", "", "https://"},
		{"ftp://w.example", "", "https://"},
		{"https://", "", "no host"},
		{"https://w.example/path", "", "path"},
		{"https://user:secret@w.example", "", "password"},
		{"https://w.example/..", "", "path"},
		{"https://w.example", "::", "--upstream"},
		{"https://w.example", "gateway", "--upstream"},
		{"https://w.example", "https://g.example/a/../b", "--upstream"},
		{"https://w.example", "https://g.example/a%2fb", "--upstream"},
		{"https://w.example", "https://user:secret@g.example", "--upstream"},
		{"https://w.example", "https://user:secret@g.example:port", "--upstream"},
		{"https://w.example", "https://g.example/#f", "--upstream"},
		{"https://w.example", "https://g.example/..;/x", "--upstream"},
	} {
		_, err := proxy.New(proxy.Config{Host: tt.host, Upstream: tt.upstream})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q %q: %v", tt.host, tt.upstream, err)
		}
	}
}
