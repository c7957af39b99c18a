package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// soon is longer than anything takes that happens at all.
const soon = 10 * time.Second

// TestEachWriteArrivesAtOnce: the upstream sends its next piece only once the
// client has the last one, so that a piece held back hangs the test.
func TestEachWriteArrivesAtOnce(t *testing.T) {
	for name, header := range map[string]http.Header{
		"event stream": {"Content-Type": {"text/event-stream"}},
		"plain":        {"Content-Type": {"application/json"}},
		"with length":  {"Content-Type": {"application/json"}, "Content-Length": {"60"}},
		"compressed":   {"Content-Type": {"text/event-stream"}, "Content-Encoding": {"zstd"}},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), header)
				rc := http.NewResponseController(w)
				_ = rc.Flush() // the headers first, alone
				for range 20 {
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
					_, _ = io.WriteString(w, "abc")
					_ = rc.Flush()
				}
			})
			h := open(t, proxy.Config{Host: up.URL})
			h.publish(t, pat.New(canary, up.URL))
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "POST", h.url+"/v1/messages", strings.NewReader(`{}`))
			res, err := h.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			buf := make([]byte, 3)
			for i := range 20 {
				next <- struct{}{}
				if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "abc" {
					t.Fatalf("piece %d: %q %v", i, buf, err)
				}
			}
			if rest, err := io.ReadAll(res.Body); len(rest) > 0 || err != nil {
				t.Errorf("after the end: %q %v", rest, err)
			}
		})
	}
}

// TestClientLeaves: the upstream's request ends with the client's, before its
// headers as well as within a stream.
func TestClientLeaves(t *testing.T) {
	for _, within := range []bool{false, true} {
		arrived, left := make(chan struct{}, 1), make(chan time.Time, 1)
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if within {
				_, _ = io.WriteString(w, "data: x\n\n")
				_ = http.NewResponseController(w).Flush()
			}
			arrived <- struct{}{}
			<-r.Context().Done()
			left <- time.Now()
		})
		h := open(t, proxy.Config{Host: up.URL})
		h.publish(t, pat.New(canary, up.URL))
		ctx, cancel := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "POST", h.url+"/v1/chat/completions", strings.NewReader(`{}`))
			if res, err := h.client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
		<-arrived
		from := time.Now()
		cancel()
		select {
		case at := <-left:
			t.Logf("within a stream %v: the upstream knew after %v", within, at.Sub(from))
		case <-time.After(soon):
			t.Errorf("within a stream %v: the upstream's request goes on", within)
		}
		asking.Wait()
	}
}

// TestUpstreamCut: an answer that the upstream doesn't end has no end for the
// client, and nothing is written into it.
func TestUpstreamCut(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		for _, effect := range []workspacetest.Effect{workspacetest.Reset, workspacetest.Close} {
			for _, path := range []string{"/v1/chat/completions", "/v1/messages", "/responses"} {
				ws := workspace(t, workspacetest.Config{Events: 10, TLS: overTLS})
				h := open(t, proxy.Config{Host: ws.URL, RootCAs: authority(ws)})
				h.publish(t, issue(ws))
				ws.Inject(workspacetest.Fault{Effect: effect, Events: 3, Times: workspacetest.Always})
				got := h.do(t, "POST", path, strings.Replace(question, "{", `{"stream":true,`, 1))
				if got.StatusCode != 200 || got.err == nil || !strings.Contains(got.body, "data: ") {
					t.Errorf("TLS %v, %s: %d, ended with %v after %q", overTLS, path, got.StatusCode, got.err, got.body)
				}
				if strings.Contains(got.body, "HTTP/") || strings.Contains(got.body, "<") || strings.Contains(got.body, "patrol") {
					t.Errorf("%s: something was written into the stream: %q", path, got.body)
				}
				if n := len(ws.Requests()); n != 1 {
					t.Errorf("%s: it was asked %d times", path, n)
				}
			}
		}
	}
}

