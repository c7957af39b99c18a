//go:build unix

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/workspacetest"
)

func networkRows() []row {
	return []row{
		{name: "a certificate that nobody vouches for gets no token", only: overTLS, run: showUnknownAuthority},
		{name: "HTTPS_PROXY is honoured", only: ofBinary | overTLS, run: showEnvironmentsProxy},
		{name: "an upstream that is ourselves is refused at start", only: ofBinary, run: showLoops},
		{name: "each address is served", run: showAddresses},
	}
}

func showUnknownAuthority(t *testing.T, f *fixture) {
	own := f.with(t, settings{stranger: true, wait: -1})
	got := own.ask(t, http.MethodPost, "/v1/messages", question)
	text, _ := got.message(t, anthropic)
	said := strings.Contains(text, "authority") && strings.Contains(text, "--upstream-ca")
	if got.StatusCode/100 != 5 || own.binary == nil && !said { // the binary has no token to send
		t.Errorf("%d %s", got.StatusCode, text)
	}
	own.awaitLog(t, "certificate")
	own.mu.Lock()
	defer own.mu.Unlock()
	if n := len(own.arrivals) + len(own.ws.Requests()); n > 0 {
		t.Errorf("%d requests came upstream", n)
	}
}

// tunnels is an HTTP proxy that leads every tunnel to one address.
type tunnels struct {
	mu    sync.Mutex
	to    string
	asked []string
}

func (p *tunnels) lead(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI)
	to := p.to
	p.mu.Unlock()
	up, err := net.Dial("tcp", to)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer up.Close()
	down, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(down, up)
		_ = down.Close()
	})
	_, _ = io.Copy(up, down)
	_ = up.Close()
	back.Wait()
}

// The name in the upstream's certificate is of a server out in the world, so that
// no request for it gets there but through the proxy.
func showEnvironmentsProxy(t *testing.T, f *fixture) {
	between := new(tunnels)
	srv := httptest.NewServer(between)
	t.Cleanup(srv.Close)
	const name = "example.com"
	via := f.with(t, settings{openAI: "https://" + name + "/base", environ: []string{"HTTPS_PROXY=" + srv.URL}})
	between.lead(strings.TrimPrefix(via.other, "https://"))
	got := via.ask(t, http.MethodPost, "/responses", question)
	if a := via.arrived(t, 1)[0]; a.host != name || a.uri != "/base/responses" {
		t.Errorf("%d, came to %s%s", got.StatusCode, a.host, a.uri)
	}
	between.mu.Lock()
	defer between.mu.Unlock()
	if len(between.asked) != 1 || between.asked[0] != "CONNECT "+name+":443" {
		t.Errorf("the proxy was asked for %q", between.asked)
	}
	via.binary.stop(t) // so that the tunnel ends
}

func showLoops(t *testing.T, f *fixture) {
	for _, tt := range []struct{ flag, upstream, environ string }{
		{"--upstream", "http://127.0.0.1:PORT/v1", ""},
		{"--anthropic-upstream", "http://localhost:PORT", ""},
		{"--openai-upstream", "https://127.0.0.1:PORT", ""},
		{"--gemini-upstream", "http://[::ffff:127.0.0.1]:PORT", ""},
		{"--gateway", "http://127.0.0.1:PORT", ""},
		{"--openai-upstream", "https://upstream.example", "HTTPS_PROXY=http://localhost:PORT"},
	} {
		code, out := 0, "the port is in use"
		for strings.Contains(out, "the port is in use") { // it may be somebody else's by then
			port := freePort(t)
			own := newTestServiceOf(t, &workspacetest.Server{Workspace: f.ws, URL: f.upstream.url})
			cmd := own.command("serve", "--listen", "127.0.0.1:"+port, tt.flag, strings.ReplaceAll(tt.upstream, "PORT", port))
			cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0", strings.ReplaceAll(tt.environ, "PORT", port))
			text, _ := cmd.CombinedOutput() // the code tells
			code, out = cmd.ProcessState.ExitCode(), string(text)
		}
		if code != cli.ExitUsage || !strings.Contains(out, "address") {
			t.Errorf("%s %s %s: exit code %d: %s", tt.flag, tt.upstream, tt.environ, code, out)
		}
	}
}

// freePort returns a port that nobody has, for now.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

func showAddresses(t *testing.T, f *fixture) {
	if len(f.addresses()) != 2 {
		t.Fatalf("listening on %q, want two addresses", f.addresses())
	}
	for _, addr := range f.addresses() {
		req := f.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question))
		req.URL.Host = addr
		req.Host = addr
		if got := f.send(t, req); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", addr, got.StatusCode, got.body)
		}
	}
	f.arrived(t, len(f.addresses()))
}
