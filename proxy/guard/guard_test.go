package guard

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/pat"
)

const canary = "dapi-canary-0123456789"

func newGuard(t testing.TB, cfg Config) *Guard {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

// handler answers 200, or what the guard's refusal says.
func handler(g *Guard) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal := g.Check(r)
		if refusal == nil {
			_, _ = io.WriteString(w, "in")
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
	srv := &http.Server{Handler: handler(g), ConnContext: g.ConnContext, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
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

// key is a client key that lets requests in wherever the test runs.
const key = "0123456789abcdef-key"

// TestHost sends each Host as it stands. What net/http itself refuses shows
// no reason.
func TestHost(t *testing.T) {
	g := newGuard(t, Config{AllowHosts: []string{"Patrol.Example", "10.1.2.3", "2001:DB8:0::7"}, ClientKeys: []string{key}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	in := []string{
		"localhost", "localhost:4000", "LOCALHOST", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:4000",
		"patrol.example", "PATROL.example:443", "10.1.2.3:80", "[2001:db8::7]", "[2001:DB8::7]:4000", addr,
	}
	out := []string{
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
		hosts []string
		in    bool
	}{{in, true}, {out, false}} {
		for _, host := range test.hosts {
			status, reason, body := requestOnce(t, addr, "GET / HTTP/1.1\nHost: "+host+"\nX-Api-Key: "+key+"\n\n")
			if refused := status == 403 && reason == "host" || status == 400 && reason == ""; refused == test.in || (status == 200) != test.in {
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
	addr := serve(t, newGuard(t, Config{ClientKeys: []string{key}}), "tcp4", "127.0.0.1:0")
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
	g := newGuard(t, Config{AllowHosts: []string{"patrol.example"}, ClientKeys: []string{key}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	tests := []struct{ host, headers, reason string }{
		{"localhost:4000", "", ""},
		{"localhost:4000", "Sec-Fetch-Site: none", ""},
		{"localhost:4000", "Sec-Fetch-Site: same-origin", ""},
		{"localhost:4000", "Sec-Fetch-Mode: cors", ""}, // Node's fetch
		{"localhost:4000", "Origin: http://localhost:4000", ""},
		{"LOCALHOST:4000", "Origin: http://localhost:4000\nSec-Fetch-Site: same-origin", ""},
		{"[::1]:4000", "Origin: http://[::1]:4000", ""},
		{"localhost", "Origin: http://localhost", ""},
		{"patrol.example", "Origin: https://patrol.example", ""},

		{"localhost:4000", "Origin: http://localhost:3000", "origin"}, // another program's page
		{"localhost:4000", "Origin: http://localhost", "origin"},
		{"localhost:4000", "Origin: http://127.0.0.1:4000", "origin"}, // a page of ours by another name: not the same origin
		{"localhost:4000", "Origin: null", "origin"},                  // sandboxed frames, file:, redirects
		{"localhost:4000", "Origin:", "origin"},
		{"localhost:4000", "Origin: file://", "origin"},
		{"localhost:4000", "Origin: localhost:4000", "origin"},
		{"localhost:4000", "Origin: //localhost:4000", "origin"},
		{"localhost:4000", "Origin: ftp://localhost:4000", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000/", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000.evil.com", "origin"},
		{"localhost:4000", "Origin: http://evil.com/localhost:4000", "origin"},
		{"localhost:4000", "Origin: http://x@localhost:4000", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000, http://evil.com", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000\nOrigin: http://evil.com", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000\nOrigin: http://localhost:4000", "origin"},
		{"localhost:4000", "Origin: http://localho\u017ft:4000", "origin"},
		{"localhost:4000", "Origin: chrome-extension://abcdefghijklmnop", "origin"},
		{"localhost:4000", "Origin: vscode-webview://x", "origin"},
		{"localhost:4000", "Origin: https://evil.com", "origin"},
		{"localhost:4000", "Origin: http://localhost:4000\nSec-Fetch-Site: cross-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: cross-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: same-site", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site:", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: None", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: none, none", "fetch_site"},
		{"localhost:4000", "Sec-Fetch-Site: none\nSec-Fetch-Site: cross-site", "fetch_site"},
		{"localhost:4000", "sec-fetch-site: cross-site", "fetch_site"},
		// A name that was rebound to 127.0.0.1: all is same-origin to the browser.
		{"evil.com:4000", "Origin: http://evil.com:4000\nSec-Fetch-Site: same-origin", "host"},
		{"evil.com:4000", "Sec-Fetch-Site: none", "host"},
		{"patrol.example:81", "Origin: http://patrol.example:82", "origin"},
	}
	methods := []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "QUERY"}
	for _, test := range tests {
		for _, method := range methods {
			request := method + " /v1/models HTTP/1.1\nHost: " + test.host + "\nX-Api-Key: " + key + "\n"
			if test.headers != "" {
				request += test.headers + "\n"
			}
			if method == "POST" {
				request += "Content-Type: text/plain\nContent-Length: 0\n"
			}
			want := 403
			if test.reason == "" {
				want = 200
			}
			if status, reason, _ := requestOnce(t, addr, request+"\n"); status != want || reason != test.reason {
				t.Errorf("%s to %s with %q: %d %s, want %d %s", method, test.host, test.headers, status, reason, want, test.reason)
			}
		}
	}
}

// TestBlindBrowser: a browser doesn't say of an image that a page elsewhere
// asked for it, under a name that isn't loopback's.
func TestBlindBrowser(t *testing.T) {
	g := newGuard(t, Config{AllowHosts: []string{"patrol.example"}, ClientKeys: []string{key}})
	addr := serve(t, g, "tcp4", "127.0.0.1:0")
	const mozilla = "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\n"
	for _, test := range []struct{ host, headers, reason string }{
		{"patrol.example:4000", mozilla, "fetch_site"},
		{"patrol.example:4000", mozilla + "X-Api-Key: " + key + "\n", ""},
		{"patrol.example:4000", mozilla + "Origin: http://patrol.example:4000\n", ""},
		{"patrol.example:4000", "User-Agent: curl/8.0\n", ""},
		{"localhost:4000", mozilla, ""},
	} {
		_, reason, _ := requestOnce(t, addr, "GET /v1/models HTTP/1.1\nHost: "+test.host+"\n"+test.headers+"\n")
		if reason != test.reason {
			t.Errorf("%s with %q: refused for %q, want %q", test.host, test.headers, reason, test.reason)
		}
	}
}

// TestCredential checks requests whose connection is unknown to the guard: as
// on a system that doesn't tell who owns a socket.
func TestCredential(t *testing.T) {
	retired := pat.New(canary, "https://w.example")
	tooLong := pat.New(strings.Repeat("x", 1<<20), "https://w.example")
	g := newGuard(t, Config{
		ClientKeys: []string{"first-client-key-0001", "second-client-key-002"},
		Known:      func(hash string) bool { return hash == retired.Hash() || hash == tooLong.Hash() },
	})
	type headers map[string][]string
	tests := []struct {
		headers headers
		in      bool
	}{
		{headers{"Authorization": {"Bearer " + canary}}, true},
		{headers{"Authorization": {"bearer   " + canary + " "}}, true},
		{headers{"X-Api-Key": {canary}}, true},
		{headers{"X-Goog-Api-Key": {canary}}, true},
		{headers{"Authorization": {"Bearer first-client-key-0001"}}, true},
		{headers{"X-Api-Key": {"second-client-key-002"}}, true},
		{headers{"Authorization": {"Bearer dummy"}, "X-Api-Key": {canary}}, true}, // Claude Code with a helper
		{headers{"Authorization": {"Bearer dummy", "Bearer " + canary}}, true},

		{nil, false},
		{headers{"Authorization": {canary}}, false},
		{headers{"Authorization": {"Basic " + canary}}, false},
		{headers{"Authorization": {"Bearer"}}, false},
		{headers{"Authorization": {"Bearer "}}, false},
		{headers{"Authorization": {"Bearer " + canary + "x"}}, false},
		{headers{"Authorization": {"Bearer " + canary[1:]}}, false},
		{headers{"Authorization": {"Bearer " + retired.Hash()}}, false}, // the ledger is no list of credentials
		{headers{"X-Api-Key": {""}}, false},
		{headers{"X-Api-Key": {"first-client-key-0002"}}, false},
		{headers{"X-Api-Key": {"first-client-key-000"}}, false},
		{headers{"X-Api-Key": {tooLong.Expose()}}, false},
		{headers{"X-Api-Key": {"1", "2", "3", "4", "5", "6", "7", "8", canary}}, false},
		{headers{"Cookie": {canary}}, false},
		{headers{"Proxy-Authorization": {"Bearer " + canary}}, false},
	}
	for _, test := range tests {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
		r.Host = "localhost:4000"
		maps.Copy(r.Header, http.Header(test.headers))
		refusal := g.Check(r)
		switch {
		case test.in && refusal != nil:
			t.Errorf("%v: refused: %v", test.headers, refusal)
		case !test.in && (refusal == nil || refusal.Status != 401 || refusal.Reason != "owner_unknown"):
			t.Errorf("%v: %v, want 401 owner_unknown", test.headers, refusal)
		case !test.in && (!strings.Contains(refusal.Message, "patrol token") || !strings.Contains(refusal.Message, "--client-key-file")):
			t.Errorf("the message doesn't say how to be let in: %s", refusal.Message)
		}
	}
	if got := g.Counters()["owner_unknown"]; got != 15 {
		t.Errorf("counted %d refusals, want 15", got)
	}
	// A credential mends nothing else.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "evil.com"
	r.Header.Set("X-Api-Key", canary)
	if refusal := g.Check(r); refusal == nil || refusal.Reason != "host" {
		t.Errorf("a credential let in a foreign Host: %v", refusal)
	}
}

func TestClientKeyErrors(t *testing.T) {
	for _, bad := range []string{"", "short", "with spaces in the middle", "newline-in-the-key\n", strings.Repeat("k", 5000), "ключ-ключ-ключ-ключ"} {
		_, err := New(Config{ClientKeys: []string{key, bad}})
		if err == nil || !strings.Contains(err.Error(), "client key 2") {
			t.Errorf("%q: %v, want an error that names key 2", bad, err)
		}
		if err != nil && bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
	if _, err := New(Config{MaxConns: -1}); err == nil {
		t.Error("a negative limit was accepted")
	}
}

// TestLog floods the guard with refusals that carry credentials wherever a
// request has room for one.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		g := newGuard(t, Config{Log: slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		flood := func(n int) (lines []string) {
			buf.Reset()
			for i := range n {
				r := httptest.NewRequest(http.MethodGet, "/"+canary+"?key="+canary, nil)
				r.Host = "localhost:4000"
				r.Header = http.Header{
					"Authorization": {"Bearer " + canary}, "X-Api-Key": {canary}, "X-Goog-Api-Key": {canary}, "Cookie": {canary},
					"User-Agent": {canary}, "Referer": {"http://x/" + canary},
				}
				switch i % 3 {
				case 1:
					r.Host = "user:" + canary + "@evil.com"
				case 2:
					r.Header["Origin"] = []string{"http://user:" + canary + "@evil.com"}
				}
				if refusal := g.Check(r); refusal == nil || strings.Contains(refusal.Message, canary) {
					t.Fatalf("Check = %v", refusal)
				}
			}
			if strings.Contains(buf.String(), canary) {
				t.Fatalf("a credential is in the log:\n%s", buf.String())
			}
			return strings.Split(strings.TrimSpace(buf.String()), "\n")
		}
		if lines := flood(30_000); len(lines) != 3*logBurst {
			t.Errorf("30,000 refusals for 3 reasons made %d lines, want %d", len(lines), 3*logBurst)
		}
		time.Sleep(logEvery)
		lines := flood(300)
		if len(lines) != 3 {
			t.Fatalf("a minute later: %d lines, want 3:\n%s", len(lines), buf.String())
		}
		var line struct {
			Reason    string `json:"reason"`
			NotLogged int    `json:"not_logged"`
		}
		if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || line.Reason == "" || line.NotLogged != 10_000-logBurst {
			t.Errorf("the first line tells %+v (%v), want the number of those not logged: %s", line, err, lines[0])
		}
		time.Sleep(time.Hour)
		if lines := flood(3000); len(lines) != 3*logBurst {
			t.Errorf("after an hour of quiet: %d lines, want %d", len(lines), 3*logBurst)
		}
		if got := g.Counters(); got["host"] != 11_100 || got["origin"] != 11_100 || got["owner_unknown"] != 11_100 || got["remote"] != 0 || len(got) != int(reasonCount) {
			t.Errorf("Counters() = %v", got)
		}
	})
}

// TestLogNames checks that a refused client's own words reach the log only
// as far as they are a name.
func TestLogNames(t *testing.T) {
	for authority, want := range map[string]string{
		"evil.com:80": "evil.com:80", "": "(none)", "a\nb": "(malformed)", "x@y": "(malformed)", "\x1b[31m": "(malformed)",
		strings.Repeat("a", 300): "(malformed)",
	} {
		if got := displayAuthority(authority); got != want {
			t.Errorf("printable(%q) = %q, want %q", authority, got, want)
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
	srv := httptest.NewUnstartedServer(handler(g))
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
