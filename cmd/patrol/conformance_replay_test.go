//go:build unix

package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"patrol/rotator/workspacetest"
)

func replayRows() []row {
	return []row{
		{name: "a request whose token is stale by now is sent again with the current one, its body intact", run: showReplay},
		{name: "the current token dead: one new one, by --mint-profile, and all that were refused are sent again", run: showDeadToken},
		{name: "beyond --replay-limit a body streams, and the refusal is passed on", run: showTooLongToReplay},
		{name: "a token too young to be known everywhere: the one before it, once", run: showYoungToken},
		{name: "a permission error, a 429, a 5xx pass untouched with their headers", run: showOtherErrors},
		{name: "a connection reset after bytes were sent: model routes once, /api only GET and HEAD", run: showResets},
		{name: "reset within an answer, nothing is sent again", run: showResetWithin},
		{name: "half an answer's header, and nothing is sent again", only: overPlain, run: showHalfAHeader},
	}
}

// gate answers a row's requests that bear the token that was current when they
// came as the row says, once it opens; all others go to the workspace.
type gate struct {
	came chan string // bodies of the requests that wait
	open chan struct{}
}

func (f *fixture) gate(t *testing.T, refuse http.HandlerFunc) *gate {
	g := &gate{came: make(chan string, 64), open: make(chan struct{})}
	old := "Bearer " + f.token(t)
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if req.Header.Get("Authorization") == old {
			g.came <- string(body)
			hold(req, g.open)
			refuse(w, req)
			return
		}
		g.came <- string(body)
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		f.ws.ServeHTTP(w, req)
	})
	return g
}

// Each form in which a workspace refuses a token, for a small body, one of
// several packets, and one that comes chunked.
func showReplay(t *testing.T, f *fixture) {
	g := f.gate(t, func(w http.ResponseWriter, req *http.Request) {
		form, _ := strconv.Atoi(req.Header.Get("X-Form"))
		refusal := workspacetest.Refusals()[form]
		body := refusal.Body
		w.Header().Set("Content-Type", refusal.ContentType)
		if encoding := req.Header.Get("X-Encoding"); encoding == "gzip" {
			w.Header().Set("Content-Encoding", encoding)
			body = zipped(body)
		}
		w.WriteHeader(refusal.Status)
		_, _ = io.WriteString(w, body)
	})
	want := map[string]int{}
	var asking sync.WaitGroup
	for i := range workspacetest.Refusals() {
		for j, size := range []int{1, replayLimit / 2, 1000} {
			body := strings.Replace(question, "hello", fmt.Sprint(i, j)+strings.Repeat("x", size), 1)
			want[body] = 2
			header := []string{"X-Form", strconv.Itoa(i), "X-Encoding", []string{"", "gzip", ""}[j]}
			asking.Go(func() {
				var in io.Reader = strings.NewReader(body)
				if j == 2 {
					in = io.MultiReader(in)
				}
				path := []string{"/v1/messages", "/v1/chat/completions", "/responses"}[j]
				if got := f.send(t, f.request(t, http.MethodPost, path, in, header...)); got.StatusCode != http.StatusOK || got.err != nil {
					t.Errorf("%s, form %d: %d %s", path, i, got.StatusCode, got.body)
				}
			})
		}
	}
	seen := map[string]int{}
	for range want {
		seen[eventuallyWithin(t, patience, "all requests upstream", g.came)]++
	}
	f.rotate(t)
	close(g.open)
	asking.Wait()
	f.arrived(t, 2*len(want))
	for range want {
		seen[<-g.came]++
	}
	if !maps.Equal(seen, want) {
		t.Errorf("%d bodies came, want each of %d twice", len(seen), len(want))
	}
}

