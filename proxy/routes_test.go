package proxy_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestRoutes asks for every kind of path and looks where it comes out.
func TestRoutes(t *testing.T) {
	seen := make(chan string, 1)
	record := func(name string) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) { seen <- name + " " + r.Method + " " + r.RequestURI }
	}
	ws, other := upstream(t, record("workspace")), upstream(t, record("other"))
	plain := open(t, proxy.Config{Host: ws.URL})
	plain.publish(t, pat.New("x", ws.URL))
	based := open(t, proxy.Config{Host: ws.URL, Upstream: other.URL + "/base/"})
	based.publish(t, pat.New("x", ws.URL))
	for _, tt := range []struct {
		house      *house
		path, want string
	}{
		{plain, "/chat/completions", "/serving-endpoints/chat/completions"},
		{plain, "/v1/chat/completions", "/serving-endpoints/chat/completions"},
		{plain, "/completions", "/serving-endpoints/completions"},
		{plain, "/v1/completions", "/serving-endpoints/completions"},
		{plain, "/embeddings", "/serving-endpoints/embeddings"},
		{plain, "/v1/embeddings", "/serving-endpoints/embeddings"},
		{plain, "/v1/messages?beta=true", "/serving-endpoints/anthropic/v1/messages?beta=true"},
		{plain, "/v1/messages/count_tokens", "/serving-endpoints/anthropic/v1/messages/count_tokens"},
		{plain, "/anthropic/v1/messages", "/serving-endpoints/anthropic/v1/messages"},
		{plain, "/anthropic/v1/messages/count_tokens", "/serving-endpoints/anthropic/v1/messages/count_tokens"},
		{plain, "/responses", "/serving-endpoints/responses"},
		{plain, "/v1/responses", "/serving-endpoints/responses"},
		{plain, "/openai/v1/responses", "/serving-endpoints/responses"},
		{plain, "/v1/models", "/serving-endpoints/models"},
		{plain, "/openai/v1/models?a;b&%zz=1", "/serving-endpoints/models?a;b&%zz=1"},
		{plain, "/gemini/v1beta/models/M:generateContent", "/serving-endpoints/google/v1beta/models/M:generateContent"},
		{plain, "/v1beta/models/M:streamGenerateContent?alt=sse", "/serving-endpoints/google/v1beta/models/M:streamGenerateContent?alt=sse"},
		{plain, "/v1beta/models/M%3AgenerateContent", "/serving-endpoints/google/v1beta/models/M%3AgenerateContent"},
		{plain, "/v1beta/models/M:x?key=dapi123&alt=sse&monkey=1", "/serving-endpoints/google/v1beta/models/M:x?alt=sse&monkey=1"},
		{plain, "/serving-endpoints/some.name-1/invocations", "/serving-endpoints/some.name-1/invocations"},
		{plain, "/serving-endpoints/a%20b/invocations", "/serving-endpoints/a%20b/invocations"},
		{plain, "/serving-endpoints/x!'()*,/y", "/serving-endpoints/x!'()*,/y"},
		{plain, "/serving-endpoints/anthropic/v1/messages", "/serving-endpoints/anthropic/v1/messages"},
		{plain, "/ai-gateway/mlflow/v1/chat/completions", "/ai-gateway/mlflow/v1/chat/completions"},
		{based, "/v1/chat/completions?x=1", "other /base/chat/completions?x=1"},
		{based, "/completions", "other /base/completions"},
		{based, "/embeddings", "other /base/embeddings"},
		{based, "/v1/messages", "/serving-endpoints/anthropic/v1/messages"},
		{based, "/responses", "/serving-endpoints/responses"},
		{based, "/serving-endpoints/chat/completions", "/serving-endpoints/chat/completions"},
	} {
		server, path, ok := strings.Cut(tt.want, " ")
		if !ok {
			server, path = "workspace", tt.want
		}
		if got := tt.house.do(t, "POST", tt.path, `{}`); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", tt.path, got.StatusCode, got.body)
			continue
		}
		if got, want := <-seen, server+" POST "+path; got != want {
			t.Errorf("%s: got %q, want %q", tt.path, got, want)
		}
	}
}

