package guard

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const canary = "dapi-canary-0123456789"

func newGuard(t testing.TB, cfg Config) *Guard {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	g.SetKeys(testKeys())
	return g
}

// The client keys that each guard of these tests has: one in force, one revoked.
const (
	key        = "patrol-0123456789abcdef"
	revokedKey = "patrol-fedcba9876543210"
)

func testKeys() (live, revoked []ClientKey) {
	return []ClientKey{{"laptop", sha256.Sum256([]byte(key))}}, []ClientKey{{"lost", sha256.Sum256([]byte(revokedKey))}}
}

// asked is what these tests' paths are for.
var asked = map[string]Asked{"/page": OwnPage, "/open": OpenPage, "/probe": Probe}

// newHandler answers 200, or what the guard's refusal says.
func newHandler(g *Guard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, refusal := g.Check(r, asked[r.URL.Path])
		if refusal == nil {
			w.Header().Set("Client", client.Name)
			_, _ = io.WriteString(w, map[bool]string{false: "in", true: "stranger"}[client.Stranger])
			return
		}
		if refusal.Close {
			w.Header().Set("Connection", "close")
		}
		w.Header().Set("Reason", refusal.Reason)
		w.WriteHeader(refusal.Status)
		_, _ = io.WriteString(w, refusal.Message)
	})
}

// serve runs a server behind g and returns its address.
func serve(t testing.TB, g *Guard, network, address string) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Skipf("no %s here: %v", network, err)
	}
	serveOn(t, g, l)
	return l.Addr().String()
}

func serveOn(t testing.TB, g *Guard, l net.Listener) {
	t.Helper()
	srv := &http.Server{Handler: newHandler(g), ConnContext: g.ConnContext, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
}

// sendRequest sends a request as it stands, with \n for CRLF, and returns the
// status, the refusal's reason and the body.
func sendRequest(c net.Conn, request string) (status int, reason, body string, err error) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		return 0, "", "", err
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Reason"), string(text), err
}

func requestOnce(t testing.TB, addr, request string) (status int, reason, body string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	status, reason, body, err = sendRequest(c, request)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	return status, reason, body
}