func showDeadToken(t *testing.T, f *fixture) {
	const requests = 8
	own := f.with(t, settings{minter: true})
	await(t, func() bool { return len(own.ws.Live()) == 1 })
	minted := len(own.ws.Tokens())
	for _, tok := range own.ws.Live() {
		own.ws.Revoke(tok.ID)
	}
	var asking sync.WaitGroup
	for range requests {
		asking.Go(func() {
			if got := own.ask(t, http.MethodPost, "/v1/messages", question); got.StatusCode != http.StatusOK {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	asking.Wait()
	if n := len(own.ws.Tokens()) - minted; n != 1 {
		t.Errorf("%d tokens were minted, want 1", n)
	}
}

func showTooLongToReplay(t *testing.T, f *fixture) {
	refusal := workspacetest.Refusals()[0]
	began, open := make(chan struct{}), make(chan struct{})
	length := make(chan int, 1)
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		first := make([]byte, replayLimit/2)
		if _, err := io.ReadFull(req.Body, first); err != nil {
			panic(http.ErrAbortHandler)
		}
		began <- struct{}{}
		rest, _ := io.ReadAll(req.Body)
		length <- len(first) + len(rest)
		hold(req, open)
		w.WriteHeader(refusal.Status)
		_, _ = io.WriteString(w, refusal.Body)
	})
	in, out := io.Pipe()
	answered := make(chan outcome, 1)
	go func() { answered <- f.send(t, f.request(t, http.MethodPost, "/v1/messages", in)) }()
	chunk := []byte(strings.Repeat("x", replayLimit+1))
	_, _ = out.Write(chunk)
	eventuallyWithin(t, patience, "the beginning upstream before the body's end", began)
	_, _ = out.Write(chunk)
	_ = out.Close()
	if n := eventuallyWithin(t, patience, "the end upstream", length); n != 2*len(chunk) {
		t.Errorf("%d bytes came, want %d", n, 2*len(chunk))
	}
	f.rotate(t)
	close(open)
	if got := <-answered; got.StatusCode != refusal.Status || got.body != refusal.Body {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 1)
	// And so it is where the length is known from the start.
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(refusal.Status)
		_, _ = io.WriteString(w, refusal.Body)
	})
	if got := f.ask(t, http.MethodPost, "/v1/messages", string(chunk)); got.StatusCode != refusal.Status || got.body != refusal.Body {
		t.Errorf("of known length: %d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 2)
}

func showYoungToken(t *testing.T, f *fixture) {
	refusal := workspacetest.Refusals()[0]
	f.rotate(t)
	young := "Bearer " + f.token(t)
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") == young || req.Header.Get("X-Both") != "" {
			w.WriteHeader(refusal.Status)
			_, _ = io.WriteString(w, refusal.Body)
		}
	})
	got := f.ask(t, http.MethodPost, "/v1/messages", question)
	if all := f.arrived(t, 2); got.StatusCode != http.StatusOK || all[0].header.Get("Authorization") != young {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	minted := len(f.ws.Tokens())
	got = f.ask(t, http.MethodPost, "/v1/messages", question, "X-Both", "1")
	if f.arrived(t, 4); got.StatusCode != refusal.Status || got.body != refusal.Body || len(f.ws.Tokens()) != minted {
		t.Errorf("both refused: %d %s, %d tokens minted", got.StatusCode, got.body, len(f.ws.Tokens())-minted)
	}
}

