package upstream_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"patrol/proxy/upstream"
)

// via returns a host for s that is reached through a proxy.
func (s *server) via(t *testing.T, proxy *url.URL) *upstream.Host {
	t.Helper()
	_, roots := certificate()
	return newClient(t, upstream.Config{RootCAs: roots, Proxy: func(*url.URL) (*url.URL, error) { return proxy, nil }}).Host(s.url)
}

// tunnel connects p with addr until one of both ends it.
func tunnel(p *peer, addr string) {
	other, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	go func() {
		defer p.Close()
		_, _ = io.Copy(p, other)
	}()
	defer other.Close()
	_, _ = io.Copy(other, p.in)
}

// TestProxy: through a proxy with and without TLS and credentials, for upstreams with
// and without TLS. Its connections are used again.
func TestProxy(t *testing.T) {
	for _, serveProxy := range []func(testing.TB, func(*peer)) *server{serve, serveTLS} {
		for _, user := range []*url.Userinfo{nil, url.User("name"), url.UserPassword("na me", "p:w/ü ???>>>???>>>~~~")} {
			overBoth(t, func(t *testing.T, serveUpstream func(testing.TB, func(*peer)) *server) {
				var authorization atomic.Value
				proxy := serveProxy(t, func(p *peer) {
					r, err := p.head()
					if err != nil {
						return
					}
					authorization.Store(r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization"))
					p.say("HTTP/1.1 200 Connected\r\nX-A: b\r\n\r\n")
					tunnel(p, r.RequestURI)
				})
				s := serveUpstream(t, answering(okAnswer))
				through := *proxy.url
				through.User = user
				h := s.via(t, &through)
				for range 3 {
					if a := do(t, h, post("b")); !a.ok() || a.body != "ok" {
						t.Fatal(a.err, a.cut)
					}
				}
				want := "CONNECT " + s.url.Host + " "
				if user != nil {
					password, _ := user.Password()
					want += "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
				}
				if authorization.Load() != want || proxy.accepted.Load() != 1 || s.accepted.Load() != 1 {
					t.Errorf("%q, want %q; %d and %d connections", authorization.Load(), want, proxy.accepted.Load(), s.accepted.Load())
				}
			})
		}
	}
}

// TestProxyRefuses: what a proxy may do instead.
func TestProxyRefuses(t *testing.T) {
	for text, status := range map[string]int{
		"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno\n": 407,
		"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nsecret":                                                403,
		"HTTP/1.0 502 Bad Gateway\r\n\r\nsecret":                                                                   502,
		"HTTP/1.1 302 Found\r\nLocation: /secret\r\nContent-Length: 0\r\n\r\n":                                     302,
		"HTTP/1.1 200 OK\r\n\r\nsecret":                                                                            0, "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n": 0,
		"HTTP/1.1 200 OK\r\nsecret\r\n\r\n": 0, "secret": 0, "": 0, "HTTP/1.1 101 x\r\n\r\n": 0, "SSH-2.0-x\r\n": 0, "\x15\x03\x01\x00\x02\x02\x28": 0,
	} {
		overBoth(t, func(t *testing.T, serveUpstream func(testing.TB, func(*peer)) *server) {
			proxy := serve(t, func(p *peer) {
				if _, err := p.head(); err == nil {
					p.say(text)
				}
			})
			s := serveUpstream(t, answering(okAnswer))
			req := post("b")
			req.Resend = true
			a := do(t, s.via(t, proxy.url), req)
			e, ok := errors.AsType[*upstream.ProxyError](a.err)
			if !ok || e.Status != status || strings.Contains(a.err.Error(), "secret") {
				t.Errorf("%q: %v", text, a.err)
			}
			if sent, ok := errors.AsType[*upstream.Error](a.err); !ok || sent.Sent {
				t.Errorf("%q: %#v says that it was sent", text, sent)
			}
			if s.accepted.Load() != 0 || proxy.accepted.Load() != 1 {
				t.Errorf("%q: %d connections to the upstream, %d to the proxy", text, s.accepted.Load(), proxy.accepted.Load())
			}
		})
	}
}

// TestProxyHangs: the client's leaving ends the waiting for a proxy, and Close the dial.
func TestProxyHangs(t *testing.T) {
	gone := make(chan struct{})
	proxy := serve(t, func(p *peer) {
		_, _ = io.Copy(io.Discard, p.in)
		close(gone)
	})
	c := upstream.New(upstream.Config{Proxy: func(*url.URL) (*url.URL, error) { return proxy.url, nil }})
	ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	a := doWith(ctx, c.Host(&url.URL{Scheme: "http", Host: "upstream.test"}), get("/"))
	if !errors.Is(a.err, context.DeadlineExceeded) {
		t.Errorf("%v", a.err)
	}
	c.Close()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the connection to the proxy isn't closed")
	}
}

func TestProxyIsNotThere(t *testing.T) {
	proxy := serve(t, func(*peer) {})
	proxy.close()
	s := serve(t, answering(okAnswer))
	for _, scheme := range []string{"http", "https", "socks5"} {
		through := url.URL{Scheme: scheme, Host: proxy.url.Host, User: url.UserPassword("name", "secret")}
		a := do(t, s.via(t, &through), get("/"))
		if _, ok := errors.AsType[*upstream.ProxyError](a.err); !ok || strings.Contains(a.err.Error(), "secret") {
			t.Errorf("%s: %v", scheme, a.err)
		}
	}
}

