//go:build unix

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

func networkRows() []row {
	return []row{
		{name: "a certificate that nobody vouches for gets no token", overTLS: true, run: showUnknownAuthority},
		{name: "HTTPS_PROXY is honoured", overTLS: true, run: showEnvironmentsProxy},
		{name: "an upstream that is ourselves is refused at start", run: showLoops},
		{name: "each address is served", run: showAddresses},
	}
}

func showUnknownAuthority(t *testing.T, r *rig) {
	other := newRig(t, r.wire)
	other.start(t, "--wait", "0s")
	got := other.ask(t, http.MethodPost, "/v1/messages", question)
	if got.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	awaitLog(t, other.machine, "certificate")
	other.lab.mu.Lock()
	defer other.lab.mu.Unlock()
	if n := len(other.lab.arrivals) + other.ws.Count(); n > 0 {
		t.Errorf("%d requests came upstream", n)
	}
}

// awaitLog waits until the log says what.
func awaitLog(t *testing.T, m *machine, what string) {
	t.Helper()
	await(t, func() bool { return strings.Contains(m.log.String(), what) })
}

// tunnels is an HTTP proxy that leads every tunnel to one address.
type tunnels struct {
	to string

	mu    sync.Mutex
	asked []string
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI)
	p.mu.Unlock()
	up, err := net.Dial("tcp", p.to)
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

// The name in the lab's certificate is of a server out in the world, so that no
// request of it gets to the lab but through the proxy.
func showEnvironmentsProxy(t *testing.T, r *rig) {
	via := newRig(t, r.wire)
	upstream, err := url.Parse(via.other)
	if err != nil {
		t.Fatal(err)
	}
	between := &tunnels{to: upstream.Host}
	srv := httptest.NewServer(between)
	t.Cleanup(srv.Close)
	via.environ = append(via.environ, "HTTPS_PROXY="+srv.URL)
	name := "example.com:" + upstream.Port()
	via.serve(t, "--openai-upstream", "https://"+name+"/base")
	got := via.ask(t, http.MethodPost, "/responses", question)
	if a := via.arrived(t, 1)[0]; a.host != name || a.uri != "/base/responses" {
		t.Errorf("%d, came to %s%s", got.StatusCode, a.host, a.uri)
	}
	between.mu.Lock()
	defer between.mu.Unlock()
	if len(between.asked) != 1 || between.asked[0] != "CONNECT "+name {
		t.Errorf("the proxy was asked for %q", between.asked)
	}
	via.stop(t) // so that the tunnel ends
}

func showLoops(t *testing.T, r *rig) {
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
			cmd := newRig(t, r.wire).command("serve", "--listen", "127.0.0.1:"+port, tt.flag, strings.ReplaceAll(tt.upstream, "PORT", port))
			cmd.Env = append(cmd.Env, strings.ReplaceAll(tt.environ, "PORT", port))
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

func showAddresses(t *testing.T, r *rig) {
	if len(r.listen) != 2 {
		t.Fatalf("listening on %q, want two addresses", r.listen)
	}
	for _, addr := range r.listen {
		req := r.request(t, http.MethodPost, "/v1/messages", strings.NewReader(question))
		req.URL.Host = addr
		req.Host = addr
		if got := r.send(t, req); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", addr, got.StatusCode, got.body)
		}
	}
	r.arrived(t, len(r.listen))
}
