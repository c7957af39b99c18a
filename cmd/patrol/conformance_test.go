//go:build unix

package main

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"
)

// TestConformance shows what the proxy promises, a row for each behaviour. Each
// row runs four times: before the proxy in this process and through the real
// binary, and with an upstream that speaks plain HTTP/1.1 and with one that
// speaks HTTP/2 over TLS.
//
// Shown through the real binary elsewhere, and not repeated here:
//
//   - what real agents send, and their tasks to the end: TestClientOpenCode and its like
//   - 64 clients that hold a dead token, through 200 rotations: TestAgentsThroughRotations
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
	for _, way := range []struct {
		name  string
		start starter
	}{{"in process", startInProcess}, {"binary", startBinary}} {
		for _, w := range []wire{plainHTTP, httpOverTLS} {
			t.Run(way.name+"/"+w.name, func(t *testing.T) {
				t.Parallel()
				runRows(t, newFixture(t, w, way.start, shared))
			})
		}
	}
}

// The settings that most rows are content with.
const (
	replayLimit = 64 << 10
	allowedHost = "patrol.example"
	clientKey   = "conformance-client-key-0123456789"
)

var shared = settings{listen: []string{secondAddress()}, allowAPI: true, allowHost: allowedHost, replayLimit: replayLimit}

// secondAddress is on [::1], but many containers have no IPv6.
func secondAddress() string {
	const address = "[::1]:0"
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = ln.Close()
	return address
}

func runRows(t *testing.T, f *fixture) {
	var finish []func()
	for _, row := range longRows() {
		if row.runsOn(f) {
			end := row.begin(t, f)
			finish = append(finish, func() { t.Run(row.name, end) })
		}
	}
	for _, row := range slices.Concat(
		guardRows(), keyRows(), // first, since each of its reasons has a quota of lines in the log
		transparentRows(), headerRows(), filterRows(), networkRows(), routeRows(), refusedPathRows(),
		replayRows(), waitRows(), streamRows(), limitRows(),
	) {
		if row.runsOn(f) {
			t.Run(row.name, func(t *testing.T) { row.run(t, f) })
		}
	}
	for _, end := range finish {
		end()
	}
}

// A row is one behaviour.
type row struct {
	name string
	only only
	run  func(t *testing.T, f *fixture)
}

// A longRow is one that takes its time, beside the others.
type longRow struct {
	name  string
	only  only
	begin func(t *testing.T, f *fixture) (finish func(t *testing.T))
}

// only says where a row makes sense; the zero value is everywhere.
type only int

const (
	overTLS   only = 1 << iota // certificates, tunnels
	overPlain                  // bytes that HTTP/2 has not
	ofBinary                   // flags, the environment, signals
)

func (o only) runsOn(f *fixture) bool {
	return (o&overTLS == 0 || f.wire.tls) && (o&overPlain == 0 || !f.wire.tls) && (o&ofBinary == 0 || f.binary != nil)
}

func (r row) runsOn(f *fixture) bool     { return r.only.runsOn(f) }
func (r longRow) runsOn(f *fixture) bool { return r.only.runsOn(f) }

func longRows() []longRow {
	return []longRow{
		{name: "half a header and then nothing: the connection is closed", begin: beginSlowHeaders},
		{name: "shutdown lets streams finish for 10 s, then ends them visibly", only: ofBinary, begin: beginShutdown},
		{name: "a stream that is silent for longer than any timeout of a header goes on", begin: beginSilence},
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

// An ending is how an upstream ends an answer that has no end.
type ending int

const (
	reset  ending = iota // as a crash would: RST
	closed               // as a process that exits: FIN
)

var endings = []ending{reset, closed}

// end ends the connection of HTTP/1.1, or the stream of HTTP/2, which has one way
// alone.
func (e ending) end(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok && e == reset {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

func (e ending) String() string { return [...]string{"reset", "closed"}[e] }

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

// An API is a form in which agents read errors.
type api string

const (
	openAI     api = "openai"
	anthropic  api = "anthropic"
	gemini     api = "gemini"
	databricks api = "databricks"
)

// apiOf is which form belongs to which path.
var apiOf = map[string]api{
	"/v1/chat/completions":                        openAI,
	"/v1/embeddings":                              openAI,
	"/responses":                                  openAI,
	"/v1/responses":                               openAI,
	"/v1/models":                                  openAI,
	"/v1/messages?beta=true":                      anthropic,
	"/v1/messages/count_tokens":                   anthropic,
	"/anthropic/v1/messages":                      anthropic,
	"/v1beta/models/m:generateContent":            gemini,
	"/gemini/v1beta/models/m:x":                   gemini,
	"/serving-endpoints/m/invocations":            databricks,
	"/serving-endpoints/chat/completions":         openAI,
	"/serving-endpoints/anthropic/v1/messages":    anthropic,
	"/serving-endpoints/google/v1beta/models/m:x": gemini,
	"/ai-gateway/mlflow/v1/chat/completions":      openAI,
	"/ai-gateway/anthropic/v1/messages":           anthropic,
	"/ai-gateway/gemini/v1beta/models/m:x":        gemini,
	"/api/2.0/clusters/list":                      databricks,
}

// An apiError is an error of any API.
type apiError struct {
	Type      string `json:"type"`
	ErrorCode string `json:"error_code"`
	Message   string `json:"message"`
	Error     struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Code    any    `json:"code"`
	} `json:"error"`
}

// in returns the message and the kind of the error as an agent of that API finds
// them, "" if the error isn't in its form.
func (e apiError) in(form api, status int) (message, kind string) {
	switch {
	case form == openAI && e.Type == "" && e.Error.Code != nil:
		return e.Error.Message, e.Error.Type
	case form == anthropic && e.Type == "error":
		return e.Error.Message, e.Error.Type
	case form == gemini && e.Error.Code == float64(status):
		return e.Error.Message, e.Error.Status
	case form == databricks:
		return e.Message, e.ErrorCode
	default:
		return "", fmt.Sprintf("no error of %s", form)
	}
}
