package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"patrol/proxy/upstream"
)

// large is more than the buffers of two sockets hold, where the server's is small.
const large = 6 << 20

var largeBody = strings.Repeat("x", large)

// readLittle makes the server's buffer small.
func (p *peer) readLittle() {
	c := p.Conn
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	_ = c.(*net.TCPConn).SetReadBuffer(64 << 10)
}

// overBoth runs a test over plain HTTP and over TLS.
func overBoth(t *testing.T, test func(t *testing.T, serve func(testing.TB, func(*peer)) *server)) {
	t.Run("plain", func(t *testing.T) { t.Parallel(); test(t, serve) })
	t.Run("tls", func(t *testing.T) { t.Parallel(); test(t, serveTLS) })
}

// uploads are requests too large for a server that doesn't read.
func uploads() map[string]*upstream.Request {
	chunkedWhole := post(largeBody)
	chunkedWhole.Length = -1
	return map[string]*upstream.Request{
		"whole": post(largeBody), "whole, chunked": chunkedWhole,
		"streamed": streamed(largeBody, false), "streamed, chunked": streamed(largeBody, true),
	}
}

// TestEarlyAnswer: an answer that comes before the request's end is the request's
// answer, and the server need not read on. A large one is read too.
func TestEarlyAnswer(t *testing.T) {
	for _, size := range []int{3, 4 << 20} {
		want := strings.Repeat("n", size)
		text := "HTTP/1.1 413 Too Large\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + want
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
				read := make(chan struct{}) // closed when all answers have been read
				s := serve(t, func(p *peer) {
					p.readLittle()
					if _, err := p.head(); err == nil {
						p.say(text)
						<-read
					}
				})
				defer close(read)
				h := s.host(t)
				for name, req := range uploads() {
					a := do(t, h, req)
					if !a.ok() || a.status != 413 || a.body != want {
						t.Errorf("%s: %d with %d bytes, %v, %v", name, a.status, len(a.body), a.err, a.cut)
					}
				}
				if h.Idle() != 0 {
					t.Error("a connection is kept whose request isn't complete")
				}
			})
		})
	}
}

// TestEarlyEnd: a server that answers, reads nothing and closes has still answered, or
// the request fails; it never hangs and is never sent again.
func TestEarlyEnd(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		s := serve(t, func(p *peer) {
			p.readLittle()
			if _, err := p.head(); err == nil {
				p.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			}
		})
		h := s.host(t)
		for name, req := range uploads() {
			before := s.accepted.Load()
			a := do(t, h, req)
			if a.err == nil && a.status != 413 || s.accepted.Load() != before+1 {
				t.Errorf("%s: %d %v, %d connections", name, a.status, a.err, s.accepted.Load()-before)
			}
		}
	})
}

// TestTicketsAreNoAnswer: what TLS sends on its own doesn't end the sending of a body,
// and the connection is kept.
func TestTicketsAreNoAnswer(t *testing.T) {
	for name, req := range uploads() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serveTLS(t, func(p *peer) {
				r, err := p.head() // TLS has sent its tickets before
				if err != nil {
					return
				}
				n, _ := io.Copy(io.Discard, r.Body)
				text := strconv.FormatInt(n, 10)
				p.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text))
				_, _ = p.head()
			})
			h := s.host(t)
			if a := do(t, h, req); !a.ok() || a.body != strconv.Itoa(large) || h.Idle() != 1 {
				t.Errorf("%d %q, %v, %v, %d idle", a.status, a.body, a.err, a.cut, h.Idle())
			}
		})
	}
}

// TestLeavingAtTheEnd: a client that leaves while its answer ends doesn't cut the next
// request, which can't be sent again.
func TestLeavingAtTheEnd(t *testing.T) {
	overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) {
		s := serve(t, answering(okAnswer))
		h := s.host(t)
		kept := 0
		const rounds = 300
		for i := range rounds {
			ctx, leave := context.WithCancel(t.Context())
			res, err := h.Do(ctx, post("a"), http.Header{})
			if err != nil {
				t.Fatal(err)
			}
			// Its body is there, so that the reading doesn't notice. What closes the
			// connection may run at any time from here on.
			if i%2 == 0 {
				leave()
			} else {
				go leave()
			}
			for range i % 64 {
				_ = ctx.Err() // a little later each time
			}
			_, _ = io.ReadAll(res)
			kept += h.Idle()
			if a := do(t, h, post("b")); !a.ok() {
				t.Fatalf("round %d: %v %v", i, a.err, a.cut)
			}
			leave()
		}
		if kept == 0 || kept == rounds {
			t.Errorf("in %d of %d rounds the connection was kept", kept, rounds)
		}
	})
}

