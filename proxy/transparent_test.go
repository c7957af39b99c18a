package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// pair starts a workspace and a proxy before it, over plain HTTP/1.1 or over
// TLS with HTTP/2 and a private authority.
func pair(t testing.TB, overTLS bool, cfg proxy.Config) (*workspacetest.Server, *house) {
	t.Helper()
	ws := workspace(t, workspacetest.Config{TLS: overTLS})
	cfg.Host, cfg.RootCAs = ws.URL, authority(ws)
	return ws, open(t, cfg)
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

func zipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// TestBodies: in every way in which a client may send one.
func TestBodies(t *testing.T) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = enc.Close() }()
	for _, overTLS := range []bool{false, true} {
		ws, h := pair(t, overTLS, proxy.Config{})
		h.publish(t, issue(ws))
		for _, size := range []int{0, 3 << 10, 100 << 10, 1500 << 10} {
			body := strings.Replace(question, `"content":"x"`, `"content":"`+strings.Repeat("x", size)+`."`, 1)
			for _, tt := range []struct{ name, encoding, wire string }{
				{"plain", "", body}, {"gzip", "gzip", zipped(body)}, {"zstd", "zstd", string(enc.EncodeAll([]byte(body), nil))},
			} {
				for _, how := range []string{"length", "chunked", "expect"} {
					if size > 1<<20 && (tt.name != "plain" || how == "expect") {
						continue
					}
					ws.Forget()
					var in io.Reader = strings.NewReader(tt.wire)
					if how == "chunked" {
						in = io.MultiReader(in)
					}
					req, _ := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/messages", in)
					if tt.encoding != "" {
						req.Header.Set("Content-Encoding", tt.encoding)
					}
					if how == "expect" {
						req.Header.Set("Expect", "100-continue")
					}
					got := h.send(t, req)
					seen := ws.Requests()
					if got.StatusCode != 200 || len(seen) != 1 || string(seen[0].Body) != body || seen[0].Header.Get("Expect") != "" {
						t.Errorf("TLS %v, %d bytes, %s, %s: %d %.200s", overTLS, size, tt.name, how, got.StatusCode, got.body)
					}
					if overTLS && seen[0].Proto != "HTTP/2.0" {
						t.Errorf("over TLS it speaks %s", seen[0].Proto)
					}
				}
			}
		}
	}
}

// TestExpectContinue: the client is asked for its body only if it is wanted.
func TestExpectContinue(t *testing.T) {
	ws, h := pair(t, false, proxy.Config{})
	h.publish(t, issue(ws))
	for path, want := range map[string]string{"/v1/messages": "HTTP/1.1 100 Continue", "/nothing": "HTTP/1.1 404 Not Found"} {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", path, len(question))
		first, err := bufio.NewReader(conn).ReadString('\n')
		if strings.TrimSpace(first) != want || err != nil {
			t.Errorf("%s: %q %v", path, first, err)
		}
		_ = conn.Close()
	}
}

// TestBodyCutShort: a client that leaves amid its body reaches nobody.
func TestBodyCutShort(t *testing.T) {
	ws, h := pair(t, false, proxy.Config{})
	h.publish(t, issue(ws))
	for _, request := range []string{
		"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + question,
		"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
		"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcde\r\n",
	} {
		conn, err := net.Dial("tcp", h.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request)
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, _ := io.ReadAll(conn)
		if bytes.Contains(answer, []byte(" 200 ")) {
			t.Errorf("%.80q: %s", request, answer)
		}
		_ = conn.Close()
	}
	if n := len(ws.Requests()); n != 0 {
		t.Errorf("%d requests reached the workspace", n)
	}
}

