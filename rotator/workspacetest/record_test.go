package workspacetest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"patrol/rotator/workspacetest"
)

func TestRecord(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		tok := w.Issue(workspacetest.IssueOptions{User: "ann@example.com"})
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/serving-endpoints/chat/completions?beta=true", strings.NewReader(`{"model":"m"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tok.Value)
		req.Header.Set("X-Api-Key", tok.Value)
		req.Header.Set("Cookie", "a=canary; b=2")
		req.Header.Set("X-Goog-Api-Key", "canary with spaces")
		req.Header.Set("Proxy-Authorization", "canary")
		req.Header.Set("X-Databricks-Use-Case", "test")
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		w.Revoke(tok.ID)
		ask(t, c, "GET", url+"/api/2.0/token/list", tok.Value, "")
		ask(t, c, "GET", url+"/api/2.0/token/list", "dapi-canary", "")

		all := w.Requests()
		if len(all) != 3 {
			t.Fatalf("%d requests", len(all))
		}
		first := all[0]
		if first.Method != "POST" || first.Path != "/serving-endpoints/chat/completions" || first.Query != "beta=true" || first.Proto != "HTTP/1.1" ||
			first.TokenID != tok.ID || !first.Valid || first.Status != 200 || first.Fault || string(first.Body) != `{"model":"m"}` || first.Header.Get("X-Databricks-Use-Case") != "test" {
			t.Errorf("the first: %+v", first)
		}
		if second := all[1]; second.TokenID != tok.ID || second.Valid || second.Status != 403 {
			t.Errorf("with a revoked token: %+v", second)
		}
		if third := all[2]; third.TokenID != "" || third.Valid || third.Status != 403 {
			t.Errorf("with an unknown token: %+v", third)
		}
		if s := fmt.Sprintf("%+v", all); strings.Contains(s, tok.Value) || strings.Contains(s, "canary") {
			t.Errorf("a secret in %s", s)
		}
		if w.Forget(); len(w.Requests()) != 0 {
			t.Errorf("after Forget: %d", len(w.Requests()))
		}
	})
}

func TestNoRecord(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{NoRecord: true})
	ask(t, &http.Client{Transport: w.Transport()}, "GET", "https://w.example/", "", "")
	if all := w.Requests(); len(all) > 0 {
		t.Errorf("recorded: %+v", all)
	}
}

func TestEncodedBodies(t *testing.T) {
	const body = `{"model":"m"}`
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte(body))
	_ = z.Close()
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		tok := w.Issue(workspacetest.IssueOptions{}).Value
		for _, test := range []struct {
			encoding string
			body     []byte
			status   int
		}{
			{"gzip", zipped.Bytes(), 200},
			{"zstd", enc.EncodeAll([]byte(body), nil), 200},
			{"gzip", []byte(body), 400},
			{"zstd", []byte(body), 400},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/serving-endpoints/responses", bytes.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok)
			req.Header.Set("Content-Encoding", test.encoding)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			all := w.Requests()
			if got := string(all[len(all)-1].Body); resp.StatusCode != test.status || test.status == 200 && got != body {
				t.Errorf("%s: %d, %q", test.encoding, resp.StatusCode, got)
			}
		}
	})
}
