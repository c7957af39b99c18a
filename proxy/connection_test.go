package proxy_test

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// TestClientLeaves: at whatever point it does so, the upstream's connection is closed,
// nothing stays, and the next one is served.
func TestClientLeaves(t *testing.T) {
	const size = 16 << 20 // more than sockets hold
	large := strings.Repeat("x", size)
	for name, tt := range map[string]struct {
		limit int
		body  string
		sends int                           // of body, before it leaves
		begin func(net.Conn, *http.Request) // what the upstream does before that
	}{
		"body on its way, from memory": {size, large, size, func(net.Conn, *http.Request) {}},
		"body on its way, streamed":    {-1, large, size / 2, func(net.Conn, *http.Request) {}},
		"body on its way, silent": {-1, large, 1000, func(_ net.Conn, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
		}},
		"waiting": {size, question, len(question), func(_ net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}},
		"waiting, streamed": {-1, question, len(question), func(_ net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}},
		"in the middle of an answer": {size, question, len(question), func(conn net.Conn, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk("data: 1\n\n"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan error)
			var leaving atomic.Bool
			leaving.Store(true)
			url := wire(t, func(conn net.Conn, r *http.Request) {
				if !leaving.Load() {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
					return
				}
				tt.begin(conn, r)
				began <- struct{}{}
				_, err := io.Copy(io.Discard, r.Body) // to an end that isn't the body's
				if err == nil {
					_, err = conn.Read(make([]byte, 1))
				}
				ended <- err
			})
			h := open(t, proxy.Config{Host: url, ReplayLimit: tt.limit})
			h.publish(t, pat.New(canary, url))
			conn, in := h.dial(t, fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", len(tt.body)))
			var sending sync.WaitGroup
			sending.Go(func() { _, _ = io.WriteString(conn, tt.body[:tt.sends]) })
			<-began
			if strings.HasPrefix(name, "in the middle") {
				if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusOK {
					t.Fatalf("%+v %v", res, err)
				}
			}
			_ = conn.Close()
			sending.Wait()
			if err := <-ended; err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the upstream sees %v", err)
			}
			leaving.Store(false)
			if got := h.do(t, "POST", "/v1/messages", question); got.body != "ok" {
				t.Errorf("the next one: %d %s", got.StatusCode, got.body)
			}
			<-h.publish(t, pat.New("another", url))
			h.givesBack(t)
			if s := h.Stats(); s.Resets+s.Failed > 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestClientLeavesAtTheEnd: clients that leave when their answers end, or right before,
// don't cut the requests that have their connections upstream next. These may not be
// sent twice, so that nothing hides it.
func TestClientLeavesAtTheEnd(t *testing.T) {
	each := many(400)
	up := upstream(t, echo)
	h := open(t, proxy.Config{Host: up.URL, AllowAPI: true})
	h.publish(t, pat.New(canary, up.URL))
	var asking sync.WaitGroup
	for i := range 16 {
		asking.Go(func() {
			for range each {
				conn, err := net.Dial("tcp", h.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.WriteString(conn, post("/api/2.0/jobs/runs", "HTTP/1.1", question))
				if i%2 == 0 {
					time.Sleep(rand.N(500 * time.Microsecond))
					_ = conn.Close()
					continue
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(got) != question || err != nil {
					t.Errorf("%d %q %v", res.StatusCode, got, err)
				}
				_ = conn.Close()
			}
		})
	}
	asking.Wait()
}

// TestEarlyAnswer: who is told "too large" before the end of what he sends is told so,
// whether the upstream closes then, reads on or does nothing more.
func TestEarlyAnswer(t *testing.T) {
	const size = 16 << 20
	for name, limit := range map[string]int{"from memory": size, "streamed": 1 << 20} {
		for _, then := range []string{"closes", "reads on", "does nothing"} {
			t.Run(name+", "+then, func(t *testing.T) {
				answered := make(chan struct{})
				url := wire(t, func(conn net.Conn, r *http.Request) {
					_, _ = io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\n\r\ntoo large")
					switch then {
					case "reads on":
						_, _ = io.Copy(io.Discard, r.Body)
						<-answered
					case "does nothing":
						<-answered
					}
				})
				h := open(t, proxy.Config{Host: url, ReplayLimit: limit})
				h.publish(t, pat.New(canary, url))
				conn, in := h.dial(t, fmt.Sprintf("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", size))
				var sending sync.WaitGroup
				sending.Go(func() { _, _ = conn.Write(make([]byte, size)) })
				got := read(t, in)
				if got.StatusCode != http.StatusRequestEntityTooLarge || got.body != "too large" || got.err != nil {
					t.Errorf("%d %q %v", got.StatusCode, got.body, got.err)
				}
				close(answered)
				_ = conn.Close()
				sending.Wait()
				h.givesBack(t)
			})
		}
	}
}

// TestIdleConnectionsGone: over HTTP/1.1 each idle connection may be gone,
// and a request finds out one by one.
func TestIdleConnectionsGone(t *testing.T) {
	const n = 8
	var old sync.Map // the connections that are gone when they are used again
	var all sync.WaitGroup
	all.Add(n)
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, gone := old.Load(r.RemoteAddr); gone {
			panic(http.ErrAbortHandler)
		}
		if r.URL.RawQuery == "first" {
			old.Store(r.RemoteAddr, nil)
			all.Done()
			all.Wait() // so that each has its own
		}
	}))
	defer up.Close()
	roots := x509.NewCertPool()
	roots.AddCert(up.Certificate())
	h := open(t, proxy.Config{Host: up.URL, RootCAs: roots})
	h.publish(t, pat.New(canary, up.URL))
	var asking sync.WaitGroup
	for range n {
		asking.Go(func() {
			if got := h.do(t, "GET", "/v1/models?first", ""); got.StatusCode != http.StatusOK {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	asking.Wait()
	if got := h.do(t, "GET", "/v1/models", ""); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if s := h.Stats(); s.Resets != 0 {
		t.Errorf("%+v", s)
	}
}