// TestUpgrades: a WebSocket is refused so that agents fall back at once; any
// other upgrade is no reason not to answer.
func TestUpgrades(t *testing.T) {
	ws, h := pair(t, false, proxy.Config{AllowAPI: true})
	h.publish(t, issue(ws))
	for _, path := range []string{"/responses", "/v1/messages", "/v1/chat/completions", "/serving-endpoints/x/y", "/v1beta/models/M:x"} {
		for _, upgrade := range []string{"websocket", "WebSocket", "h2c, websocket"} {
			got := h.do(t, "GET", path, "", "Connection", "keep-alive, Upgrade", "Upgrade", upgrade, "Sec-Websocket-Key", "eA==", "Sec-Websocket-Version", "13")
			if got.StatusCode != http.StatusUpgradeRequired || got.Header.Get("Upgrade") == "" {
				t.Errorf("%s, %s: %d %s", path, upgrade, got.StatusCode, got.body)
			}
		}
	}
	if n := len(ws.Requests()); n != 0 {
		t.Errorf("%d requests reached the workspace", n)
	}
	for _, upgrade := range []string{"\xe9", "h2c", "TLS/1.0", "foo"} {
		got := h.do(t, "POST", "/v1/messages", question, "Connection", "Upgrade, HTTP2-Settings", "Upgrade", upgrade, "Http2-Settings", "AAMAAABk")
		if got.StatusCode != 200 {
			t.Errorf("%s: %d %s", upgrade, got.StatusCode, got.body)
		}
	}
	if got := h.do(t, "GET", "/api/2.0/preview/scim/v2/Me", "", "Connection", "Upgrade", "Upgrade", "websocket"); got.StatusCode != 200 {
		t.Errorf("an API route: %d %s", got.StatusCode, got.body)
	}
	for _, r := range ws.Requests() {
		for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
			if r.Header.Get(name) != "" {
				t.Errorf("%s: %q passed", name, r.Header[name])
			}
		}
	}
}

// TestSwitchingProtocolsUnasked: an upstream can't make a tunnel of an answer.
func TestSwitchingProtocolsUnasked(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "foo")
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	if got := h.do(t, "POST", "/v1/messages", "{}", "Connection", "Upgrade", "Upgrade", "foo"); got.StatusCode != 502 {
		t.Errorf("%d", got.StatusCode)
	}
}

// TestRequestTrailers: none goes upstream, whatever its name, and none is
// announced there.
func TestRequestTrailers(t *testing.T) {
	seen := make(chan http.Header, 1)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.ProtoMajor != 2 {
			t.Errorf("asked by %s", r.Proto)
		}
		seen <- r.Trailer
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	defer up.Close()
	pool := x509.NewCertPool()
	pool.AddCert(up.Certificate())
	h := open(t, proxy.Config{Host: up.URL, RootCAs: pool, ReplayLimit: 1 << 10})
	h.publish(t, pat.New(canary, up.URL))
	for _, size := range []int{10, 100 << 10} { // from memory, and as it comes
		req, err := http.NewRequestWithContext(t.Context(), "POST", h.url+"/v1/messages", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"Authorization": {"Bearer evil"}, "X-Checksum": {"1"}}
		if got := h.send(t, req); got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		if trailer := <-seen; len(trailer) != 0 {
			t.Errorf("%d bytes: upstream got %v", size, trailer)
		}
	}
}

// TestInformational: 1xx answers pass, and trailers.
func TestInformational(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.WriteString(w, "body")
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "2")
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	var hints []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints = append(hints, fmt.Sprint(code, header.Get("Link")))
		return nil
	}})
	req, _ := http.NewRequestWithContext(ctx, "POST", h.url+"/v1/messages", strings.NewReader("{}"))
	got := h.send(t, req)
	if len(hints) != 1 || hints[0] != "103</x>; rel=preload" && hints[0] != "103 </x>; rel=preload" {
		t.Errorf("hints: %q", hints)
	}
	if got.body != "body" || got.Header.Get("Link") != "" || got.Trailer.Get("X-Announced") != "1" || got.Trailer.Get("X-Unannounced") != "2" {
		t.Errorf("%q %v, trailer %v", got.body, got.Header, got.Trailer)
	}
}