// TestHost sends each Host as it stands. What net/http itself refuses shows
// no reason.
func TestHost(t *testing.T) {
	g := newGuard(t, Config{AllowHosts: []string{"Patrol.Example", "10.1.2.3", "2001:DB8:0::7"}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	accepted := []string{
		"localhost", "localhost:4000", "LOCALHOST", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:4000",
		"patrol.example", "PATROL.example:443", "10.1.2.3:80", "[2001:db8::7]", "[2001:DB8::7]:4000", addr,
	}
	refused := []string{
		"127.0.0.1.evil.com", "127.0.0.1.evil.com:4000", "localhost.evil", "evil-localhost", "evil.com", "evil.com:4000", "xlocalhost", "localhos",
		"127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "127.0.0.01", "127.000.000.001", "127.0.0.2", "0.0.0.0", "0",
		"localhost.", "127.0.0.1.", "localhost.:4000", "localhost..", ".localhost", "localhost.localdomain", "foo.localhost", "ip6-localhost",
		"::1", "::1:4000", "[::1", "[::1]x", "[::1]:", "[::]", "[::ffff:127.0.0.1]", "[0:0:0:0:0:0:0:1]", "[::01]", "[::1%25lo]", "[::1%lo]", "[]", "[[::1]]",
		"localhost:", "localhost:4000:4000", "localhost:http", "localhost:+80", "localhost:-1", "localhost:123456", "localhost: 80", "localhost:8 0",
		"user@localhost", "localhost@evil.com", "evil.com@localhost", "localhost:80@evil.com", "localhost/", "localhost/x", "localhost?x", "localhost#x", "localhost\\x",
		"http://localhost", "localhost,evil.com", "localhost evil.com", "localhost;", "local%68ost", "localho\u017ft", "127.0.0\u3002" + "1", "\uff11" + "27.0.0.1",
		"*", "", ":4000", "null", "patrol.example.", "sub.patrol.example", "10.1.2.30", "110.1.2.3", "[2001:db8:0::7]", "2001:db8::7",
	}
	for _, test := range []struct {
		hosts    []string
		accepted bool
	}{{accepted, true}, {refused, false}} {
		for _, host := range test.hosts {
			status, reason, body := requestOnce(t, addr, "GET / HTTP/1.1\nHost: "+host+"\nX-Api-Key: "+key+"\n\n")
			if refused := status == 403 && reason == "host" || status == 400 && reason == ""; refused == test.accepted || (status == 200) != test.accepted {
				t.Errorf("Host %q: %d %s %s", host, status, reason, body)
			}
		}
	}
	for _, request := range []string{
		"GET / HTTP/1.0\n\n",                  // no Host at all
		"GET / HTTP/1.0\nHost: evil.com\n\n",  // an old client that names another
		"OPTIONS / HTTP/1.1\nHost: evil\n\n",  // whatever the method
		"HEAD / HTTP/1.1\nHost: evil\n\n",     //
		"BREW /api HTTP/1.1\nHost: evil\n\n",  //
		"GET //x/y HTTP/1.1\nHost: evil\n\n",  //
		"PUT /x HTTP/1.1\nHost: 0.0.0.0\n\n",  // reaches a loopback listener from a browser on Linux and macOS
		"POST / HTTP/1.1\nHost: evil:80\n\n",  //
		"DELETE / HTTP/1.1\nHost: [::]:1\n\n", //
	} {
		if status, reason, body := requestOnce(t, addr, request); status != 403 || reason != "host" {
			t.Errorf("%q: %d %s %s", request, status, reason, body)
		}
	}
	for _, request := range []string{
		"GET / HTTP/1.1\n\n",
		"GET / HTTP/1.1\nHost: localhost\nHost: evil.com\n\n",
		"GET / HTTP/1.1\nHost: localhost\nHost: localhost\n\n",
	} {
		if status, _, body := requestOnce(t, addr, request); status != 400 {
			t.Errorf("%q: %d %s, want net/http to refuse it", request, status, body)
		}
	}
}

func TestAllowHostsErrors(t *testing.T) {
	for entry, want := range map[string]string{
		"http://x.example": "without the scheme", "x.example:80": "without the port", "x.example.": "dot at its end",
		"*.example": "patterns", "": "neither", "a b": "neither", "user@x": "neither", "x/y": "neither", "fe80::1%eth0": "zone",
		"0.0.0.0": "no host", "::": "no host", "[::]": "no host", "bücher.example": "neither", "[::1]:4000": "without the port",
	} {
		if _, err := New(Config{AllowHosts: []string{entry}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("AllowHosts %q: %v, want an error with %q", entry, err, want)
		}
	}
}

func TestTarget(t *testing.T) {
	addr := serve(t, newGuard(t, Config{}), "tcp4", "127.0.0.1:0")
	for _, line := range []string{
		"GET http://evil.com/ HTTP/1.1", "GET http://localhost:4000/api HTTP/1.1", "GET https://127.0.0.1/ HTTP/1.1", "POST http://user:" + canary + "@localhost/ HTTP/1.1",
		"CONNECT localhost:443 HTTP/1.1", "CONNECT evil.com:443 HTTP/1.1", "GET file:///etc/passwd HTTP/1.1", "GET mailto:x HTTP/1.1",
	} {
		status, reason, body := requestOnce(t, addr, line+"\nHost: localhost\nX-Api-Key: "+key+"\n\n")
		if status != 400 || reason != "target" {
			t.Errorf("%s: %d %s %s", line, status, reason, body)
		}
		if strings.Contains(body, canary) {
			t.Errorf("%s: the answer repeats a credential: %s", line, body)
		}
	}
}

// TestBrowser is a table of what browsers send, and what they can't be made
// to leave out.
func TestBrowser(t *testing.T) {
	g := newGuard(t, Config{AllowHosts: []string{"patrol.example"}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	tests := []struct{ host, headers, reason string }{
		{"localhost:4000", "", ""},
		{"localhost:4000", "Sec-Fetch-Site: none", ""},
		{"localhost:4000", "Sec-Fetch-Site: none\nSec-Fetch-Mode: no-cors\nSec-Fetch-Dest: empty\nUser-Agent: Mozilla/5.0", ""}, // a program on Chromium's stack
		{"localhost:4000", "Sec-Fetch-Mode: cors", ""}, // Node's fetch

		// Our own origin is what another program may have left in the browser.
		{"localhost:4000", "Sec-Fetch-Site: same-origin", "fetch_site"},
		{"localhost:4000", "Origin: http://localhost:4000", "origin"},
		{"LOCALHOST:4000", "Origin: http://localhost:4000\nSec-Fetch-Site: same-origin", "origin"},
		{"[::1]:4000", "Origin: http://[::1]:4000", "origin"},
		{"patrol.example", "Origin: https://patrol.example", "origin"},
		{"localhost:4000", "Service-Worker: script\nSec-Fetch-Site: same-origin", "service_worker"},
		{"localhost:4000", "Service-Worker: script", "service_worker"},

		{"localhost:4000", "Origin: http://localhost:3000", "origin"}, // another program's page
		{"localhost:4000", "Origin: null", "origin"},                  // sandboxed frames, file:, redirects
		{"localhost:4000", "Origin:", "origin"},
		{"localhost:4000", "Origin: localhost:4000", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000\nOrigin: http://evil.com", "origin"},
		{"localhost:4000", "Origin: chrome-extension://abcdefghijklmnop", "origin"},
		{"localhost:4000", "Origin: vscode-webview://x", "origin"},
		{"localhost:4000", "Origin: https://evil.com", "origin"},
		{"localhost:4000", "Sec-Fetch-Site: cross-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: same-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site:", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: None", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: none, none", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: none\nSec-Fetch-Site: cross-site", "fetch_site"},
		{"localhost:4000", "sec-fetch-site: cross-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: cross-site\nSec-Fetch-Mode: navigate", "fetch_site"}, // a link elsewhere
		// What a person types into the address bar.
		{"localhost:4000", "Sec-Fetch-Site: none\nSec-Fetch-Mode: navigate\nSec-Fetch-Dest: document", "navigation"},
		{"localhost:4000", "Sec-Fetch-Mode: Navigate", "navigation"},
		{"localhost:4000", "Sec-Fetch-Mode: cors\nSec-Fetch-Mode: navigate", "navigation"},
		// A name that was rebound to 127.0.0.1: all is same-origin to the browser.
		{"evil.com:4000", "Origin: http://evil.com:4000\nSec-Fetch-Site: same-origin", "origin"},
		{"evil.com:4000", "Sec-Fetch-Site: none", "host"},
		{"evil.com:4000", "User-Agent: Mozilla/5.0", "host"},
	}
	methods := []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"}
	for _, test := range tests {
		for _, path := range []string{"/v1/models", "/page", "/open", "/probe"} {
			for _, method := range methods {
				request := method + " " + path + " HTTP/1.1\nHost: " + test.host + "\nX-Api-Key: " + key + "\n"
				if test.headers != "" {
					request += test.headers + "\n"
				}
				if method == "POST" {
					request += "Content-Type: text/plain\nContent-Length: 0\n"
				}
				want, wantStatus := test.reason, 403
				if want == "navigation" && path != "/v1/models" || test.headers == "Sec-Fetch-Site: none" && path == "/probe" {
					want = "" // a person, and a supervisor that knows us by another name
				}
				if want == "" {
					wantStatus = 200
				}
				if status, reason, _ := requestOnce(t, addr, request+"\n"); status != wantStatus || reason != want {
					t.Errorf("%s %s to %s with %q: %d %s, want %d %s", method, path, test.host, test.headers, status, reason, wantStatus, want)
				}
			}
		}
	}
}

// TestBrowserWithoutOrigin: a browser doesn't say of an image that a page elsewhere
// asked for it, under a name that isn't loopback's.
func TestBrowserWithoutOrigin(t *testing.T) {
	g := newGuard(t, Config{AllowHosts: []string{"patrol.example"}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	const mozilla = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\n"
	for _, test := range []struct{ host, headers, reason string }{
		{"patrol.example:4000", mozilla, "fetch_site"},
		{"patrol.example:4000", mozilla + "X-Api-Key: x\n", "fetch_site"},
		{"patrol.example:4000", mozilla + "X-Api-Key: " + key + "\n", ""},
		{"patrol.example:4000", "User-Agent: curl/8.0\nX-Api-Key: " + key + "\n", ""},
		{"localhost:4000", mozilla + "X-Api-Key: " + key + "\n", ""},
	} {
		_, reason, _ := requestOnce(t, addr, "GET /v1/models HTTP/1.1\nHost: "+test.host+"\n"+test.headers+"\n")
		if reason != test.reason {
			t.Errorf("%s with %q: refused for %q, want %q", test.host, test.headers, reason, test.reason)
		}
	}
}

func ExampleGuard() {
	g, err := New(Config{AllowHosts: []string{"devbox.example"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = g.Close() }()
	srv := httptest.NewUnstartedServer(newHandler(g))
	srv.Config.ConnContext = g.ConnContext
	srv.Listener = g.Limit(srv.Listener)
	srv.Start()
	defer srv.Close()

	r, _ := http.NewRequest(http.MethodPost, srv.URL+"/v1/messages", strings.NewReader("{}"))
	r.Header.Set("Origin", "https://evil.example")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("Reason"))
	// Output: 403 origin
}