// TestBases: which setting leads where.
func TestBases(t *testing.T) {
	const host = "https://w.example"
	type bases struct{ chat, openAI, anthropic, gemini string }
	for name, tt := range map[string]struct {
		cfg  proxy.Config
		want bases
	}{
		"default": {proxy.Config{}, bases{
			host + "/serving-endpoints", host + "/serving-endpoints", host + "/serving-endpoints/anthropic", host + "/serving-endpoints/google",
		}},
		"set": {
			proxy.Config{Upstream: "https://a.example/1", OpenAIUpstream: "https://b.example/", AnthropicUpstream: "http://c.example:81", GeminiUpstream: "https://D.example/x/y/"},
			bases{"https://a.example/1", "https://b.example", "http://c.example:81", "https://d.example/x/y"},
		},
		"workspace's gateway": {proxy.Config{Gateway: proxy.GatewayOfWorkspace}, bases{
			host + "/ai-gateway/mlflow/v1", host + "/ai-gateway/codex/v1", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"workspace's gateway, by its URL": {proxy.Config{Gateway: host + "/ai-gateway/"}, bases{
			host + "/ai-gateway/mlflow/v1", host + "/ai-gateway/codex/v1", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"dedicated gateway": {proxy.Config{Gateway: "https://123.ai-gateway.cloud.databricks.com"}, bases{
			"https://123.ai-gateway.cloud.databricks.com/mlflow/v1", "https://123.ai-gateway.cloud.databricks.com/openai/v1",
			"https://123.ai-gateway.cloud.databricks.com/anthropic", "https://123.ai-gateway.cloud.databricks.com/gemini",
		}},
		"gateway, one set": {proxy.Config{Gateway: proxy.GatewayOfWorkspace, OpenAIUpstream: "https://b.example"}, bases{
			host + "/ai-gateway/mlflow/v1", "https://b.example", host + "/ai-gateway/anthropic", host + "/ai-gateway/gemini",
		}},
		"host with a query": {proxy.Config{Host: host + "?o=1"}, bases{
			host + "/serving-endpoints", host + "/serving-endpoints", host + "/serving-endpoints/anthropic", host + "/serving-endpoints/google",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var target string
			cfg := tt.cfg
			if cfg.Host == "" {
				cfg.Host = host
			}
			cfg.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				target = r.URL.String()
				if r.Header.Get("Authorization") != "Bearer "+canary || r.Host != "" {
					t.Errorf("to %s: %q as %q", target, r.Header["Authorization"], r.Host)
				}
				return nil, errors.New("no network")
			})
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

// TestAPI: with --allow-api, and never what makes tokens.
func TestAPI(t *testing.T) {
	ws := workspace(t, workspacetest.Config{Other: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI)
	})})
	h := open(t, proxy.Config{Host: ws.URL, AllowAPI: true})
	h.publish(t, issue(ws))
	for _, path := range []string{
		"/api/2.0/clusters/list?x=1",
		"/api/2.1/unity-catalog/tables/main.a.tokens",
		"/api/2.1/unity-catalog/tables/main.a.t%C3%A4bel",
		"/api/2.0/fs/files/Volumes/a/b/with%20space",
		"/api/2.0/preview/sql/queries",
		"/api/1.2/contexts/status",
		"/api/2.0/permissions/authorization/tokens",
	} {
		if got := h.do(t, "POST", path, "{}"); got.StatusCode != 200 || got.body != "POST "+path {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	before := ws.Count()
	for _, path := range []string{
		"/api/2.0/token/create", "/api/2.0/token/list", "/api/2.0/token/delete", "/api/2.0/token", "/api/2.0/token/",
		"/api/2.1/token/create", "/api/2.0/TOKEN/create", "/api/2.0/toKen/create", "/api/2.0/tokens/create",
		"/api/2.0/token-management/tokens", "/api/2.0/token-management/on-behalf-of/tokens", "/api/2.0/Token-Management/x",
		"/api/2.0/preview/token/create", "/api/2.0/preview/preview/token-management/x", "/api/2.0/PREVIEW/token/create",
		"/api/token/create", "/api/2.0/", "/api/2.0", "/api/", "/api/v2.0/token/create", "/api/%32.0/token/create",
		"/api/2.0%2ftoken/create", "/api/2.0/to%6ben/create", "/api/2.0/to%E2%84%AAen/create", "/api/2.0/%EF%BD%94oken/create",
		"/api/2.0//token/create", "/api//2.0/token/create", "/api/2.0/./token/create", "/api/2.0/x/../token/create",
		"/api/2.0/x/..%2ftoken/create", "/api/2.0/x/%2e%2e/token/create", "/api/2.0/;a=b/token/create", "/api/2.0/token;a=b/create",
		"/API/2.0/token/create", "/Api/2.0/clusters/list", "/api/2.0 /token/create", "/api/2.0/%20token/create", "/api/2.0/token%20/create",
		"/api/2.0/token%00/create", "/api/2.0/token\\create", "/api/2.0/token%5ccreate",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "OPTIONS"} {
			status, body := h.raw(t, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			if status < 400 || status > 404 {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
		}
	}
	if n := ws.Count() - before; n != 0 {
		t.Errorf("%d of them reached the workspace", n)
	}
	got := h.do(t, "POST", "/api/2.0/token/create", "{}")
	if msg := message(t, "databricks", got); got.StatusCode != 403 || !strings.Contains(msg, "token API") {
		t.Errorf("%d %s", got.StatusCode, msg)
	}
}

func TestUnknownPathNamesTheRoutes(t *testing.T) {
	h := open(t, proxy.Config{Host: "https://w.example"})
	for _, tt := range []struct{ path, form string }{
		{"/nothing", "openai"},
		{"/v1/messages/", "openai"},
		{"/V1/MESSAGES", "openai"},
		{"/serving-endpoints/", "openai"},
		{"/serving-endpoints", "openai"},
		{"/chat/completions/x", "openai"},
		{"/anthropic/v1/nothing", "anthropic"},
		{"/x/v1beta/models", "gemini"},
		{"/api/2.0/clusters/list", "databricks"},
		{"/api/2.0/token/create", "databricks"},
		{"/metadata", "openai"},
	} {
		got := h.do(t, "POST", tt.path, `{}`)
		if got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", tt.path, got.StatusCode)
		}
		if msg := message(t, tt.form, got); !strings.Contains(msg, " /v1/chat/completions ") || !strings.Contains(msg, "/v1beta/") {
			t.Errorf("%s: %q names no routes", tt.path, msg)
		}
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
