package upstream_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/proxy/upstream"
)

// patience is when a test takes what it waits for as hanging.
const patience = 20 * time.Second

// server is an upstream that plays a script on each connection: it knows no HTTP.
type server struct {
	url      *url.URL
	roots    *x509.CertPool // nil over plain HTTP
	accepted atomic.Int64

	listener net.Listener
	playing  sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

// peer is the server's end of a connection.
type peer struct {
	net.Conn
	in     *bufio.Reader
	number int64 // of the connection, from 1
}

// serve plays on each connection until the test ends, and closes it after that.
func serve(t testing.TB, play func(*peer)) *server { return serveOn(t, "127.0.0.1:0", nil, play) }

// serveTLS is serve with a certificate that the server's roots have signed.
func serveTLS(t testing.TB, play func(*peer)) *server {
	cfg, roots := certificate()
	s := serveOn(t, "127.0.0.1:0", cfg, play)
	s.roots = roots
	return s
}

// certificate returns a server's settings with a certificate for 127.0.0.1.
var certificate = sync.OnceValues(func() (*tls.Config, *x509.CertPool) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return &tls.Config{Certificates: srv.TLS.Certificates}, roots //nolint:gosec // a test's
})

func serveOn(t testing.TB, addr string, cfg *tls.Config, play func(*peer)) *server {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: listener, url: &url.URL{Scheme: "http", Host: listener.Addr().String()}}
	if cfg != nil {
		s.url.Scheme = "https"
	}
	s.playing.Go(func() { s.accept(cfg, play) })
	t.Cleanup(s.close)
	return s
}

func (s *server) accept(cfg *tls.Config, play func(*peer)) {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		if cfg != nil {
			c = tls.Server(c, cfg)
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		number := s.accepted.Add(1)
		s.playing.Go(func() {
			defer c.Close()
			play(&peer{c, bufio.NewReader(c), number})
		})
	}
}

// hangUp closes the connections that there are.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *server) close() {
	_ = s.listener.Close()
	s.hangUp()
	s.playing.Wait()
}

// head reads a request's head; its body is still to be read.
func (p *peer) head() (*http.Request, error) { return http.ReadRequest(p.in) }

// request reads a request to its end.
func (p *peer) request() (*http.Request, string, error) {
	r, err := p.head()
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(r.Body)
	return r, string(body), err
}

func (p *peer) say(text string) { _, _ = io.WriteString(p, text) }

// reset ends the connection so that the other end learns it by a reset.
func (p *peer) reset() {
	c := p.Conn
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// answering answers each request with text.
func answering(text string) func(*peer) {
	return func(p *peer) {
		for {
			if _, _, err := p.request(); err != nil {
				return
			}
			p.say(text)
		}
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newClient returns a client that the test's end closes.
func newClient(t testing.TB, cfg upstream.Config) *upstream.Client {
	t.Helper()
	if cfg.Proxy == nil {
		cfg.Proxy = func(*url.URL) (*url.URL, error) { return nil, nil } //nolint:nilnil // no proxy
	}
	c := upstream.New(cfg)
	t.Cleanup(c.Close)
	return c
}

// host returns a host of a client of its own for s.
func (s *server) host(t testing.TB) *upstream.Host {
	t.Helper()
	return newClient(t, upstream.Config{RootCAs: s.roots}).Host(s.url)
}

// answer is what came of a request.
type answer struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	err     error // of Do
	cut     error // of the body
}

func (a answer) ok() bool { return a.err == nil && a.cut == nil }

// do sends a request and reads its answer. It fails the test if that hangs.
func do(t testing.TB, h *upstream.Host, req *upstream.Request) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	a := doWith(ctx, h, req)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("%s %s hangs", req.Method, req.Target)
	}
	return a
}

func doWith(ctx context.Context, h *upstream.Host, req *upstream.Request) answer {
	a := answer{header: http.Header{}}
	res, err := h.Do(ctx, req, a.header)
	if err != nil {
		a.err = err
		return a
	}
	body, err := io.ReadAll(res)
	a.status, a.body, a.trailer, a.cut = res.Status, string(body), res.Trailer, err
	return a
}

func get(target string) *upstream.Request {
	return &upstream.Request{Method: "GET", Target: target, Resend: true}
}

func post(body string) *upstream.Request {
	return &upstream.Request{Method: "POST", Target: "/", Body: []byte(body), Length: int64(len(body))}
}

// streamed is post with a body that is read while it is sent.
func streamed(body string, chunked bool) *upstream.Request {
	r := &upstream.Request{Method: "POST", Target: "/", Rest: strings.NewReader(body), Length: int64(len(body))}
	if chunked {
		r.Length = -1
	}
	return r
}

// eventually waits for what other goroutines bring about.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