// TestCompressedAnswersPass as they are, and none is made or unmade.
func TestCompressedAnswersPass(t *testing.T) {
	const wire = "\x1f\x8b these bytes are what came \x00\xff"
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if accept := r.Header.Get("Accept-Encoding"); accept != "" {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("X-Accepted", accept)
		}
		_, _ = io.WriteString(w, wire)
	})
	h := open(t, proxy.Config{Host: up.URL})
	h.publish(t, pat.New(canary, up.URL))
	got := h.do(t, "POST", "/responses", "{}", "Accept-Encoding", "gzip, br")
	if got.body != wire || got.Header.Get("Content-Encoding") != "gzip" || got.Header.Get("X-Accepted") != "gzip, br" {
		t.Errorf("%q %v", got.body, got.Header)
	}
	if got := h.do(t, "POST", "/responses", "{}"); got.body != wire || got.Header.Get("Content-Encoding") != "" {
		t.Errorf("%q %v", got.body, got.Header)
	}
}

// TestUnknownAuthority: a certificate that nobody vouches for ends it.
func TestUnknownAuthority(t *testing.T) {
	ws := workspace(t, workspacetest.Config{TLS: true})
	h := open(t, proxy.Config{Host: ws.URL})
	h.publish(t, issue(ws))
	got := h.do(t, "POST", "/v1/messages", question)
	if msg := message(t, "anthropic", got); got.StatusCode != 502 || !strings.Contains(msg, "authority") || !strings.Contains(msg, "--upstream-ca") {
		t.Errorf("%d %s", got.StatusCode, msg)
	}
	if len(ws.Requests()) != 0 {
		t.Error("the token was sent")
	}
}

func TestCheckLoops(t *testing.T) {
	ln4, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln4.Close() }()
	port := ln4.Addr().(*net.TCPAddr).Port
	any4, any6 := &net.TCPAddr{Port: port}, &net.TCPAddr{IP: net.IPv6zero, Port: port}
	six := &net.TCPAddr{IP: net.IPv6loopback, Port: port}
	for _, tt := range []struct {
		url  string
		at   []net.Addr
		want bool
	}{
		{"http://127.0.0.1:%d", []net.Addr{ln4.Addr()}, true},
		{"http://127.0.0.1:%d/x", []net.Addr{six, ln4.Addr()}, true},
		{"https://localhost:%d", []net.Addr{ln4.Addr()}, true},
		{"http://[::1]:%d", []net.Addr{six}, true},
		{"http://[::ffff:127.0.0.1]:%d", []net.Addr{ln4.Addr()}, true},
		{"http://0.0.0.0:%d", []net.Addr{ln4.Addr()}, true},
		{"http://127.0.0.1:%d", []net.Addr{any4}, true},
		{"http://127.0.0.1:%d", []net.Addr{any6}, true},
		{"http://127.9.9.9:%d", []net.Addr{any4}, true},
		{"http://127.9.9.9:%d", []net.Addr{ln4.Addr()}, false},
		{"http://127.0.0.1:%d", []net.Addr{six}, false},
		{"http://127.0.0.1:1%d", []net.Addr{ln4.Addr()}, false},
		{"http://192.0.2.1:%d", []net.Addr{any4}, false},
		{"http://nothing.invalid:%d", []net.Addr{any4}, false},
		{"http://127.0.0.1:%d", nil, false},
	} {
		url := tt.url
		if strings.Contains(url, ":1%d") {
			url = strings.Replace(url, ":1%d", ":1", 1)
		} else {
			url = fmt.Sprintf(url, port)
		}
		p, err := proxy.New(proxy.Config{Host: "https://192.0.2.2", AnthropicUpstream: url})
		if err != nil {
			t.Fatal(err)
		}
		err = p.CheckLoops(context.Background(), tt.at...)
		if (err != nil) != tt.want || err != nil && !strings.Contains(err.Error(), "--anthropic-upstream") {
			t.Errorf("%s at %v: %v", url, tt.at, err)
		}
	}
}