// TestPlainAnswerCut: one that says its length, and one that is chunked.
func TestPlainAnswerCut(t *testing.T) {
	for _, length := range []string{"", "1000"} {
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "application/json")
			if length != "" {
				w.Header().Set("Content-Length", length)
			}
			_, _ = io.WriteString(w, `{"choices":[`)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		h := open(t, proxy.Config{Host: up.URL})
		h.publish(t, pat.New(canary, up.URL))
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			if got := h.do(t, "POST", path, question); got.StatusCode != 200 || got.err == nil || got.body != `{"choices":[` {
				t.Errorf("length %q, %s: %d %q, ended with %v", length, path, got.StatusCode, got.body, got.err)
			}
		}
	}
}

// TestManyShortStreams: answers that begin while the client is still to
// send the end of the request's body, as far as the upstream gets to see that.
// A bare ReverseProxy cuts some of them, as patrol does without memory for
// bodies.
func TestManyShortStreams(t *testing.T) {
	const clients = 64
	each := many(5120) / clients
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex() // answer first, read then
		for n := range 3 {
			_, _ = fmt.Fprintf(w, "data: {\"n\":%d}\n\n", n)
			_ = rc.Flush()
			time.Sleep(200 * time.Microsecond)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	body := strings.Repeat("x", 20<<10)
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for range each {
				req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/chat/completions", &slowEnd{strings.NewReader(body), false})
				got := h.send(t, req)
				if got.StatusCode != 200 || got.err != nil || !strings.HasSuffix(got.body, "[DONE]\n\n") {
					t.Errorf("%d %q %v", got.StatusCode, got.body, got.err)
				}
			}
		})
	}
	asking.Wait()
}

// slowEnd is a body whose end comes a moment after the rest.
type slowEnd struct {
	io.Reader
	ended bool
}

func (s *slowEnd) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && !s.ended {
		s.ended = true
		time.Sleep(rand.N(1500 * time.Microsecond))
	}
	return n, err
}

// TestShutdown: what is under way ends as it should while there is time, and
// visibly cut after.
func TestShutdown(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		end := make(chan struct{})
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "data: x\n\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-end:
				_, _ = io.WriteString(w, "data: [DONE]\n\n")
			case <-r.Context().Done():
			}
		})
		h := open(t, proxy.Config{Host: up.URL})
		h.publish(t, pat.New(canary, up.URL))
		req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/messages", strings.NewReader(`{}`))
		res, err := h.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		lines := bufio.NewReader(res.Body)
		if first, err := lines.ReadString('\n'); err != nil || first != "data: x\n" {
			t.Fatalf("%q %v", first, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		if inTime {
			time.AfterFunc(20*time.Millisecond, func() { close(end) })
		} else {
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
		}
		err = h.Shutdown(ctx)
		cancel()
		rest, readErr := io.ReadAll(lines)
		if whole := strings.HasSuffix(string(rest), "[DONE]\n\n"); whole != inTime || (readErr == nil) != inTime {
			t.Errorf("in time %v: %q %v", inTime, rest, readErr)
		}
		if (err == nil) != inTime || (!inTime && !errors.Is(err, context.DeadlineExceeded)) {
			t.Errorf("in time %v: Shutdown: %v", inTime, err)
		}
		if _, err := http.Get(h.url + "/healthz"); err == nil {
			t.Error("it still answers")
		}
	}
}

// TestServe: on several listeners, none of which may fail alone.
func TestServe(t *testing.T) {
	p, err := proxy.New(proxy.Config{Host: "https://w.example"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Serve(); err == nil {
		t.Error("it serves on nothing")
	}
	var lns []net.Listener
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		lns = append(lns, ln)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(lns...) }()
	for _, ln := range lns {
		res, err := http.Get("http://" + ln.Addr().String() + "/healthz")
		if err != nil || res.StatusCode != 200 {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	_ = lns[1].Close()
	if err := <-served; err == nil || !strings.Contains(err.Error(), lns[1].Addr().String()) {
		t.Errorf("one listener gone: %v", err)
	}
	if _, err := lns[0].Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the other listener: %v", err)
	}
}
