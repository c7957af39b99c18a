package proxy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const question = `{"model":"m","messages":[{"role":"user","content":"x"}],"input":"x","max_tokens":9}`

// TestCurrentTokenRefused: whoever knows is asked, once, and the request goes
// out once more at most.
func TestCurrentTokenRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		refused  func(h *fixture, ws *workspacetest.Server, old pat.Token) (pat.Token, bool)
		status   int
		requests int
	}{
		{"dead, rotated", func(h *fixture, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			next := issue(ws)
			h.publish(t, next)
			return next, true
		}, 200, 2},
		{"works elsewhere: passed on", func(*fixture, *workspacetest.Server, pat.Token) (pat.Token, bool) { return pat.Token{}, false }, 403, 1},
		{"too young: the one before it", func(_ *fixture, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) { return issue(ws), true }, 200, 2},
		{"the next is refused too", func(h *fixture, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			next := issue(ws)
			h.publish(t, next)
			ws.Revoke(next.ID)
			return next, true
		}, 403, 2},
		{"another host's: passed on", func(*fixture, *workspacetest.Server, pat.Token) (pat.Token, bool) {
			return pat.New("x", "https://evil.example"), true
		}, 403, 1},
		{"replaced meanwhile", func(h *fixture, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			h.publish(t, issue(ws))
			return pat.Token{}, false
		}, 200, 2},
		{"the chain is dead", func(h *fixture, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			h.publish(t, pat.New("", ws.URL))
			return pat.Token{}, false
		}, 503, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := workspace(t, workspacetest.Config{})
			var h *fixture
			var asked atomic.Int64
			h = open(t, proxy.Config{
				Host: ws.URL, Wait: 50 * time.Millisecond,
				Ready: func() error { return errors.New("run patrol login") },
				Refused: func(_ context.Context, tok pat.Token) (pat.Token, bool) {
					asked.Add(1)
					return tt.refused(h, ws, tok)
				},
			})
			tok := issue(ws)
			h.publish(t, tok)
			ws.Revoke(tok.ID)
			got := h.do(t, "POST", "/v1/messages", question)
			if got.StatusCode != tt.status || len(ws.Requests()) != tt.requests || asked.Load() != 1 {
				t.Errorf("%d %s after %d requests, asked %d times", got.StatusCode, got.body, len(ws.Requests()), asked.Load())
			}
			switch tt.status {
			case 503:
				if msg := message(t, "anthropic", got); msg != "run patrol login" {
					t.Errorf("the client is told %q", msg)
				}
			case 403:
				if got.body != workspacetest.Refusals()[0].Body {
					t.Errorf("the refusal became %q", got.body)
				}
			}
		})
	}
}

// TestPredecessorRefused: if the token that stood in for a young one is refused
// too, the young one isn't tried again, but another that has come meanwhile is.
func TestPredecessorRefused(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		var h *fixture
		var sent []string // the upstream is asked by one request at a time
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			sent = append(sent, tok)
			if tok == "before" && replaced {
				h.publish(t, pat.New("next", "http://"+r.Host))
			}
			if tok != "next" {
				refusal := workspacetest.Refusals()[0]
				w.Header().Set("Content-Type", refusal.ContentType)
				w.WriteHeader(refusal.Status)
				_, _ = io.WriteString(w, refusal.Body)
			}
		})
		h = open(t, proxy.Config{Host: up.URL, Refused: func(context.Context, pat.Token) (pat.Token, bool) {
			return pat.New("before", up.URL), true
		}})
		h.publish(t, pat.New("young", up.URL))
		got := h.do(t, "POST", "/v1/messages", question)
		status, order, stale := 403, "young before", uint64(0)
		if replaced {
			status, order, stale = 200, "young before next", 1
		}
		if s := h.Stats(); got.StatusCode != status || strings.Join(sent, " ") != order || s.Refused != 1 || s.Stale != stale {
			t.Errorf("replaced %v: %d, sent with %v, %+v", replaced, got.StatusCode, sent, s)
		}
	}
}

// TestRefusedTakesTooLong: agents give up for good on a 403, and try again on
// a 503.
func TestRefusedTakesTooLong(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	h := open(t, proxy.Config{Host: ws.URL, Wait: 20 * time.Millisecond, Refused: func(ctx context.Context, _ pat.Token) (pat.Token, bool) {
		<-ctx.Done()
		return pat.Token{}, false
	}})
	tok := issue(ws)
	h.publish(t, tok)
	ws.Revoke(tok.ID)
	got := h.do(t, "POST", "/v1/chat/completions", question)
	if got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// TestNoMemoryForBody: what passes unfiltered for lack of memory is counted and
// told of, and not a thousand times.
func TestNoMemoryForBody(t *testing.T) {
	const all, many = 16 << 10, 100
	up := upstream(t, echo)
	for _, chunked := range []bool{false, true} {
		h := open(t, proxy.Config{Host: up.URL, ReplayMemory: all})
		h.publish(t, pat.New(canary, up.URL))
		for i, size := range append([]int{1}, slices.Repeat([]int{2 * all}, many)...) {
			body := `{"messages":[{"role":"user","content":[{"type":"text","text":""},{"type":"text","text":"` + strings.Repeat("x", size) + `"}]}]}`
			var in io.Reader = strings.NewReader(body)
			if chunked {
				in = io.MultiReader(in)
			}
			req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/messages", in)
			got := h.send(t, req)
			if kept := got.body != body; got.StatusCode != 200 || kept != (i == 0) || h.Stats().Unkept != uint64(i) {
				t.Fatalf("%d bytes, chunked %v: %d, kept %v, %+v", size, chunked, got.StatusCode, kept, h.Stats())
			}
		}
		if n := strings.Count(h.log.String(), "WARN"); n == 0 || n > many/4 {
			t.Errorf("%d lines in the log for %d requests", n, many)
		}
		h.givesBack(t)
	}
}

// TestWaitsForToken: without a token, with an expired one, with a dead chain.
func TestWaitsForToken(t *testing.T) {
	ws := workspace(t, workspacetest.Config{})
	expired := issue(ws)
	expired.Expiry = time.Now().Add(-time.Second)
	for name, tok := range map[string]pat.Token{"none": {}, "expired": expired, "dead": pat.New("", ws.URL)} {
		h := open(t, proxy.Config{Host: ws.URL, Wait: soon})
		if name != "none" {
			h.publish(t, tok)
		}
		var asking sync.WaitGroup
		for range 5 {
			asking.Go(func() {
				if got := h.do(t, "POST", "/v1/messages", question); got.StatusCode != 200 {
					t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
				}
			})
		}
		for h.Stats().Waited < 5 {
			time.Sleep(time.Millisecond)
		}
		h.publish(t, pat.New("", ws.URL)) // which is no token either
		<-h.publish(t, issue(ws))
		asking.Wait()
	}
}

// TestWaitingClientLeaves without a trace.
func TestWaitingClientLeaves(t *testing.T) {
	h := open(t, proxy.Config{Host: "https://w.example", Wait: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", h.url+"/v1/messages", strings.NewReader(question))
	var asking sync.WaitGroup
	asking.Go(func() {
		if res, err := h.client.Do(req); err == nil {
			t.Errorf("answered %d", res.StatusCode)
			_ = res.Body.Close()
		}
	})
	for h.Stats().Waited == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	asking.Wait()
	shutdown, done := context.WithTimeout(t.Context(), soon)
	defer done()
	if err := h.Shutdown(shutdown); err != nil {
		t.Errorf("the request goes on: %v", err)
	}
}