// TestSOCKS: through a proxy with SOCKS 5, with and without credentials.
func TestSOCKS(t *testing.T) {
	for _, user := range []*url.Userinfo{nil, url.UserPassword("name", "password")} {
		overBoth(t, func(t *testing.T, serveUpstream func(testing.TB, func(*peer)) *server) {
			var shown atomic.Value
			proxy := serve(t, func(p *peer) { socks(p, user != nil, &shown) })
			s := serveUpstream(t, answering(okAnswer))
			h := s.via(t, &url.URL{Scheme: "socks5", Host: proxy.url.Host, User: user})
			for range 3 {
				if a := do(t, h, post("b")); !a.ok() || a.body != "ok" {
					t.Fatal(a.err, a.cut)
				}
			}
			if user != nil && shown.Load() != "name:password" || proxy.accepted.Load() != 1 {
				t.Errorf("%v, %d connections", shown.Load(), proxy.accepted.Load())
			}
		})
	}
}

// socks is a proxy of RFC 1928, with RFC 1929 for names and passwords.
func socks(p *peer, asks bool, shown *atomic.Value) {
	next := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(p.in, b)
		return b
	}
	next(int(next(2)[1]))
	if asks {
		p.say("\x05\x02")
		name := next(int(next(2)[1]))
		password := next(int(next(1)[0]))
		shown.Store(string(name) + ":" + string(password))
		p.say("\x01\x00")
	} else {
		p.say("\x05\x00")
	}
	next(4) // CONNECT, to an IPv4 address
	ip, port := next(4), next(2)
	p.say("\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
	tunnel(p, (&net.TCPAddr{IP: ip, Port: int(port[0])<<8 | int(port[1])}).String())
}

// TestTLSGarbage: an upstream that speaks no TLS, or has no certificate that is trusted,
// is an error, and nothing was sent.
func TestTLSGarbage(t *testing.T) {
	for _, text := range []string{"", "HTTP/1.1 400 Bad Request\r\n\r\nsecret", "\x15\x03\x01\x00\x02\x02\x28", "SSH-2.0-x\r\n", strings.Repeat("\x16", 100_000)} {
		s := serve(t, func(p *peer) { p.say(text) })
		a := do(t, newClient(t, upstream.Config{}).Host(&url.URL{Scheme: "https", Host: s.url.Host}), get("/"))
		if e, ok := errors.AsType[*upstream.Error](a.err); !ok || e.Sent || strings.Contains(a.err.Error(), "secret") {
			t.Errorf("%.50q: %v", text, a.err)
		}
	}
	s := serveTLS(t, answering(okAnswer))
	a := do(t, newClient(t, upstream.Config{}).Host(s.url), get("/"))
	if _, ok := errors.AsType[*tls.CertificateVerificationError](a.err); !ok {
		t.Errorf("a certificate that nobody trusts: %v", a.err)
	}
}

// TestAddressMoves: after Trust, and where the server has closed what there was, new
// connections go where the host is now.
func TestAddressMoves(t *testing.T) {
	say := func(text string) *server {
		return serve(t, answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"+text))
	}
	a, b := say("old"), say("new")
	var now atomic.Value
	now.Store(a.url.Host)
	c := newClient(t, upstream.Config{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, now.Load().(string))
	}})
	h := c.Host(&played)
	want := func(text, when string) {
		t.Helper()
		if got := do(t, h, post("b")); got.body != text {
			t.Errorf("%s: %q, %v", when, got.body, got.err)
		}
	}
	want("old", "first")
	now.Store(b.url.Host)
	want("old", "the connection lives")
	c.Trust(nil)
	want("new", "after Trust")
	now.Store(a.url.Host)
	b.hangUp()
	want("old", "after the end of the connection")
}

// TestDeadAddress: a host with an address where nobody listens is reached at its other.
// It isn't parallel: it plays the resolver of the whole process.
func TestDeadAddress(t *testing.T) {
	s := serve(t, answering(okAnswer))
	_, port, _ := net.SplitHostPort(s.url.Host)
	dns, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go resolve(dns)
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("udp", dns.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		_ = dns.Close()
	})
	h := newClient(t, upstream.Config{}).Host(&url.URL{Scheme: "http", Host: net.JoinHostPort("two.test.", port)})
	for range 2 {
		if a := do(t, h, get("/")); !a.ok() {
			t.Error(a.err)
		}
	}
	if s.accepted.Load() != 1 {
		t.Errorf("%d connections", s.accepted.Load())
	}
}

// resolve says that each name has the addresses 127.0.0.2 and ::1, where nobody listens,
// and 127.0.0.1.
func resolve(conn net.PacketConn) {
	b := make([]byte, 1<<10)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) == 0 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Additionals = true, nil
		head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 2}}}, {Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		} else {
			m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}}}
		}
		if reply, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(reply, from)
		}
	}
}
