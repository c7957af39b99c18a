package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// rude is an upstream that speaks just enough HTTP/2 to turn requests away.
// How it does so are frames: some that it greets each connection with, and
// some in answer to each stream.
type rude struct {
	url    string
	roots  *x509.CertPool
	greet  func(conn int64) []byte
	answer func(stream int64, id uint32) []byte

	conns, streams atomic.Int64
}

// The types of HTTP/2's frames, and answers made of them.
const (
	headersFrame  = 1
	resetFrame    = 3
	settingsFrame = 4
	goAwayFrame   = 7
)

func frame(kind, flags byte, id uint32, payload ...byte) []byte {
	b := []byte{0, 0, byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, id), payload...)
}

func reset(code byte) func(int64, uint32) []byte {
	return func(_ int64, id uint32) []byte { return frame(resetFrame, 0, id, 0, 0, 0, code) }
}

// goAway says that no stream was looked at and that nothing is wrong.
func goAway() []byte { return frame(goAwayFrame, 0, 0, make([]byte, 8)...) }

func settings(int64) []byte { return frame(settingsFrame, 0, 0) }

// ok is an answer without a body. 0x88 is ":status: 200".
func ok(_ int64, id uint32) []byte { return frame(headersFrame, 4|1, id, 0x88) }

// start has it listen until the test ends.
func (u *rude) start(t *testing.T) {
	t.Helper()
	lent := httptest.NewTLSServer(nil)
	lent.Close() // its certificate is all that is needed
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: lent.TLS.Certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	u.roots = x509.NewCertPool()
	u.roots.AddCert(lent.Certificate())
	u.url = "https://" + ln.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			stop := make(chan struct{})
			serving.Go(func() {
				defer close(stop)
				defer func() { _ = conn.Close() }()
				u.serve(conn)
			})
			serving.Go(func() {
				select {
				case <-t.Context().Done():
					_ = conn.Close()
				case <-stop:
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
}

func (u *rude) serve(conn net.Conn) {
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	_, err := conn.Write(u.greet(u.conns.Add(1)))
	head := make([]byte, 9)
	for err == nil {
		if _, err = io.ReadFull(conn, head); err != nil {
			return
		}
		length := int64(binary.BigEndian.Uint32(head) >> 8)
		if _, err = io.CopyN(io.Discard, conn, length); err != nil {
			return
		}
		switch kind, flags := head[3], head[4]; {
		case kind == settingsFrame && flags&1 == 0:
			_, err = conn.Write(frame(settingsFrame, 1, 0))
		case kind == headersFrame:
			_, err = conn.Write(u.answer(u.streams.Add(1), binary.BigEndian.Uint32(head[5:])))
		}
	}
}

// before returns a proxy with a token before u.
func (u *rude) before(t *testing.T) *fixture {
	t.Helper()
	u.start(t)
	h := open(t, proxy.Config{Host: u.url, RootCAs: u.roots, ReplayLimit: 1 << 20})
	h.publish(t, pat.New(canary, u.url))
	return h
}

// bodies are one of each kind that can be sent again.
func bodies() map[string]string {
	return map[string]string{"none": "", "small": question, "large": strings.Repeat("x", 100<<10)}
}

func (f *fixture) ask(t *testing.T, body string) reply {
	t.Helper()
	if body == "" {
		return f.do(t, "GET", "/v1/models", "")
	}
	return f.do(t, "POST", "/v1/chat/completions", body)
}

// TestTurnedAwayForGood: an upstream that turns each try away is soon asked no
// more, however net/http takes it, and the client is told.
func TestTurnedAwayForGood(t *testing.T) {
	t.Parallel()
	const atOnce = "GOAWAY at a connection"
	leave := func(int64, uint32) []byte { return goAway() }
	for name, u := range map[string]struct {
		greet  func(int64) []byte
		answer func(int64, uint32) []byte
	}{
		"PROTOCOL_ERROR":            {settings, reset(1)},
		"REFUSED_STREAM":            {settings, reset(7)},
		"GOAWAY at a stream":        {settings, leave},
		atOnce:                      {func(c int64) []byte { return append(settings(c), goAway()...) }, leave},
		"no streams at all allowed": {func(int64) []byte { return frame(settingsFrame, 0, 0, 0, 3, 0, 0, 0, 0) }, reset(7)},
	} {
		sizes := bodies()
		if name == atOnce {
			sizes["streamed"] = strings.Repeat("x", 2<<20) // too large to be sent again once it was read
		}
		for size, body := range sizes {
			t.Run(name+"/"+size, func(t *testing.T) {
				t.Parallel() // net/http pauses for seconds in some
				u := &rude{greet: u.greet, answer: u.answer}
				h := u.before(t)
				got := h.ask(t, body)
				if msg := message(t, "openai", got); got.StatusCode != 502 || !strings.Contains(msg, u.url) {
					t.Errorf("%d %q", got.StatusCode, msg)
				}
				if conns, streams := u.conns.Load(), u.streams.Load(); conns > 3 || streams > 3 {
					t.Errorf("%d streams on %d connections", streams, conns)
				}
				if s := h.Stats(); s.Failed != 1 || s.Resets != 0 {
					t.Errorf("%+v", s)
				}
				h.givesBack(t)
			})
		}
	}
}

// TestAllTurnedAway: what many do at once is bounded too.
func TestAllTurnedAway(t *testing.T) {
	t.Parallel()
	const n = 20
	u := &rude{greet: settings, answer: reset(1)}
	h := u.before(t)
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() {
			if got := h.ask(t, []string{"", question}[i%2]); got.StatusCode != 502 {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
	asking.Wait()
	if conns, streams := u.conns.Load(), u.streams.Load(); conns > 3*n || streams > 3*n {
		t.Errorf("%d requests made %d streams on %d connections", n, streams, conns)
	}
}

// TestTurnedAwayOnce: a client sees nothing of a stream or two that a
// connection on its way out doesn't take.
func TestTurnedAwayOnce(t *testing.T) {
	t.Parallel()
	ways := map[string]func(int64, uint32) []byte{
		"PROTOCOL_ERROR": reset(1),
		"REFUSED_STREAM": reset(7),
		"GOAWAY":         func(int64, uint32) []byte { return goAway() },
	}
	for name, away := range ways {
		for size, body := range bodies() {
			for times := range int64(3) {
				if times == 2 && size != "small" {
					continue // net/http pauses before the second
				}
				t.Run(fmt.Sprintf("%s/%s/%d", name, size, times), func(t *testing.T) {
					var h *fixture
					u := &rude{greet: settings}
					var asked atomic.Int64
					u.answer = func(_ int64, id uint32) []byte {
						// The first one makes a connection that the next finds idle.
						if n := asked.Add(1); n > 1 && n <= 1+times {
							return away(0, id)
						}
						return ok(0, id)
					}
					h = u.before(t)
					for range 2 {
						if got := h.ask(t, body); got.StatusCode != http.StatusOK {
							t.Errorf("%d %s", got.StatusCode, got.body)
						}
					}
					if streams := u.streams.Load(); streams != 2+times {
						t.Errorf("%d streams", streams)
					}
					h.givesBack(t)
				})
			}
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
