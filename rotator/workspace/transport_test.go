package workspace_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
