package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// fixture is a proxy that listens, and who hands it tokens.
type fixture struct {
	*proxy.Proxy
	url       string
	addr      string
	handovers chan pat.Handover
	client    *http.Client
	log       *logBuffer
}

// open starts a proxy with this configuration, whose Host the caller sets. It
// ends with the test.
func open(t testing.TB, cfg proxy.Config) *fixture {
	t.Helper()
	h := &fixture{handovers: make(chan pat.Handover), log: new(logBuffer)}
	cfg.Handovers = h.handovers
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	p, err := proxy.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.Proxy, h.addr, h.url = p, ln.Addr().String(), "http://"+ln.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
	h.client = &http.Client{Transport: transport}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	done.Go(func() {
		if err := p.Serve(ln); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		// Nothing is to be waited for any more.
		_ = p.Shutdown(ctx)
		done.Wait()
		transport.CloseIdleConnections()
	})
	return h
}

// publish hands the proxy a token and returns what closes once older ones are
// drained.
func (f *fixture) publish(t testing.TB, tok pat.Token) <-chan struct{} {
	t.Helper()
	drained, err := pat.Publish(t.Context(), f.handovers, tok)
	if err != nil {
		t.Fatalf("publishing: %v", err)
	}
	return drained
}

// workspace starts a workspace that ends with the test.
func workspace(t testing.TB, cfg workspacetest.Config) *workspacetest.Server {
	t.Helper()
	ws, err := workspacetest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	return ws
}

// authority returns who signs for the workspace, nil if it speaks no TLS.
func authority(ws *workspacetest.Server) *x509.CertPool {
	if ws.CA == nil {
		return nil
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ws.CA)
	return pool
}

// issue returns a new token of the workspace, as the rotator would hand it on.
func issue(ws *workspacetest.Server) pat.Token {
	made := ws.Issue(workspacetest.IssueOptions{})
	tok := pat.New(made.Value, ws.URL)
	tok.ID, tok.Expiry = made.ID, made.Expiry
	return tok
}

// upstream starts a server that ends with the test.
func upstream(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

// wire starts an upstream that hands each request, once its header is read, to answer,
// which writes to the connection what it likes. Then the connection is closed.
func wire(t testing.TB, answer func(conn net.Conn, r *http.Request)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(soon))
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn, r)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return "http://" + ln.Addr().String()
}

// dial connects to the proxy and sends a request, which is nothing but its bytes.
func (f *fixture) dial(t testing.TB, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(soon))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// post is the bytes of a request.
func post(path, proto, body string) string {
	return fmt.Sprintf("POST %s %s\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, proto, len(body), body)
}

// pipes is a listener whose connections are made of nothing but this process, so that
// they can be in a bubble whose time is what a test wants it to be.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// connect is for Config.Dial.
func (p *pipes) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dial connects. The connection ends with the test.
func (p *pipes) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := p.connect(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn, bufio.NewReader(conn)
}

// timeless runs test in a bubble of its own time, with a proxy that has a token and
// this configuration, before an upstream that answers so.
func timeless(t *testing.T, cfg proxy.Config, up http.HandlerFunc, test func(t *testing.T, p *proxy.Proxy, ln *pipes)) {
	t.Helper()
	timelessBy(t, cfg, up, func(t *testing.T, p *proxy.Proxy, ln *pipes, publish func(value string)) {
		publish(canary)
		test(t, p, ln)
	})
}

// timelessBy is timeless where the test publishes the tokens, none of which is there.
func timelessBy(t *testing.T, cfg proxy.Config, up http.HandlerFunc, test func(t *testing.T, p *proxy.Proxy, ln *pipes, publish func(value string))) {
	t.Helper()
	t.Setenv("NO_PROXY", "*")
	synctest.Test(t, func(t *testing.T) {
		const host = "http://w.example"
		handovers := make(chan pat.Handover)
		ln, upstream := newPipes(), newPipes()
		cfg.Host, cfg.Handovers, cfg.Dial = host, handovers, upstream.connect
		p, err := proxy.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		srv := &http.Server{Handler: up}
		var running sync.WaitGroup
		running.Go(func() { _ = p.Run(ctx) })
		running.Go(func() { _ = p.Serve(ln) })
		running.Go(func() { _ = srv.Serve(upstream) })
		t.Cleanup(func() {
			cancel()
			_ = p.Shutdown(ctx)
			_ = srv.Close()
			running.Wait()
		})
		test(t, p, ln, func(value string) {
			if _, err := pat.Publish(ctx, handovers, pat.New(value, host)); err != nil {
				t.Error(err)
			}
		})
	})
}

// echo answers with the request's body.
func echo(w http.ResponseWriter, r *http.Request) {
	got, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(got)
}

// reply is an answer read to its end.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

// do sends a request through the proxy and reads the answer.
func (f *fixture) do(t testing.TB, method, path, body string, header ...string) reply {
	t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, in)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return f.send(t, req)
}

func (f *fixture) send(t testing.TB, req *http.Request) reply {
	t.Helper()
	res, err := f.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	return reply{res, string(got), err}
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
