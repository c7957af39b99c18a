//go:build unix

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// report asks the service of the site how it is.
func (s *site) report(t *testing.T) (r control.Status) {
	t.Helper()
	c, err := control.Dial(t.Context(), s.state, patience)
	if err == nil {
		r, err = c.Status(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The chain dies under agents at work. What they asked waits, and goes through
// after a login; so does what they ask next.
func TestLoginSavesWaiting(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	p, proxy := s.serve(t, "--wait", "1m")
	for _, token := range s.Live() {
		s.Revoke(token.ID)
	}
	const agents = 20
	answers := make(chan error, agents)
	ask := func() {
		status, body, err := chat(proxy)
		if err == nil && status != http.StatusOK {
			t.Errorf("status %d: %s", status, body)
		}
		answers <- err
	}
	for range agents {
		go ask()
	}
	await(t, func() bool { r := s.report(t); return r.NeedsLogin && r.Proxy.Waited == agents })
	if len(answers) > 0 {
		t.Fatal("a request was answered without a token")
	}
	token := s.Issue(workspacetest.IssueOptions{})
	login := exec.CommandContext(t.Context(), "patrol", "login")
	login.Env, login.Stdin = s.app.environ, strings.NewReader(token.Value+"\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range agents {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	for range agents {
		ask()
	}
	if out := p.output(); !strings.Contains(out, "level=ERROR") || !strings.Contains(out, "patrol login") || strings.Contains(out, token.Value) {
		t.Errorf("the log doesn't say what happened, or too much: %s", out)
	}
}

// chat sends a chat completion through the proxy.
func chat(proxy string) (status int, body string, err error) {
	resp, err := http.Post(proxy+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`)) //nolint:noctx // it ends with the service
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// A lone rotation is killed at each of its calls. The lock goes with it, nobody
// waits for it, and no token of it is left.
func TestRotateKilled(t *testing.T) {
	for _, call := range []string{"list", "create", "delete"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			var armed atomic.Bool
			armed.Store(true)
			reached, dead := make(chan struct{}), make(chan struct{})
			s := newSite(t, workspacetest.Config{Fault: func(r *http.Request) *workspacetest.Fault {
				if strings.HasSuffix(r.URL.Path, "/token/"+call) && armed.Swap(false) {
					close(reached)
					<-dead // and then the workspace does what it was asked for
				}
				return nil
			}})
			p := s.patrol(t, "rotate", "--wait-revoke", "--grace", "0s")
			<-reached
			if err := p.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = p.Wait()
			close(dead)
			next := s.patrol(t, "rotate", "--wait-revoke", "--grace", "0s")
			if err := next.Wait(); err != nil || strings.Contains(next.output(), "waiting for") || !strings.Contains(next.output(), "rotated: token") {
				t.Errorf("the next: %v: %s", err, next.output())
			}
			s.serve(t, "--grace", "0s")
			await(t, func() bool { return len(s.Live()) == 1 && s.Live()[0].Minted })
		})
	}
}

// An endpoint that calls every token invalid is told nothing new a thousand
// times, while the token is good.
func TestRefusingEndpoint(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"error_code":403,"message":"Invalid access token."}`)
	}))
	defer upstream.Close()
	s := newSite(t, workspacetest.Config{})
	_, proxy := s.serve(t, "--upstream", upstream.URL)
	minted := s.minted()
	const requests, atOnce = 1000, 100
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for range requests / atOnce {
				if status, body, err := chat(proxy); err != nil || status != http.StatusForbidden || !strings.Contains(body, "Invalid access token") {
					t.Errorf("%d %s %v", status, body, err)
				}
			}
		})
	}
	all.Wait()
	if n := s.minted() - minted; n != 0 || asked.Load() < requests {
		t.Errorf("%d refusals: %d tokens minted", asked.Load(), n)
	}
	if r := s.report(t); !r.Ready {
		t.Errorf("the token is good, and patrol says %s", r.Problem)
	}
}
