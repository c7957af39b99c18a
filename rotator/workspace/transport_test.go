package workspace_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

func TestTLS(t *testing.T) {
	s, _, first := start(t, workspacetest.Config{TLS: true})
	c := client(t, workspace.Config{Host: s.URL})
	_, _, err := c.As(first).Mint(t.Context(), request)
	if cert, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || errors.Is(err, workspace.ErrUncertain) {
		t.Errorf("with an authority that nobody knows: %v, %v", err, cert)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	c = client(t, workspace.Config{Host: s.URL, Transport: transport})
	if _, _, err := c.As(first).Mint(t.Context(), request); err != nil {
		t.Error(err)
	}
	if proto := s.Requests()[0].Proto; proto != "HTTP/2.0" {
		t.Errorf("it spoke %s", proto)
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Reset, After: true})
	if _, _, err := c.As(first).Mint(t.Context(), request); !errors.Is(err, workspace.ErrUncertain) {
		t.Errorf("a stream that was reset: %v", err)
	}
}

// A proxy is used as the environment says when the client is made. One that
// refuses the tunnel has let nothing through.
func TestProxyFromEnvironment(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Method+" "+r.Host+" "+r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(proxy.Close)
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("NO_PROXY", "")
	c := client(t, workspace.Config{Host: "https://w.example"})
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	_, _, err := c.As(pat.New("dapi-canary", "https://w.example")).Mint(t.Context(), request)
	if err == nil || errors.Is(err, workspace.ErrUncertain) {
		t.Errorf("Mint = %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 1 || asked[0] != "CONNECT w.example:443 " {
		t.Errorf("the proxy was asked %q", asked)
	}
}

// relay passes connections on to a server until it is silenced: what is connected
// then stays connected, and nothing comes through any more, as after a sleep.
type relay struct {
	net.Listener
	to       string
	silenced atomic.Bool
	made     atomic.Int32
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: ln, to: to}
	var all sync.WaitGroup
	all.Go(func() {
		for in, err := r.Accept(); err == nil; in, err = r.Accept() {
			all.Go(func() { r.pass(t.Context(), in) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); all.Wait() })
	return r
}

// pass passes one connection on, until ctx is done.
func (r *relay) pass(ctx context.Context, in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	defer context.AfterFunc(ctx, func() { _, _ = in.Close(), out.Close() })()
	late := r.silenced.Load() // made after the silence, it lives
	r.made.Add(1)
	copyFrom := func(to, from net.Conn) {
		buf := make([]byte, 32<<10)
		for n, err := from.Read(buf); err == nil; n, err = from.Read(buf) {
			if late || !r.silenced.Load() {
				_, _ = to.Write(buf[:n])
			}
		}
		_, _ = in.Close(), out.Close()
	}
	var both sync.WaitGroup
	both.Go(func() { copyFrom(out, in) })
	both.Go(func() { copyFrom(in, out) })
	both.Wait()
}

// An HTTP/2 connection that has died without a word is given up within the time
// of one call: the next one has a new connection.
func TestDeadHTTP2Connection(t *testing.T) {
	s, _, _ := start(t, workspacetest.Config{TLS: true})
	r := newRelay(t, strings.TrimPrefix(s.URL, "https://"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	host := "https://" + r.Addr().String()
	token := s.Issue(workspacetest.IssueOptions{})
	const timeout = 900 * time.Millisecond
	c := client(t, workspace.Config{Host: host, RootCAs: roots, Timeout: timeout})
	session := c.As(pat.New(token.Value, host))
	if _, err := session.List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if proto := s.Requests()[0].Proto; proto != "HTTP/2.0" || r.made.Load() != 1 {
		t.Fatalf("it spoke %s over %d connections", proto, r.made.Load())
	}
	r.silenced.Store(true)
	began := time.Now()
	if _, err := session.List(t.Context()); err == nil {
		t.Error("a dead connection gave an answer")
	}
	if took := time.Since(began); took >= timeout {
		t.Errorf("the call that found it dead took all of its %v: %v", timeout, took)
	}
	if _, err := session.List(t.Context()); err != nil || r.made.Load() != 2 {
		t.Errorf("the next call: %v, over connection %d", err, r.made.Load())
	}
}

// A server that takes connections and never finishes a TLS handshake.
func TestHangingHandshake(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	host := "https://" + ln.Addr().String()
	c := client(t, workspace.Config{Host: host, Timeout: 50 * time.Millisecond})
	_, _, err = c.As(pat.New("dapi-canary", host)).Mint(t.Context(), request)
	if err == nil || errors.Is(err, workspace.ErrUncertain) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("Mint = %v", err)
	}
}
