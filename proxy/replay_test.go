package proxy_test

import (
	"context"
	"errors"
	"fmt"
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

// TestStaleTokenIsReplayed: a token is revoked while a request that bears it is
// on its way. The client sees nothing of it, however the workspace puts it.
func TestStaleTokenIsReplayed(t *testing.T) {
	for _, form := range workspacetest.InvalidForms() {
		for _, f := range []struct {
			path string
			size int
		}{{"/v1/chat/completions", 10}, {"/v1/messages", 10 << 10}, {"/responses", 200 << 10}} {
			var h *house
			var ws *workspacetest.Server
			var once sync.Once
			var old pat.Token
			ws = workspace(t, workspacetest.Config{Fault: func(*http.Request) (f *workspacetest.Fault) {
				once.Do(func() {
					h.publish(t, issue(ws))
					ws.Revoke(old.ID)
					status, contentType, body := form.Reply()
					f = &workspacetest.Fault{Effect: workspacetest.Answer, Status: status, Body: body, Header: http.Header{"Content-Type": {contentType}}}
				})
				return f
			}})
			h = open(t, proxy.Config{Host: ws.URL, Refused: func(context.Context, pat.Token) (pat.Token, bool) {
				t.Error("asked about a token that isn't current")
				return pat.Token{}, false
			}})
			old = issue(ws)
			h.publish(t, old)
			body := strings.Replace(question, `"content":"x"`, `"content":"`+strings.Repeat("x", f.size)+`"`, 1)
			got := h.do(t, "POST", f.path, body)
			seen := ws.Requests()
			if got.StatusCode != 200 || len(seen) != 2 || seen[0].TokenID == seen[1].TokenID || string(seen[1].Body) != body {
				t.Errorf("%s: %d after %d requests: %s", f.path, got.StatusCode, len(seen), got.body)
			}
			if s := h.Stats(); s.Stale != 1 || s.Refused != 0 {
				t.Errorf("%+v", s)
			}
		}
	}
}

// TestCurrentTokenRefused: whoever knows is asked, once, and the request goes
// out once more at most.
func TestCurrentTokenRefused(t *testing.T) {
	for _, tt := range []struct {
		name     string
		refused  func(h *house, ws *workspacetest.Server, old pat.Token) (pat.Token, bool)
		status   int
		requests int
	}{
		{"dead, rotated", func(h *house, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			next := issue(ws)
			h.publish(t, next)
			return next, true
		}, 200, 2},
		{"works elsewhere: passed on", func(*house, *workspacetest.Server, pat.Token) (pat.Token, bool) { return pat.Token{}, false }, 403, 1},
		{"too young: the one before it", func(_ *house, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) { return issue(ws), true }, 200, 2},
		{"the next is refused too", func(h *house, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			next := issue(ws)
			h.publish(t, next)
			ws.Revoke(next.ID)
			return next, true
		}, 403, 2},
		{"another host's: passed on", func(*house, *workspacetest.Server, pat.Token) (pat.Token, bool) {
			return pat.New("x", "https://evil.example"), true
		}, 403, 1},
		{"replaced meanwhile", func(h *house, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			h.publish(t, issue(ws))
			return pat.Token{}, false
		}, 200, 2},
		{"the chain is dead", func(h *house, ws *workspacetest.Server, _ pat.Token) (pat.Token, bool) {
			h.publish(t, pat.New("", ws.URL))
			return pat.Token{}, false
		}, 503, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ws := workspace(t, workspacetest.Config{})
			var h *house
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
				if _, _, want := workspacetest.InvalidJSON.Reply(); got.body != want {
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
		var h *house
		var sent []string // the upstream is asked by one request at a time
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			tok := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			sent = append(sent, tok)
			if tok == "before" && replaced {
				h.publish(t, pat.New("next", "http://"+r.Host))
			}
			if tok != "next" {
				status, contentType, body := workspacetest.InvalidJSON.Reply()
				w.Header().Set("Content-Type", contentType)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
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

// TestOtherErrorsPass untouched, with their headers, and are asked once.
func TestOtherErrorsPass(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 429, 500, 502, 503, 529} {
		ws := workspace(t, workspacetest.Config{})
		h := open(t, proxy.Config{Host: ws.URL, Refused: func(context.Context, pat.Token) (pat.Token, bool) {
			t.Errorf("%d: taken for a refused token", status)
			return pat.Token{}, false
		}})
		h.publish(t, issue(ws))
		body := fmt.Sprintf(`{"error_code":"PERMISSION_DENIED","message":"REQUEST_LIMIT_EXCEEDED or not, this is %d"}`, status)
		ws.Inject(workspacetest.Fault{
			Effect: workspacetest.Answer, Status: status, Body: body,
			Header: http.Header{"Retry-After": {"17"}, "X-Ratelimit-Remaining": {"0"}, "Content-Type": {"application/json"}},
		})
		got := h.do(t, "POST", "/responses", question)
		if got.StatusCode != status || got.body != body || got.Header.Get("Retry-After") != "17" || got.Header.Get("X-Ratelimit-Remaining") != "0" || len(ws.Requests()) != 1 {
			t.Errorf("%d became %d %s %v after %d requests", status, got.StatusCode, got.body, got.Header, len(ws.Requests()))
		}
	}
}

// TestBodyTooLargeToReplay streams, and gets the refusal.
func TestBodyTooLargeToReplay(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		ws := workspace(t, workspacetest.Config{})
		var asked atomic.Int64
		h := open(t, proxy.Config{Host: ws.URL, ReplayLimit: 8 << 10, Refused: func(context.Context, pat.Token) (pat.Token, bool) {
			asked.Add(1)
			return issue(ws), true
		}})
		tok := issue(ws)
		h.publish(t, tok)
		body := strings.Replace(question, `"content":"x"`, `"content":"`+strings.Repeat("x", 1<<20)+`"`, 1)
		ask := func() reply {
			var in io.Reader = strings.NewReader(body)
			if chunked {
				in = io.MultiReader(in)
			}
			req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/chat/completions", in)
			return h.send(t, req)
		}
		got := ask()
		if seen := ws.Requests(); got.StatusCode != 200 || len(seen) != 1 || string(seen[0].Body) != body {
			t.Errorf("chunked %v: %d %s", chunked, got.StatusCode, got.body)
		}
		ws.Revoke(tok.ID)
		if got := ask(); got.StatusCode != 403 || len(ws.Requests()) != 2 || asked.Load() != 1 {
			t.Errorf("chunked %v: %d after %d requests, asked %d times", chunked, got.StatusCode, len(ws.Requests()), asked.Load())
		}
	}
}

// TestNoMemoryForBody: what passes unfiltered for lack of memory is counted and
// told of, and not a thousand times.
func TestNoMemoryForBody(t *testing.T) {
	const all, many = 16 << 10, 100
	for _, chunked := range []bool{false, true} {
		h := open(t, proxy.Config{Host: "https://w.example", ReplayMemory: all, Transport: roundTrip(echo)})
		h.publish(t, pat.New(canary, "https://w.example"))
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

// TestConnectionDies: before an answer it is made up for once, and only where
// that is safe; within one never.
func TestConnectionDies(t *testing.T) {
	const always = workspacetest.Always
	for _, tt := range []struct {
		method, path string
		fault        workspacetest.Fault
		status       int // 200: with an end
		requests     int
	}{
		{"POST", "/v1/chat/completions", workspacetest.Fault{Effect: workspacetest.Reset}, 200, 2},
		{"POST", "/v1/messages", workspacetest.Fault{Effect: workspacetest.Close}, 200, 2},
		{"POST", "/v1/messages", workspacetest.Fault{Effect: workspacetest.Reset, After: true}, 200, 2},
		{"POST", "/responses", workspacetest.Fault{Effect: workspacetest.Reset, Times: always}, 502, 2},
		{"POST", "/serving-endpoints/m/invocations", workspacetest.Fault{Effect: workspacetest.Reset}, 200, 2},
		{"GET", "/api/2.0/preview/scim/v2/Me", workspacetest.Fault{Effect: workspacetest.Reset}, 200, 2},
		{"HEAD", "/api/2.0/preview/scim/v2/Me", workspacetest.Fault{Effect: workspacetest.Reset}, 200, 2},
		{"POST", "/api/2.0/preview/scim/v2/Me", workspacetest.Fault{Effect: workspacetest.Reset}, 502, 1},
		{"DELETE", "/api/2.0/preview/scim/v2/Me", workspacetest.Fault{Effect: workspacetest.Reset}, 502, 1},
	} {
		for _, overTLS := range []bool{false, true} {
			ws, h := pair(t, overTLS, proxy.Config{AllowAPI: true})
			h.publish(t, issue(ws))
			warm := h.do(t, "POST", "/v1/messages", question) // so that the connection isn't a new one
			if warm.StatusCode != 200 {
				t.Fatal(warm.body)
			}
			ws.Forget()
			ws.Inject(tt.fault)
			body := question
			if tt.method == "HEAD" || tt.method == "GET" {
				body = ""
			}
			got := h.do(t, tt.method, tt.path, body)
			if got.StatusCode != tt.status || got.err != nil || len(ws.Requests()) != tt.requests {
				t.Errorf("%s %s, TLS %v: %d %v after %d requests: %s", tt.method, tt.path, overTLS, got.StatusCode, got.err, len(ws.Requests()), got.body)
			}
		}
	}
}

// TestHalfAHeader: a byte of the answer has come, so the request isn't repeated.
func TestHalfAHeader(t *testing.T) {
	var requests atomic.Int64
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
		_ = conn.Close()
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	if got := h.do(t, "POST", "/v1/messages", question); got.StatusCode != 502 || requests.Load() != 1 {
		t.Errorf("%d after %d requests", got.StatusCode, requests.Load())
	}
}
