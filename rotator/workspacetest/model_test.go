package workspacetest_test

import (
	"encoding/json"
	"net/http"
	"slices"
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

// TestModelCall: what a model is told of the tools, in each form.
func TestModelCall(t *testing.T) {
	var got workspacetest.ModelCall
	w := workspacetest.New(workspacetest.Config{Model: func(c workspacetest.ModelCall) workspacetest.ModelReply {
		got = c
		return workspacetest.ModelReply{}
	}})
	c := &http.Client{Transport: w.Transport()}
	tok := w.Issue(workspacetest.IssueOptions{}).Value
	tools := map[string]string{
		"chat/completions":                       `"tools":[{"type":"function","function":{"name":"read"}}]`,
		"anthropic/v1/messages":                  `"tools":[{"name":"read"}]`,
		"responses":                              `"tools":[{"type":"function","name":"read"}]`,
		"google/v1beta/models/g:generateContent": `"tools":[{"functionDeclarations":[{"name":"read"}]}]`,
	}
	results := map[string]func(n int) string{
		"chat/completions": func(n int) string {
			return `"messages":[` + join(`{"role": "tool","content":"{\"role\":\"tool\"}"}`, n) + `]`
		},
		"anthropic/v1/messages": func(n int) string {
			return `"messages":[{"role":"user","content":[` + join(`{"type":"tool_result"}`, n) + `]}]`
		},
		"responses": func(n int) string { return `"input":[` + join(`{"type":"function_call_output"}`, n) + `]` },
		"google/v1beta/models/g:generateContent": func(n int) string {
			return `"contents":[{"parts":[` + join(`{"functionResponse":{}}`, n) + `]}]`
		},
	}
	for path := range tools {
		for n := range 3 {
			body := "{" + tools[path] + "," + results[path](n) + "}"
			ask(t, c, "POST", "https://w.example/serving-endpoints/"+path, tok, body)
			if !slices.Equal(got.Tools, []string{"read"}) || got.Results != n || string(got.Body) != body {
				t.Errorf("%s with %d results: tools %q, results %d, body %s", path, n, got.Tools, got.Results, got.Body)
			}
		}
	}
}

func join(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }

func TestRawReply(t *testing.T) {
	w, c := scripted(workspacetest.ModelReply{Raw: []string{"data: a\n", "\n"}})
	status, body := ask(t, c, "POST", "https://w.example/serving-endpoints/responses", w.Issue(workspacetest.IssueOptions{}).Value, `{"stream":true}`)
	if status != 200 || body != "data: a\n\n" {
		t.Errorf("%d %q", status, body)
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
