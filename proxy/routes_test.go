package proxy_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
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
		{"", "", "workspace's host"},
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
	} {
		_, err := proxy.New(proxy.Config{Host: tt.host, Upstream: tt.upstream})
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q %q: %v", tt.host, tt.upstream, err)
		}
	}
}
