package workspacetest_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

func TestOtherEndpoints(t *testing.T) {
	w, c := scripted(workspacetest.ModelReply{Text: text})
	tok := w.Issue(workspacetest.IssueOptions{}).Value
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/serving-endpoints/My-model/invocations", `{"messages":[]}`, 200, `"model":"My-model"`},
		{"POST", "/ai-gateway/mlflow/v1/chat/completions", `{"model":"m"}`, 200, `"chat.completion"`},
		{"POST", "/ai-gateway/codex/v1/responses", `{"model":"m"}`, 200, `"object":"response"`},
		{"POST", "/anthropic/v1/messages", `{"model":"m"}`, 200, `"type":"message"`},
		{"POST", "/serving-endpoints/completions", `{"model":"m"}`, 200, `"text_completion"`},
		{"POST", "/serving-endpoints/embeddings", `{"input":["a","b"]}`, 200, `"index":1`},
		{"POST", "/serving-endpoints/embeddings", `{"input":"a"}`, 200, `"index":0`},
		{"POST", "/serving-endpoints/anthropic/v1/messages/count_tokens", `{"model":"m"}`, 200, `{"input_tokens":`},
		{"GET", "/serving-endpoints/models", ``, 404, `ENDPOINT_NOT_FOUND`},
		{"GET", "/serving-endpoints/chat/completions", ``, 405, `not allowed`},
		{"POST", "/serving-endpoints/chat/completions", `{`, 400, `BAD_REQUEST`},
		{"GET", "/api/2.0/clusters/list", ``, 404, `ENDPOINT_NOT_FOUND`},
		{"GET", "/", ``, 404, `ENDPOINT_NOT_FOUND`},
		// A careless front end resolves what a careful proxy refuses.
		{"GET", "/serving-endpoints/../API/2.0//token/./list", ``, 200, `token_infos`},
	} {
		status, body := ask(t, c, test.method, "https://w.example"+test.path, tok, test.body)
		if status != test.status || !strings.Contains(body, test.want) || !json.Valid([]byte(body)) {
			t.Errorf("%s %s: %d %s", test.method, test.path, status, body)
		}
	}
}

func TestOtherHandler(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{Other: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Add("Set-Cookie", "a=1")
		rw.Header().Add("Set-Cookie", "b=2")
		_, _ = fmt.Fprint(rw, r.URL.Path)
	})})
	c := &http.Client{Transport: w.Transport()}
	if status, _ := ask(t, c, "GET", "https://w.example/api/2.0/Jobs", "dapi-unknown", ""); status != 403 {
		t.Errorf("without a valid token: %d", status)
	}
	if status, body := ask(t, c, "GET", "https://w.example/api/2.0/Jobs", w.Issue(workspacetest.IssueOptions{}).Value, ""); status != 200 || body != "/api/2.0/Jobs" {
		t.Errorf("with one: %d %s", status, body)
	}
}

func TestScript(t *testing.T) {
	script := workspacetest.Script(
		workspacetest.ModelReply{Calls: calls},
		workspacetest.ModelReply{Calls: calls[:1]},
		workspacetest.ModelReply{Text: "done"},
	)
	w := workspacetest.New(workspacetest.Config{Model: script})
	c := &http.Client{Transport: w.Transport()}
	tok := w.Issue(workspacetest.IssueOptions{}).Value
	tools := map[string]string{
		"chat/completions":                       `"tools":[{"type":"function","function":{"name":"read"}}]`,
		"anthropic/v1/messages":                  `"tools":[{"name":"read"}]`,
		"responses":                              `"tools":[{"type":"function","name":"read"}]`,
		"google/v1beta/models/g:generateContent": `"tools":[{"functionDeclarations":[{"name":"read"}]}]`,
	}
	results := map[string]func(n int) string{
		"chat/completions": func(n int) string { return `"messages":[` + join(`{"role":"tool","content":"x"}`, n) + `]` },
		"anthropic/v1/messages": func(n int) string {
			return `"messages":[{"role":"user","content":[` + join(`{"type":"tool_result"}`, n) + `]}]`
		},
		"responses": func(n int) string { return `"input":[` + join(`{"type":"function_call_output"}`, n) + `]` },
		"google/v1beta/models/g:generateContent": func(n int) string {
			return `"contents":[{"parts":[` + join(`{"functionResponse":{}}`, n) + `]}]`
		},
	}
	for path := range tools {
		for n, want := range []string{"list", "list", "read", "done", "done"} {
			_, body := ask(t, c, "POST", "https://w.example/serving-endpoints/"+path, tok, "{"+tools[path]+","+results[path](n)+"}")
			if !strings.Contains(body, want) || want == "read" && strings.Contains(body, `"list"`) {
				t.Errorf("%s after %d results: %s", path, n, body)
			}
		}
		if _, body := ask(t, c, "POST", "https://w.example/serving-endpoints/"+path, tok, "{"+results[path](0)+"}"); !strings.Contains(body, "Hello") {
			t.Errorf("%s without tools: %s", path, body)
		}
	}
}

func join(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

func TestRawReply(t *testing.T) {
	w, c := scripted(workspacetest.ModelReply{Raw: []string{"data: a\n", "\n"}, Status: 203, ContentType: "text/x"})
	status, body := ask(t, c, "POST", "https://w.example/serving-endpoints/responses", w.Issue(workspacetest.IssueOptions{}).Value, `{"stream":true}`)
	if status != 203 || body != "data: a\n\n" {
		t.Errorf("%d %q", status, body)
	}
}

func TestCompressedAnswers(t *testing.T) {
	s := start(t, workspacetest.Config{Compress: true})
	tok := s.Issue(workspacetest.IssueOptions{}).Value
	c := &http.Client{Transport: &http.Transport{}} // it asks for gzip and decodes it
	t.Cleanup(c.CloseIdleConnections)
	for body, want := range map[string]string{`{}`: `"finish_reason":"stop"`, `{"stream":true}`: "data: [DONE]\n\n"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/serving-endpoints/chat/completions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tok)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !resp.Uncompressed || !strings.Contains(string(got), want) {
			t.Errorf("%s: compressed %v, %s, %v", body, resp.Uncompressed, got, err)
		}
	}
}

func TestEventDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{Events: 10, EventDelay: time.Second})
		c := &http.Client{Transport: w.Transport()}
		began := time.Now()
		events := stream(t, c, "https://w.example/serving-endpoints/chat/completions", w.Issue(workspacetest.IssueOptions{}).Value, `{"stream":true}`)
		if took := time.Since(began); len(events) != 13 || took != 12*time.Second { // role, 10 pieces, finish, [DONE]
			t.Errorf("%d events in %v", len(events), took)
		}
	})
}
