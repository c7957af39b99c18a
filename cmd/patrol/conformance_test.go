//go:build unix

package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// TestConformance shows what the proxy promises, a row for each behaviour,
// through the real binary, before an upstream that speaks plain HTTP/1.1 and
// before one that speaks HTTP/2 over TLS.
//
// Shown through the real binary elsewhere, and not repeated here:
//
//   - what real agents send, and their tasks to the end: TestClientOpenCode and its like
//   - 64 clients that hold a dead token, through 50 rotations: TestAgentsThroughRotations
//   - a dead chain says so in each agent's form, and a login mends it: testdata/script/deadchain.txt
//   - at SIGTERM requests under way finish, a second one cuts them: TestServeStops, TestServeSecondSignal
//   - another user of the machine, --allow-user: TestClientAnotherUser
//   - real web pages in a real browser, rebound names included: TestBrowser
//   - an address or port that can't be had, an upstream that can't be: TestServePortInUse, TestOptionsRefused
//
// Shown in package proxy alone, since it takes minutes, a count in the thousands
// or an inside view: idle HTTP/2 connections that died, the memory that bodies
// take together, no stream of thousands cut.
func TestConformance(t *testing.T) {
	t.Parallel()
	var last []func() // the rows that have begun before the others
	var rigs []*rig
	for _, w := range []wire{{name: "plain", proto: "HTTP/1.1"}, {name: "HTTP2 over TLS", tls: true, proto: "HTTP/2.0"}} {
		r := newRig(t, w)
		r.serveRows(t)
		rigs = append(rigs, r)
		for _, row := range longRows() {
			finish := row.begin(t, r)
			last = append(last, func() { t.Run(w.name+"/"+row.name, finish) })
		}
	}
	for _, r := range rigs {
		t.Run(r.wire.name, func(t *testing.T) {
			for _, row := range slices.Concat(transparentRows(), headerRows(), networkRows(), routeRows(), refusedPathRows(),
				replayRows(), waitRows(), streamRows(), guardRows(), limitRows()) {
				if r.wire.tls || !row.overTLS {
					t.Run(row.name, func(t *testing.T) { row.run(t, r) })
				}
			}
		})
	}
	for _, run := range last {
		run()
	}
}

// A wire is the way in which an upstream is spoken to.
type wire struct {
	name  string
	tls   bool
	proto string
}

// A row is one behaviour.
type row struct {
	name    string
	overTLS bool // it is one of TLS alone
	run     func(t *testing.T, r *rig)
}

// A longRow is one that takes its time, beside the others.
type longRow struct {
	name  string
	begin func(t *testing.T, r *rig) (finish func(t *testing.T))
}

func longRows() []longRow {
	return []longRow{
		{"half a header and then nothing: the connection is closed", beginSlowHeaders},
		{"shutdown lets streams finish for 10 s, then ends them visibly", beginShutdown},
		{"a stream that is silent for longer than any timeout of a header goes on", beginSilence},
	}
}

// rowHeader tells upstream which row a request belongs to.
const rowHeader = "X-Conformance-Row"

// A lab is an upstream: a workspace, before which a row may put a handler.
type lab struct {
	ws *workspacetest.Workspace

	mu       sync.Mutex
	arrivals []arrival
	handlers map[string]http.HandlerFunc // by row
}

// An arrival is a request as it came.
type arrival struct {
	row, proto, method, uri, host string
	header                        http.Header
	body                          string // as on the wire, unless a handler reads it
	signedIn                      bool   // with a live token that patrol has minted, and no more than that
}

func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := arrival{row: r.Header.Get(rowHeader), proto: r.Proto, method: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone(), signedIn: l.signedIn(r)}
	l.mu.Lock()
	h := l.handlers[a.row]
	l.mu.Unlock()
	if h == nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		a.body, r.Body = string(body), io.NopCloser(strings.NewReader(string(body)))
		h = l.ws.ServeHTTP
	}
	l.mu.Lock()
	l.arrivals = append(l.arrivals, a)
	l.mu.Unlock()
	h(w, r)
}

func (l *lab) signedIn(r *http.Request) bool {
	auth := r.Header["Authorization"]
	return len(auth) == 1 && slices.ContainsFunc(l.ws.Live(), func(tok workspacetest.Token) bool {
		return tok.Minted && auth[0] == "Bearer "+tok.Value
	})
}

// handle has h answer the requests of this row.
func (l *lab) handle(t *testing.T, h http.HandlerFunc) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handlers[t.Name()] = h
}

