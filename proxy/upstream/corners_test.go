package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy/upstream"
)

// TestInterimWhileSending: an answer with 1xx is no answer yet, so the request's body
// is sent to its end.
func TestInterimWhileSending(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		s := serve(t, func(p *peer) {
			r, err := p.head()
			if err != nil {
				return
			}
			p.say("HTTP/1.1 100 Continue\r\n\r\n")
			n, _ := io.Copy(io.Discard, r.Body)
			text := strconv.FormatInt(n, 10)
			p.say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(text)) + "\r\n\r\n" + text)
			_, _ = p.head()
		})
		for name, req := range uploads() {
			req.Header = http.Header{"Expect": {"100-continue"}}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if a := doWith(ctx, s.host(t), req); !a.ok() || a.body != strconv.Itoa(large) {
				t.Errorf("%s: %d %q %v %v", name, a.status, a.body, a.err, a.cut)
			}
			cancel()
		}
	})
}

// TestKelvinSign: "chunKed" with the sign for kelvin (U+212A) isn't chunked.
func TestKelvinSign(t *testing.T) {
	s := serve(t, answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chun\u212Aed\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
	if a := do(t, s.host(t), get("/")); a.err == nil {
		t.Errorf("accepted: %d %q", a.status, a.body)
	}
}

// TestBodyLongerThanLength: more than Length is never sent.
func TestBodyLongerThanLength(t *testing.T) {
	var wire atomic.Value
	s := serve(t, func(p *peer) {
		b := make([]byte, 1000)
		n, _ := io.ReadFull(p.in, b)
		wire.Store(string(b[:n]))
	})
	c := upstream.New(upstream.Config{})
	h := c.Host(s.url)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	doWith(ctx, h, &upstream.Request{Method: "POST", Target: "/", Body: []byte("helloGET / HTTP/1.1\r\nX: "), Rest: strings.NewReader("y\r\n\r\n"), Length: 5})
	eventually(t, "the connection ends", func() bool { return wire.Load() != nil || s.accepted.Load() == 0 })
	if sent, _ := wire.Load().(string); strings.Contains(sent, "GET / HTTP/1.1") {
		t.Errorf("%q", sent)
	}
}

// TestBadRestIsNoticedAtOnce: where the client's body can't be read, or isn't as long as
// it says, nobody waits for an answer to it.
func TestBadRestIsNoticedAtOnce(t *testing.T) {
	s := serve(t, func(p *peer) { _, _ = io.Copy(io.Discard, p.in) })
	for name, req := range map[string]*upstream.Request{
		"can't be read": {Method: "POST", Target: "/", Rest: io.MultiReader(strings.NewReader("a"), broken{}), Length: -1},
		"too short":     {Method: "POST", Target: "/", Rest: strings.NewReader("a"), Length: 2},
		"not sent":      {Method: "POST", Target: "/", Body: []byte("a"), Length: 2},
	} {
		began := time.Now()
		if a := do(t, s.host(t), req); a.err == nil || time.Since(began) > 500*time.Millisecond {
			t.Errorf("%s: %v after %v", name, a.err, time.Since(began))
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the client has gone") }

// TestErrorBeforeSending: after any error the header is empty.
func TestErrorBeforeSending(t *testing.T) {
	header := http.Header{"X-Before": {"b"}}
	h := newClient(t, upstream.Config{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }}).Host(&played)
	if _, err := h.Do(t.Context(), get("/"), header); err == nil || len(header) != 0 {
		t.Errorf("%v %v", header, err)
	}
}

// TestProxyRefusesWithoutLength: a proxy's status is told whatever else it says.
func TestProxyRefusesWithoutLength(t *testing.T) {
	proxy := serve(t, func(p *peer) {
		if _, err := p.head(); err == nil {
			p.say("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
		}
	})
	a := do(t, serve(t, answering(okAnswer)).via(t, proxy.url), get("/"))
	if e, ok := errors.AsType[*upstream.ProxyError](a.err); !ok || e.Status != 407 {
		t.Error(a.err)
	}
}

// TestCheckedBeforeHandover: a connection that is given to a request that waits is
// checked as an idle one is: for its end, and for stray bytes that aren't in the buffer.
func TestCheckedBeforeHandover(t *testing.T) {
	t.Run("end", func(t *testing.T) { handOver(t, 8<<10, "") })
	t.Run("stray bytes", func(t *testing.T) { handOver(t, 8<<10, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother") })
}

// TestCheckedThroughProxies: a connection through an https or a socks5 proxy is checked
// too before it is used again.
func TestCheckedThroughProxies(t *testing.T) {
	for _, scheme := range []string{"https", "socks5"} {
		t.Run(scheme, func(t *testing.T) {
			s := serve(t, answering(okAnswer))
			var proxy *server
			if scheme == "https" {
				proxy = serveTLS(t, func(p *peer) {
					if r, err := p.head(); err == nil {
						p.say("HTTP/1.1 200 OK\r\n\r\n")
						tunnel(p, r.RequestURI)
					}
				})
			} else {
				proxy = serve(t, func(p *peer) { socks(p, false, nil) })
			}
			h := s.via(t, &url.URL{Scheme: scheme, Host: proxy.url.Host})
			if a := do(t, h, post("a")); !a.ok() || h.Idle() != 1 {
				t.Fatal(a.err)
			}
			s.hangUp()
			proxy.hangUp()
			time.Sleep(50 * time.Millisecond)
			if a := do(t, h, post("b")); !a.ok() {
				t.Error(a.err)
			}
		})
	}
}

// TestSentBeforeFailedDial: a request that was on a connection was sent, also where the
// second connection, for sending it again, isn't there.
func TestSentBeforeFailedDial(t *testing.T) {
	s := serve(t, func(p *peer) {
		if _, _, err := p.request(); err == nil {
			p.say(okAnswer)
			_, _, _ = p.request()
		}
	})
	var dials atomic.Int64
	h := newClient(t, upstream.Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, errors.New("no")
		}
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}).Host(s.url)
	if a := do(t, h, get("/")); !a.ok() {
		t.Fatal(a.err)
	}
	a := do(t, h, get("/"))
	if e, ok := errors.AsType[*upstream.Error](a.err); !ok || !e.Sent {
		t.Errorf("%#v", a.err)
	}
}

// TestTunnelIsNotKept: after a 2xx to CONNECT the connection carries no requests.
func TestTunnelIsNotKept(t *testing.T) {
	s := serve(t, answering("HTTP/1.1 200 OK\r\n\r\n"))
	h := s.host(t)
	if a := do(t, h, &upstream.Request{Method: "CONNECT", Target: "other:443"}); !a.ok() || h.Idle() != 0 {
		t.Errorf("%v, %d idle", a.err, h.Idle())
	}
}

// TestDoneContext: what nobody waits for isn't sent.
func TestDoneContext(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, func(p *peer) {
		for {
			r, _, err := p.request()
			if err != nil {
				return
			}
			if r.RequestURI == "/dead" {
				asked.Add(1)
			}
			p.say(okAnswer)
		}
	})
	h := s.host(t)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		if a := do(t, h, get("/")); !a.ok() {
			t.Fatal(a.err)
		}
		if a := doWith(done, h, get("/dead")); !errors.Is(a.err, context.Canceled) {
			t.Errorf("%d %v", a.status, a.err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d of 50 were sent", n)
	}
}

// TestAnsweredWhileRead: an upstream may begin its answer and read on.
func TestAnsweredWhileRead(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		s := serve(t, func(p *peer) {
			r, err := p.head()
			if err != nil {
				return
			}
			p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			n, _ := io.Copy(io.Discard, r.Body)
			text := strconv.FormatInt(n, 10)
			p.say(strconv.FormatInt(int64(len(text)), 16) + "\r\n" + text + "\r\n0\r\n\r\n")
			_, _ = p.head()
		})
		for name, req := range uploads() {
			if a := do(t, s.host(t), req); !a.ok() || a.body != strconv.Itoa(large) {
				t.Errorf("%s: %d %q %v %v", name, a.status, a.body, a.err, a.cut)
			}
		}
	})
}