func showOtherErrors(t *testing.T, f *fixture) {
	errors := []struct {
		status int
		body   string
	}{
		{400, `{"error_code":"BAD_REQUEST","message":"Invalid token '}' at 7"}`},
		{401, `{"error_code":"UNAUTHENTICATED","message":"Credential was not sent or was of an unsupported type."}`},
		{403, `{"error_code":"PERMISSION_DENIED","message":"User does not have permission to use the endpoint 'Invalid access token.'"}`},
		{403, "<html><body>Blocked by an IP access list</body></html>"},
		{404, `{"error_code":"ENDPOINT_NOT_FOUND","message":"Invalid access token."}`},
		{409, `{"error_code":"RESOURCE_CONFLICT","message":"Invalid access token."}`},
		{429, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace rate limit"}`},
		{500, "Internal error"},
		{502, "<html>Bad gateway</html>"},
		{503, "Token is expired"},
		{529, `{"type":"error","error":{"type":"overloaded_error"}}`},
	}
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		i, _ := strconv.Atoi(req.Header.Get("X-Error"))
		w.Header().Set("Retry-After", "17")
		w.Header().Set("X-Ratelimit-Remaining", "0")
		w.Header().Set("Content-Type", "application/something")
		w.WriteHeader(errors[i].status)
		_, _ = io.WriteString(w, errors[i].body)
	})
	for i, e := range errors {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			got := f.ask(t, http.MethodPost, path, question, "X-Error", strconv.Itoa(i))
			if got.StatusCode != e.status || got.body != e.body || got.Header.Get("Retry-After") != "17" ||
				got.Header.Get("X-Ratelimit-Remaining") != "0" || got.Header.Get("Content-Type") != "application/something" {
				t.Errorf("%s: %d %s became %d %s %v", path, e.status, e.body, got.StatusCode, got.body, got.Header)
			}
		}
	}
	f.arrived(t, 2*len(errors))
}

func showResets(t *testing.T, f *fixture) {
	f = f.with(t, settings{allowAPI: true}) // which has kept no connections that may be sent on once more
	resets := make(chan ending, 8)          // of the connections that are to end before an answer
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		select {
		case ending := <-resets:
			ending.end(w)
		default:
			w.Header().Set("Connection", "close")
			_, _ = io.WriteString(w, "answer")
		}
	})
	for _, tt := range []struct {
		method, path         string
		resets, status, sent int
	}{
		{"POST", "/v1/chat/completions", 1, 200, 2},
		{"POST", "/v1/messages", 1, 200, 2},
		{"POST", "/v1/messages", 2, 502, 2},
		{"POST", asItIs, 1, 200, 2},
		{"GET", "/api/2.0/clusters/list", 1, 200, 2},
		{"HEAD", "/api/2.0/clusters/list", 1, 200, 2},
		{"POST", "/api/2.0/clusters/create", 1, 502, 1},
		{"DELETE", "/api/2.0/clusters/x", 1, 502, 1},
		{"PUT", "/api/2.0/clusters/x", 1, 502, 1},
	} {
		for _, ending := range endings {
			f.forget(t)
			for range tt.resets {
				resets <- ending
			}
			body := question
			if tt.method == "GET" || tt.method == "HEAD" {
				body = ""
			}
			got := f.ask(t, tt.method, tt.path, body)
			if n := len(f.arrived(t, -1)); got.StatusCode != tt.status || got.err != nil || n != tt.sent {
				t.Errorf("%s %s, %v: %d %v %q, sent %d times, want %d", tt.method, tt.path, ending, got.StatusCode, got.err, got.body, n, tt.sent)
			}
		}
	}
}

func showResetWithin(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		if req.Header.Get("X-Bytes") != "" {
			_, _ = io.WriteString(w, "some")
		}
		_ = http.NewResponseController(w).Flush()
		reset.end(w)
	})
	for i, some := range []string{"", "some"} {
		resp, err := f.client.Do(f.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question), "X-Bytes", some))
		var body []byte
		if err == nil { // the header alone may come or not
			body, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if err == nil || string(body) != some {
			t.Errorf("after %q: %q, and a clean end", some, body)
		}
		f.arrived(t, i+1)
	}
}

// A byte of an answer has come: the request was received, and may have been done.
func showHalfAHeader(t *testing.T, f *fixture) {
	f.handle(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
		_ = conn.Close()
	})
	if got := f.ask(t, http.MethodPost, "/v1/messages", question); got.StatusCode != http.StatusBadGateway {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	f.arrived(t, 1)
}