// start serves the lab at an address of its own.
func (l *lab) start(t *testing.T, w wire) (url string, ca []byte) {
	srv := httptest.NewUnstartedServer(l)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	if !w.tls {
		srv.Start()
		return srv.URL, nil
	}
	srv.EnableHTTP2 = true
	srv.StartTLS()
	return srv.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

// A rig is patrol before a lab.
type rig struct {
	*machine
	wire   wire
	lab    *lab
	other  string // base URL of the same lab at another address
	client *http.Client
}

func newRig(t *testing.T, w wire) *rig {
	t.Helper()
	l := &lab{ws: workspacetest.New(workspacetest.Config{}), handlers: map[string]http.HandlerFunc{}}
	url, ca := l.start(t, w)
	r := &rig{wire: w, lab: l, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableCompression: true}}}
	r.other, _ = l.start(t, w)
	t.Cleanup(r.client.CloseIdleConnections)
	r.machine = newHome(t, &workspacetest.Server{Workspace: l.ws, URL: url, CA: ca})
	r.environ = []string{"GORACE=atexit_sleep_ms=0"} // or each end costs a second under -race
	return r
}

// flags adds what it takes to reach the lab.
func (r *rig) flags(t *testing.T, flags ...string) []string {
	if !r.wire.tls {
		return flags
	}
	ca := filepath.Join(r.home, "ca.pem")
	if err := os.WriteFile(ca, r.ws.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	return append(flags, "--upstream-ca", ca)
}

// serve starts patrol and returns once it uses a token that it has minted.
func (r *rig) serve(t *testing.T, flags ...string) {
	t.Helper()
	r.machine.serve(t, r.flags(t, flags...)...)
	await(t, func() bool { return r.status(t).Token.Ours })
}

// The flags that most rows are content with.
const (
	replayLimit = 64 << 10
	allowedHost = "patrol.example"
	clientKey   = "conformance-client-key-0123456789"
)

// serveRows starts the service that most rows share.
func (r *rig) serveRows(t *testing.T) {
	t.Helper()
	// What Python's requests puts in place of a bearer.
	netrc := "machine 127.0.0.1 login someone password else\n"
	if err := os.WriteFile(filepath.Join(r.home, ".netrc"), []byte(netrc), 0o600); err != nil {
		t.Fatal(err)
	}
	second := "[::1]:0"
	if ln, err := net.Listen("tcp", second); err == nil {
		_ = ln.Close()
	} else { // many containers have no IPv6
		second = "127.0.0.1:0"
	}
	r.serve(t, "--listen", second, "--allow-api", "--replay-limit", fmt.Sprint(replayLimit), "--allow-host", allowedHost)
}

// request makes a request of this row. header is names and values by turns.
func (r *rig) request(t *testing.T, method, path string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.proxy+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(rowHeader, t.Name())
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

// An outcome is an answer, and the error that its body ended with.
type outcome struct {
	*http.Response
	body string
	err  error
}

func (r *rig) send(t *testing.T, req *http.Request) outcome {
	t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return outcome{Response: new(http.Response), err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return outcome{resp, string(body), err}
}

func (r *rig) ask(t *testing.T, method, path, body string, header ...string) outcome {
	t.Helper()
	return r.send(t, r.request(t, method, path, strings.NewReader(body), header...))
}

// raw sends these bytes over a connection of their own, and returns the answer.
// "ROW" in them stands for the row's header.
func (r *rig) raw(t *testing.T, request string) outcome {
	t.Helper()
	conn := r.dial(t)
	_, _ = io.WriteString(conn, strings.ReplaceAll(request, "ROW", rowHeader+": "+t.Name())) // refused before its end, perhaps
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("%.80q: %v", request, err)
		return outcome{Response: new(http.Response), err: err}
	}
	body, err := io.ReadAll(resp.Body)
	return outcome{resp, string(body), err}
}

// dial opens a connection to the proxy that ends with the test, or with patience.
func (r *rig) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.proxy, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// arrived returns what came upstream of this row, n requests, or -1 for any
// number. Each came by the rig's wire, with a token of patrol's and no other
// credential.
func (r *rig) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	var all []arrival
	r.lab.mu.Lock()
	for _, a := range r.lab.arrivals {
		if a.row == t.Name() {
			all = append(all, a)
		}
	}
	r.lab.mu.Unlock()
	if n >= 0 && len(all) != n {
		t.Fatalf("%d requests came upstream, want %d", len(all), n)
	}
	for _, a := range all {
		if a.proto != r.wire.proto || !a.signedIn {
			t.Errorf("%s %s came by %s, signed in by patrol's token alone: %v", a.method, a.uri, a.proto, a.signedIn)
			break
		}
	}
	return all
}

// rotate has the service rotate.
func (r *rig) rotate(t *testing.T) {
	t.Helper()
	if _, err := r.control.Rotate(t.Context()); err != nil {
		t.Fatalf("rotating: %v", err)
	}
}

// hold waits until open yields something. A request that ends before ends the handler
// with it, so that a row that fails doesn't hang.
func hold(req *http.Request, open <-chan struct{}) {
	select {
	case <-open:
	case <-req.Context().Done():
		panic(http.ErrAbortHandler)
	}
}

// reset ends an answer as a crash would: the connection of HTTP/1.1, the stream
// of HTTP/2.
func reset(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// eventuallyWithin waits for a channel's value; what says what it is.
func eventuallyWithin[T any](t *testing.T, d time.Duration, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(d):
		t.Fatalf("not within %v: %s", d, what)
	}
	return v
}
