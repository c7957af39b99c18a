package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// soon is longer than anything takes that happens at all.
const soon = 10 * time.Second

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
