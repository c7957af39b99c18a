package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patrol/proxy/upstream"
)

// TestResetInAnswer: an answer that a reset ends at any byte is never a whole one.
func TestResetInAnswer(t *testing.T) {
	for _, text := range []string{
		okAnswer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: v\r\n\r\n",
		"HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nok", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
	} {
		untilClose := !strings.Contains(text, "chunked") && !strings.Contains(text, "Length")
		overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
			s := serve(t, func(p *peer) {
				r, _, err := p.request()
				if err != nil {
					return
				}
				n, _ := strconv.Atoi(r.URL.Path[1:])
				p.say(text[:n])
				p.reset()
			})
			h := s.host(t)
			for n := range len(text) + 1 {
				a := do(t, h, get("/"+strconv.Itoa(n)))
				if whole := n == len(text) && !untilClose; a.ok() && !whole {
					t.Errorf("%q reset after %d bytes: a clean end, %q", text, n, a.body)
				}
				if e, ok := errors.AsType[*upstream.Error](a.err); a.err != nil && (!ok || !e.Sent) {
					t.Errorf("%q reset after %d bytes: %#v", text, n, a.err)
				}
			}
			if n := int(s.accepted.Load()); n != len(text)+1 {
				t.Errorf("%q: %d connections for %d requests", text, n, len(text)+1)
			}
		})
	}
}

// TestResetInRequest: a request that a reset ends at any byte fails, and is never sent
// again over a connection that was new.
func TestResetInRequest(t *testing.T) {
	requests := map[string]func() *upstream.Request{
		"whole":  func() *upstream.Request { return post("body") },
		"resend": func() *upstream.Request { r := post("body"); r.Resend = true; return r },
		"chunked": func() *upstream.Request {
			return &upstream.Request{Method: "POST", Target: "/", Rest: strings.NewReader("body"), Length: -1, Trailer: http.Header{"X-T": {"v"}}}
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
				var most atomic.Int64
				s := serve(t, func(p *peer) {
					_, _ = io.CopyN(io.Discard, p.in, most.Load())
					p.reset()
				})
				h := s.host(t)
				for n := range int64(60) {
					most.Store(n)
					a := do(t, h, request())
					if e, ok := errors.AsType[*upstream.Error](a.err); !ok || e.Answered {
						t.Errorf("after %d bytes: %d %v", n, a.status, a.err)
					}
					if s.accepted.Load() != n+1 {
						t.Fatalf("after %d bytes: %d connections", n, s.accepted.Load())
					}
				}
			})
		})
	}
}

// TestDeadAfterUse: a connection that has been used and dies under the next request,
// without an answer: what may be sent again is, once, and nothing else.
func TestDeadAfterUse(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		var seen sync.Map // target: how often
		s := serve(t, func(p *peer) {
			for first := true; ; first = false {
				r, err := p.head() // what comes twice may not come whole
				if err != nil {
					return
				}
				count, _ := seen.LoadOrStore(r.RequestURI, new(atomic.Int64))
				count.(*atomic.Int64).Add(1)
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					return
				}
				switch {
				case first:
				case strings.HasPrefix(r.RequestURI, "/reset"):
					p.reset()
					return
				case strings.HasPrefix(r.RequestURI, "/begin"):
					p.say("HT")
					return
				default:
					return
				}
				p.say(okAnswer)
			}
		})
		h := s.host(t)
		for _, kind := range []string{"/close", "/reset", "/begin"} {
			for _, form := range []string{"resend", "once", "rest"} {
				if a := do(t, h, get("/first"+kind+form)); !a.ok() || h.Idle() == 0 {
					t.Fatal(a.err)
				}
				req := &upstream.Request{Method: "POST", Target: kind + form, Body: []byte("b"), Length: 1, Resend: form != "once"}
				if form == "rest" {
					req.Rest, req.Length = strings.NewReader("est"), 4
				}
				a := do(t, h, req)
				want := int64(1)
				if form == "resend" && kind != "/begin" {
					want = 2
				}
				count, _ := seen.Load(req.Target)
				if n := count.(*atomic.Int64).Load(); n != want || a.ok() != (want == 2) {
					t.Errorf("%s %s: seen %d times: %v", kind, form, n, a.err)
				}
			}
		}
	})
}

// TestHalfClosed: a server that says that it sends no more.
func TestHalfClosed(t *testing.T) {
	s := serve(t, func(p *peer) {
		r, _, err := p.request()
		if err != nil {
			return
		}
		if r.RequestURI == "/answered" {
			p.say(okAnswer)
		}
		_ = p.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, p.in)
	})
	h := s.host(t)
	if a := do(t, h, get("/")); a.err == nil {
		t.Errorf("no answer is %d", a.status)
	}
	for n := range int64(5) {
		before := s.accepted.Load()
		a := do(t, h, &upstream.Request{Method: "POST", Target: "/answered", Resend: true}) // the end may come after the look
		if !a.ok() || s.accepted.Load() != before+1 {
			t.Errorf("%d: %v, %d connections", n, a.err, s.accepted.Load()-before)
		}
	}
}

// TestStrayBytesLater: what comes after an answer isn't the next one.
func TestStrayBytesLater(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		stray := make(chan struct{})
		s := serve(t, func(p *peer) {
			r, _, err := p.request()
			if err != nil {
				return
			}
			p.say(okAnswer)
			if r.RequestURI == "/stray" {
				<-stray
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
				stray <- struct{}{}
			}
			_, _ = p.head()
		})
		h := s.host(t)
		if a := do(t, h, get("/stray")); !a.ok() || h.Idle() != 1 {
			t.Fatal(a.err)
		}
		stray <- struct{}{}
		<-stray
		if a := do(t, h, post("b")); !a.ok() || a.body != "ok" {
			t.Errorf("%q %v", a.body, a.err)
		}
	})
}

