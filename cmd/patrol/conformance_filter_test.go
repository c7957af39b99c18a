//go:build unix

package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func filterRows() []row {
	return []row{
		{name: "what Databricks would reject is mended, and what needs no change passes byte for byte", run: showMendedRequests},
		{name: "with --filter off all of it passes byte for byte", run: showFilterOff},
		{name: "a stream that agents would misread is mended, and its request sent again as mended", run: showMendedStream},
	}
}

// A question with an empty part, and what patrol makes of it.
const (
	blankPart  = `{"model":"m", "max_tokens":9,"messages":[ {"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"x"}]}]}`
	withoutOne = `{"model":"m", "max_tokens":9,"messages":[ {"role":"user","content":[{"type":"text","text":"x"}]}]}`
)

// wantMended asks in each API that the filter knows, and in one that it leaves
// alone.
func (f *fixture) wantMended(t *testing.T, want string) {
	t.Helper()
	f.handle(t, func(w http.ResponseWriter, req *http.Request) { _, _ = io.Copy(w, req.Body) })
	for path, filtered := range map[string]bool{
		"/v1/chat/completions": true, "/v1/messages": true, "/serving-endpoints/anthropic/v1/messages": true, "/v1/messages/count_tokens": true, "/responses": false,
	} {
		for _, body := range []string{question, blankPart} {
			want := want
			if body == question || !filtered {
				want = body
			}
			for encoding, wire := range map[string]string{"": body, "gzip": zipped(body)} {
				got := f.ask(t, http.MethodPost, path, wire, "Content-Encoding", encoding, "Content-Type", "application/json")
				if got.StatusCode != http.StatusOK || got.body != want && got.body != zipped(want) {
					t.Errorf("%s in %q: %d, %s came as %q", path, encoding, got.StatusCode, body, got.body)
				}
			}
		}
	}
	f.arrived(t, 20)
}

func showMendedRequests(t *testing.T, f *fixture) { f.wantMended(t, withoutOne) }

func showFilterOff(t *testing.T, f *fixture) {
	f.with(t, settings{noFilter: true}).wantMended(t, blankPart)
}

func showMendedStream(t *testing.T, f *fixture) {
	const events = `data: {"choices":[{"index":0,"delta":{"content":"a"}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"x","arguments":"{}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

data: [DONE]

`
	bodies := make(chan string, 2)
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		if bodies <- string(body); len(bodies) == 1 {
			reset.end(w)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, events)
	})
	got := f.ask(t, http.MethodPost, "/v1/chat/completions", strings.Replace(blankPart, "{", `{"stream":true,`, 1))
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, `"finish_reason":"tool_calls"`) || !strings.HasSuffix(got.body, "data: [DONE]\n\n") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 2)
	first, again := <-bodies, <-bodies
	if want := strings.Replace(withoutOne, "{", `{"stream":true,`, 1); first != want || again != want {
		t.Errorf("came as %s and then as %s", first, again)
	}
}
