package workspacetest_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

func start(t *testing.T, cfg workspacetest.Config) *workspacetest.Server {
	t.Helper()
	s, err := workspacetest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ask sends one request and returns the answer's status and body.
func ask(t *testing.T, c *http.Client, method, url, bearer, body string) (int, string) {
	t.Helper()
	status, out, err := try(t, c, method, url, bearer, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return status, out
}

func try(t *testing.T, c *http.Client, method, url, bearer, body string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	out, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(out), err
}

type created struct {
	Value string `json:"token_value"`
	Info  struct {
		ID     string `json:"token_id"`
		Expiry int64  `json:"expiry_time"`
	} `json:"token_info"`
}

// both runs a test over a socket and through Transport.
func both(t *testing.T, cfg workspacetest.Config, f func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string)) {
	t.Helper()
	t.Run("socket", func(t *testing.T) {
		s := start(t, cfg)
		c := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(c.CloseIdleConnections)
		f(t, s.Workspace, c, s.URL)
	})
	t.Run("transport", func(t *testing.T) {
		w := workspacetest.New(cfg)
		f(t, w, &http.Client{Transport: w.Transport()}, "https://w.example")
	})
}

func TestTokenLife(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		first := w.Issue(workspacetest.IssueOptions{Comment: "mine"})
		status, body := ask(t, c, "POST", url+"/api/2.0/token/create", first.Value, `{"lifetime_seconds":60,"comment":"x"}`)
		var made created
		if err := json.Unmarshal([]byte(body), &made); err != nil || status != 200 {
			t.Fatalf("create: %d %s", status, body)
		}
		if got := time.Until(time.UnixMilli(made.Info.Expiry)); got < 50*time.Second || got > 60*time.Second {
			t.Errorf("the token expires in %v", got)
		}
		if len(w.Live()) != 2 {
			t.Errorf("%d tokens live, want 2", len(w.Live()))
		}
		if status, body := ask(t, c, "POST", url+"/api/2.0/token/delete", made.Value, `{"token_id":"`+first.ID+`"}`); status != 200 {
			t.Errorf("delete: %d %s", status, body)
		}
		status, body = ask(t, c, "GET", url+"/api/2.0/token/list", first.Value, "")
		if status != 403 || body != `{"error_code":403,"message":"Invalid access token."}` {
			t.Errorf("with a revoked token: %d %s", status, body)
		}
		status, body = ask(t, c, "GET", url+"/api/2.0/token/list", made.Value, "")
		if status != 200 || strings.Contains(body, first.ID) || strings.Contains(body, made.Value) || !strings.Contains(body, made.Info.ID) {
			t.Errorf("list: %d %s", status, body)
		}
	})
}

func TestStreams(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		tok := w.Issue(workspacetest.IssueOptions{})
		for path, last := range map[string]string{
			"/serving-endpoints/chat/completions":      "data: [DONE]",
			"/serving-endpoints/anthropic/v1/messages": `data: {"type":"message_stop"}`,
			"/serving-endpoints/responses":             `data: {"type":"response.completed"`,
		} {
			req, _ := http.NewRequestWithContext(t.Context(), "POST", url+path, strings.NewReader(`{"model":"m","stream":true}`))
			req.Header.Set("Authorization", "Bearer "+tok.Value)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			line, lines := "", 0
			for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
				if sc.Text() != "" {
					line = sc.Text()
					lines++
				}
			}
			_ = resp.Body.Close()
			if resp.StatusCode != 200 || !strings.HasPrefix(line, last) || lines < 7 {
				t.Errorf("%s: %d, %d lines, the last is %s", path, resp.StatusCode, lines, line)
			}
		}
	})
}

func TestResetAfterTheChange(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		tok := w.Issue(workspacetest.IssueOptions{})
		w.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Reset, After: true})
		_, _, err := try(t, c, "POST", url+"/api/2.0/token/create", tok.Value, `{}`)
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("error %v, want a reset", err)
		}
		if n := len(w.Live()); n != 2 {
			t.Errorf("%d tokens live, want 2: it was made", n)
		}
	})
}
