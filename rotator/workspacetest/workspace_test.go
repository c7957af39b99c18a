package workspacetest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

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
