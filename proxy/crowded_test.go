package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// A request for which there is no memory waits for it a second, and then passes as it
// comes, and is counted.
func TestCrowded(t *testing.T) {
	const size = 40 << 10
	for _, freed := range []bool{false, true} {
		var answers chan struct{} // of the test's own time
		up := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/serving-endpoints/first" {
				<-answers
			}
		}
		timeless(t, proxy.Config{ReplayMemory: 64 << 10}, up, func(t *testing.T, p *proxy.Proxy, ln *pipes) {
			answers = make(chan struct{})
			first, firstIn := ln.dial(t)
			go func() {
				_, _ = io.WriteString(first, post("/serving-endpoints/first", "HTTP/1.1", strings.Repeat("x", size)))
			}()
			synctest.Wait()
			second, secondIn := ln.dial(t)
			go func() {
				_, _ = io.WriteString(second, post("/serving-endpoints/second", "HTTP/1.1", strings.Repeat("x", size)))
			}()
			began := time.Now()
			want, unkept := time.Second, uint64(1)
			if freed {
				want, unkept = 300*time.Millisecond, 0
				time.AfterFunc(want, func() { close(answers) })
			}
			if res, err := http.ReadResponse(secondIn, nil); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%v %v", res, err)
			}
			if took := time.Since(began); took != want || p.Stats().Unkept != unkept {
				t.Errorf("freed %v: after %v, %d unkept", freed, took, p.Stats().Unkept)
			}
			if !freed {
				close(answers)
			}
			if res, err := http.ReadResponse(firstIn, nil); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("%v %v", res, err)
			}
		})
	}
}

// TestCrowdedWithoutToken: while there is no token either, nothing more is read; then the
// request waits as long as any does for a token.
func TestCrowdedWithoutToken(t *testing.T) {
	const size = 40 << 10
	for _, comes := range []bool{false, true} {
		up := func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
		timelessBy(t, proxy.Config{ReplayMemory: 64 << 10, Wait: 5 * time.Second}, up, func(t *testing.T, p *proxy.Proxy, ln *pipes, publish func(string)) {
			status := make(chan int, 2)
			read := make(chan int, 2)
			for range 2 {
				conn, in := ln.dial(t)
				go func() {
					n, _ := io.WriteString(conn, post("/serving-endpoints/m", "HTTP/1.1", strings.Repeat("x", size)))
					read <- n
				}()
				go func() {
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Error(err)
						status <- 0
						return
					}
					status <- res.StatusCode
				}()
				synctest.Wait()
			}
			time.Sleep(4 * time.Second)
			if len(read) != 1 {
				t.Errorf("%d requests were read, want the one that there is room for", len(read))
			}
			want := http.StatusServiceUnavailable
			if comes {
				want = http.StatusOK
				publish(canary)
			}
			for range 2 {
				if got := <-status; got != want {
					t.Errorf("a token comes %v: %d", comes, got)
				}
			}
			if n := p.Stats().Unkept; n != 0 {
				t.Errorf("%d passed unfiltered", n)
			}
		})
	}
}

// TestUnfiltered: what exceeds a bound of the filter passes as it came, and is counted.
func TestUnfiltered(t *testing.T) {
	up := upstream(t, echo)
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	const deep = 5000
	body := `{"messages":[{"role":"user","content":[{"type":"text","text":""}]}],"x":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`
	if got := h.do(t, "POST", "/v1/messages", body); got.StatusCode != http.StatusOK || got.body != body {
		t.Errorf("%d, %d bytes came", got.StatusCode, len(got.body))
	}
	if n := h.Stats().Unfiltered; n != 1 || !strings.Contains(h.log.String(), "bound=depth") {
		t.Errorf("%d counted: %s", n, h.log.String())
	}
	h.givesBack(t)
}
