package proxy_test

import (
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"

	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator/workspacetest"
)

// guarded returns a guard that ends with the test.
func guarded(t testing.TB, cfg guard.Config) *guard.Guard {
	t.Helper()
	g, err := guard.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// TestGuard: it is asked before anything else, and whom it refuses reaches
// nothing.
func TestGuard(t *testing.T) {
	const key = "0123456789abcdef0123"
	ws, h := pair(t, false, proxy.Config{Guard: guarded(t, guard.Config{ClientKeys: []string{key}}), AllowAPI: true})
	h.publish(t, issue(ws))
	auth := []string{"X-Api-Key", key} // for systems that can't tell a socket's owner
	for _, path := range []string{"/", "/health", "/readyz", "/healthz"} {
		if got := h.do(t, "GET", path, "", auth...); got.StatusCode != 200 || !strings.Contains(got.body, "ok") {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if got := h.do(t, "POST", "/v1/messages", question, auth...); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	ws.Forget()
	for _, tt := range []struct{ path, form string }{
		{"/v1/messages", "anthropic"},
		{"/anthropic/v1/messages", "anthropic"},
		{"/gemini/v1beta/models/M:x", "gemini"},
		{"/api/2.0/preview/scim/v2/Me", "databricks"},
		{"/v1/chat/completions", "openai"},
		{"/nothing", "openai"},
		{"/", "openai"},
		{"/health", "openai"},
		{"/metrics", "openai"},
	} {
		for name, header := range map[string][]string{
			"another origin":  {"Origin", "https://evil.example"},
			"another site":    {"Sec-Fetch-Site", "cross-site"},
			"a rebound name":  {"Host", "evil.example"},
			"a name like one": {"Host", "127.0.0.1.evil.example"},
		} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+tt.path, strings.NewReader(question))
			req.Header.Set("X-Api-Key", key)
			if req.Header.Set(header[0], header[1]); header[0] == "Host" {
				req.Host = header[1]
			}
			got := h.send(t, req)
			if got.StatusCode != 403 {
				t.Errorf("%s from %s: %d %s", tt.path, name, got.StatusCode, got.body)
				continue
			}
			message(t, tt.form, got)
		}
	}
	// A supervisor learns whether patrol is well, and nothing else.
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200} {
		if got := h.do(t, "GET", path, "", "Sec-Fetch-Site", "cross-site"); got.StatusCode != want || got.body != "" {
			t.Errorf("%s: %d %q", path, got.StatusCode, got.body)
		}
	}
	if n := len(ws.Requests()); n != 0 {
		t.Errorf("%d requests reached the workspace", n)
	}
}

// TestGuardKnowsItsUser: without any credential, where the kernel can tell.
func TestGuardKnowsItsUser(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells whose a socket is")
	}
	ws, h := pair(t, false, proxy.Config{Guard: guarded(t, guard.Config{})})
	h.publish(t, issue(ws))
	if got := h.do(t, "POST", "/v1/messages", question); got.StatusCode != 200 {
		t.Errorf("user %d: %d %s", os.Getuid(), got.StatusCode, got.body)
	}
}

// TestFilter: what Databricks would reject is mended on its way, in plain and
// in compressed bodies; what needs no change passes byte for byte, and so does
// all of it where the filter is off.
func TestFilter(t *testing.T) {
	const blank = `{"model":"m", "max_tokens":9,"messages":[ {"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"x"}]}]}`
	const mended = `{"model":"m", "max_tokens":9,"messages":[ {"role":"user","content":[{"type":"text","text":"x"}]}]}`
	for _, off := range []bool{false, true} {
		ws, h := pair(t, false, proxy.Config{NoFilter: off})
		h.publish(t, issue(ws))
		for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/serving-endpoints/anthropic/v1/messages", "/v1/messages/count_tokens", "/responses"} {
			for _, encoding := range []string{"", "gzip"} {
				for _, body := range []string{question, blank} {
					want := body
					if body == blank && !off && path != "/responses" {
						want = mended
					}
					wire := body
					if encoding == "gzip" {
						wire = zipped(body)
					}
					ws.Forget()
					got := h.do(t, "POST", path, wire, "Content-Encoding", encoding, "Content-Type", "application/json")
					seen := ws.Requests()
					if got.StatusCode != 200 || len(seen) != 1 || string(seen[0].Body) != want {
						t.Errorf("off %v, %s, %q: %d %s, sent %s", off, path, encoding, got.StatusCode, got.body, seen[0].Body)
					}
				}
			}
		}
	}
}

// TestFilterMendsStreams, and a request that is sent again is mended once.
func TestFilterMendsStreams(t *testing.T) {
	ws := workspace(t, workspacetest.Config{Model: func(workspacetest.ModelCall) workspacetest.ModelReply {
		return workspacetest.ModelReply{Raw: []string{
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"type\":\"function\",\"function\":{\"name\":\"x\",\"arguments\":\"{}\"}}]}}]}\n\n",
			"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
			"data: [DONE]\n\n",
		}}
	}})
	ws.Inject(workspacetest.Fault{Effect: workspacetest.Reset})
	h := open(t, proxy.Config{Host: ws.URL})
	h.publish(t, issue(ws))
	got := h.do(t, "POST", "/v1/chat/completions", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"x"}}]}`)
	if got.StatusCode != 200 || len(ws.Requests()) != 2 || !strings.Contains(got.body, `"finish_reason":"tool_calls"`) || !strings.HasSuffix(got.body, "data: [DONE]\n\n") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}