// A piece is what a server sends at a time, with the bytes of the body in it.
type piece struct{ text, data string }

// TestBeforeWait: BeforeWait is called whenever the body is waited for, and only when
// all of it that has come has been returned.
func TestBeforeWait(t *testing.T) {
	bodies := map[string][]piece{
		"chunked": {
			{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "hel"},
			{"lo", "lo"},
			{"\r", ""},
			{"\n3", ""},
			{"\r\na", "a"},
			{"bc\r\n1\r\nd\r\n2\r\nef", "bcdef"},
			{"\r\n4\r\nghij\r\n", "ghij"},
			{"2;x", ""},
			{"=y\r\nkl\r\n0\r\n", "kl"},
			{"X-T: v\r\n", ""},
			{"\r\n", ""},
		},
		"length":      {{"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab", "ab"}, {"c", "c"}, {"def", "def"}},
		"until close": {{"HTTP/1.0 200 OK\r\n\r\n", ""}, {"abc", "abc"}, {"d", "d"}},
	}
	for name, pieces := range bodies {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, serve func(testing.TB, func(*peer)) *server) { tellBeforeWait(t, serve, pieces) })
		})
	}
}

// tellBeforeWait has a server that sends the next piece when BeforeWait is called.
func tellBeforeWait(t *testing.T, serve func(testing.TB, func(*peer)) *server, pieces []piece) {
	next := make(chan struct{}, len(pieces)+1)
	s := serve(t, func(p *peer) {
		if _, _, err := p.request(); err != nil {
			return
		}
		for _, piece := range pieces {
			p.say(piece.text)
			<-next
		}
	})
	// The server's script ends before the test does, also where the test fails.
	defer close(next)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := s.host(t).Do(ctx, get("/"), http.Header{})
	if err != nil {
		t.Fatal(err)
	}
	sent, waits, got := pieces[0].data, 0, ""
	res.BeforeWait(func() {
		if got != sent {
			t.Errorf("waiting after %q, and %q has come", got, sent)
		}
		if waits++; waits < len(pieces) {
			sent += pieces[waits].data
		}
		next <- struct{}{}
	})
	b := make([]byte, 100)
	for err == nil {
		var n int
		n, err = res.Read(b)
		got += string(b[:n])
	}
	if !errors.Is(err, io.EOF) || got != sent || waits < len(pieces)-1 {
		t.Errorf("%q of %q, after %d waits: %v", got, sent, waits, err)
	}
}

// TestErrorLeavesNoFields: after an error no field stands in the header: it may be an
// echo of a token.
func TestErrorLeavesNoFields(t *testing.T) {
	const field = "X-Echo: secret\r\n"
	for _, text := range []string{
		"HTTP/1.1 200 OK\r\n" + field + "bad\r\n\r\n", "HTTP/1.1 200 OK\r\n" + field, "HTTP/1.1 200 OK\r\n" + field + "\r\n",
		"HTTP/1.1 103 x\r\n" + field + "\r\n", "HTTP/1.1 103 x\r\n" + field + "\r\nHTTP/1.1 200 OK\r\n" + field + "Transfer-Encoding: x\r\n\r\n",
		"HTTP/1.1 101 x\r\n" + field + "\r\n", "HTTP/1.1 200 OK\r\n" + field + "Content-Length: secret\r\n\r\n",
	} {
		s := serve(t, func(p *peer) {
			if _, _, err := p.request(); err == nil {
				p.say(text)
			}
		})
		req := get("/")
		req.Interim = func(int) {}
		header := http.Header{"X-Before": {"b"}}
		_, err := s.host(t).Do(t.Context(), req, header)
		if err == nil || len(header) != 0 || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v %v", text, header, err)
		}
	}
}

// TestInterim: Interim sees what is to be passed on, each with its own fields.
func TestInterim(t *testing.T) {
	s := serve(t, answering("HTTP/1.1 100 Continue\r\nX-No: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: x-h\r\nX-H: h\r\n\r\nHTTP/1.1 102 x\r\n\r\n"+okAnswer))
	header := http.Header{}
	var seen []string
	req := get("/")
	req.Interim = func(status int) { seen = append(seen, fmt.Sprint(status, header)) }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	res, err := s.host(t).Do(ctx, req, header)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Close()
	if got, want := fmt.Sprint(seen, header), "[103 map[Link:[a]] 102 map[]] map[Content-Length:[2]]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