// TestStrayBytesAtHandover: nor is it for a request that waits for the connection.
func TestStrayBytesAtHandover(t *testing.T) {
	handOver(t, 1, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
}

// handOver has a request wait for the connection of another, after whose answer of size
// bytes comes stray, and its end. A large answer is read past the buffer, which then
// holds nothing of stray.
func handOver(t *testing.T, size int, stray string) {
	t.Helper()
	sent := make(chan struct{})
	s := serve(t, func(p *peer) {
		if _, _, err := p.request(); err != nil {
			return
		}
		p.say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(1+size) + "\r\n\r\no")
		<-sent
		p.say(strings.Repeat("k", size))
		if p.number == 1 {
			p.say(stray)
			_ = p.Conn.(*net.TCPConn).CloseWrite()
			sent <- struct{}{}
		}
		_, _ = io.Copy(io.Discard, p.in)
	})
	dial := make(chan struct{}, 1)
	dial <- struct{}{}
	var dials atomic.Int32
	h := newClient(t, upstream.Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		select {
		case <-dial:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}).Host(s.url)
	first, err := h.Do(t.Context(), post("a"), http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan answer)
	go func() { second <- do(t, h, post("b")) }()
	eventually(t, "the second dials", func() bool { return dials.Load() == 2 })
	b := make([]byte, size)
	_, _ = first.Read(b[:1])
	sent <- struct{}{}
	<-sent // all of it is there
	_, _ = io.ReadFull(first, b)
	close(sent)
	dial <- struct{}{}
	if a := <-second; !a.ok() || len(a.body) != 1+size {
		t.Errorf("%.20q %v %v", a.body, a.err, a.cut)
	}
}

// TestManyDied: the server has closed all connections that were kept. The next requests
// succeed, and each reaches it once.
func TestManyDied(t *testing.T) {
	const hosts, requests = 8, 125
	var mu sync.Mutex
	seen := make(map[string]int)
	play := func(p *peer) {
		for {
			r, _, err := p.request()
			if err != nil {
				return
			}
			mu.Lock()
			seen[r.RequestURI]++
			mu.Unlock()
			p.say(okAnswer)
		}
	}
	var servers []*server
	var all []*upstream.Host
	for range hosts {
		s := serve(t, play)
		servers, all = append(servers, s), append(all, s.host(t))
	}
	round := func(name string) {
		var wg sync.WaitGroup
		for i, h := range all {
			for n := range requests {
				wg.Go(func() {
					req := post("b")
					req.Target = "/" + name + "/" + strconv.Itoa(i) + "/" + strconv.Itoa(n)
					if a := do(t, h, req); !a.ok() {
						t.Errorf("%s: %v %v", req.Target, a.err, a.cut)
					}
				})
			}
		}
		wg.Wait()
	}
	round("first")
	idle := 0
	for i, h := range all {
		idle += h.Idle()
		servers[i].hangUp()
	}
	round("second")
	t.Logf("%d were idle", idle)
	mu.Lock()
	defer mu.Unlock()
	if len(seen) != 2*hosts*requests {
		t.Errorf("%d requests have come", len(seen))
	}
	for target, n := range seen {
		if n != 1 {
			t.Errorf("%s has come %d times", target, n)
		}
	}
}

// TestManyLeave: when a thousand clients leave, all their connections are closed, and
// no goroutine stays.
func TestManyLeave(t *testing.T) {
	const clients, uploading = 1000, 25 // one of 25 uploads
	var open, asked atomic.Int64
	ctx, leave := context.WithCancel(t.Context())
	s := serve(t, func(p *peer) {
		p.readLittle()
		open.Add(1)
		defer open.Add(-1)
		r, err := p.head()
		if err != nil {
			return
		}
		asked.Add(1)
		switch n, _ := strconv.Atoi(r.URL.Path[1:]); {
		case n%uploading == 0: // nothing is read either
			<-ctx.Done()
		case n%3 == 1:
			p.say("HTTP/1.1 200 OK\r\nContent-")
		case n%3 == 2:
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
		}
		for n := 1; n > 0; { // until the other end has gone
			n, _ = p.Read(make([]byte, 64<<10))
		}
	})
	h := s.host(t)
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			req := &upstream.Request{Method: "POST", Target: "/" + strconv.Itoa(n), Rest: &endless{ctx}, Length: -1, Resend: true}
			if n%uploading != 0 {
				req = get(req.Target)
			}
			if a := doWith(ctx, h, req); a.ok() {
				t.Errorf("%d has an answer", n)
			}
		})
	}
	eventually(t, "all have asked", func() bool { return asked.Load() == clients })
	leave()
	wg.Wait()
	eventually(t, "all connections are closed", func() bool { return open.Load() == 0 })
	eventually(t, "no goroutine stays", func() bool { return runtime.NumGoroutine() <= before })
	if h.Idle() != 0 {
		t.Errorf("%d idle", h.Idle())
	}
}

// endless is a body that ends when its client leaves.
type endless struct{ ctx context.Context }

func (e *endless) Read(p []byte) (int, error) { return len(p), e.ctx.Err() }
