package proxy_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

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
