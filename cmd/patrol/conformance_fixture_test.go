//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// A wire is the way in which an upstream is spoken to.
type wire struct {
	name string
	tls  bool
}

var (
	plainHTTP   = wire{name: "plain"}
	httpOverTLS = wire{name: "TLS", tls: true}
)

// rowHeader tells upstream which row a request belongs to.
const rowHeader = "X-Conformance-Row"

// An upstream is a workspace, before which a row may put a handler.
type upstream struct {
	ws    *workspacetest.Workspace
	url   string
	other string // the same at another address
	ca    []byte // in PEM; nil without TLS

	mu       sync.Mutex
	arrivals []arrival
	handlers map[string]http.HandlerFunc // by row
}

// An arrival is a request as it came.
type arrival struct {
	row, proto, method, uri, host string
	header                        http.Header
	body                          string // as on the wire, unless a handler reads it
	signedIn                      bool   // with a live token that is patrol's own, and no more than that
}

// ownComment begins the comments of patrol's own tokens.
const ownComment = "patrol/"

func newUpstream(t *testing.T, w wire) *upstream {
	up := &upstream{ws: workspacetest.New(workspacetest.Config{}), handlers: map[string]http.HandlerFunc{}}
	up.url, up.ca = up.listen(t, w)
	up.other, _ = up.listen(t, w)
	return up
}

// listen serves it at an address of its own.
func (up *upstream) listen(t *testing.T, w wire) (url string, ca []byte) {
	srv := httptest.NewUnstartedServer(up)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(srv.Close)
	if !w.tls {
		srv.Start()
		return srv.URL, nil
	}
	srv.EnableHTTP2 = true // which patrol doesn't ask for
	srv.StartTLS()
	return srv.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

func (up *upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := arrival{row: r.Header.Get(rowHeader), proto: r.Proto, method: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone(), signedIn: up.signedIn(r)}
	up.mu.Lock()
	h := up.handlers[a.row]
	up.mu.Unlock()
	if h == nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		a.body, r.Body = string(body), io.NopCloser(strings.NewReader(string(body)))
		h = up.ws.ServeHTTP
	}
	up.mu.Lock()
	up.arrivals = append(up.arrivals, a)
	up.mu.Unlock()
	h(w, r)
}

func (up *upstream) signedIn(r *http.Request) bool {
	auth := r.Header["Authorization"]
	return len(auth) == 1 && slices.ContainsFunc(up.ws.Live(), func(tok workspacetest.Token) bool {
		return strings.HasPrefix(tok.Comment, ownComment) && auth[0] == "Bearer "+tok.Value
	})
}

// handle has h answer the requests of this row.
func (up *upstream) handle(t *testing.T, h http.HandlerFunc) {
	up.mu.Lock()
	defer up.mu.Unlock()
	up.handlers[t.Name()] = h
}

// of returns what came of a row.
func (up *upstream) of(row string) []arrival {
	up.mu.Lock()
	defer up.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(up.arrivals), func(a arrival) bool { return a.row != row })
}

// Settings of the proxy, each of which is a flag of patrol serve.
type settings struct {
	signedOut bool // there is no token to begin with
	stranger  bool // nobody says who vouches for the upstream
	minter    bool // a token can be minted without a token

	listen      []string // further addresses
	allowAPI    bool
	allowHost   string
	keys        bool          // clientKey lets in
	noOwners    bool          // nobody can tell who owns a socket
	oldTokens   time.Duration // of the binary; 0: its default
	replayLimit int
	wait        time.Duration // negative: not at all
	noFilter    bool
	conns       int // how many connections may be open

	gateway, chat, openAI, anthropic, gemini string // base URLs

	environ []string // of the binary
}

// other stands for the upstream's second address in a base URL of the settings.
const other = "OTHER"

// before replaces it.
func (s settings) before(up *upstream) settings {
	for _, base := range []*string{&s.gateway, &s.chat, &s.openAI, &s.anthropic, &s.gemini} {
		*base = strings.ReplaceAll(*base, other, up.other)
	}
	return s
}

// A starter starts a proxy for a fixture.
type starter func(t *testing.T, f *fixture, s settings) patrol

// A patrol is the proxy of a fixture, and what gives it tokens.
type patrol interface {
	addresses() []string
	token(t *testing.T) string              // that is in use
	defaultKey(t *testing.T) string         // the client key of that name
	revoke(t *testing.T) (key string)       // one that was made and revoked
	rotate(t *testing.T)                    // the token before lives on
	login(t *testing.T)                     // with a token of the workspace
	waited(t *testing.T) uint64             // how many requests waited for a token
	refused(t *testing.T) map[string]uint64 // how many the guard refused, by reason
	log() string
}

// A fixture is patrol before an upstream.
type fixture struct {
	*upstream
	patrol
	wire   wire
	start  starter
	binary *realBinary // nil in process

	url    string // of the proxy's first address
	client *http.Client
}

// newFixture starts patrol, and returns once it uses a token of its own if it has
// any.
func newFixture(t *testing.T, w wire, start starter, s settings) *fixture {
	t.Helper()
	f := &fixture{upstream: newUpstream(t, w), wire: w, start: start}
	f.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(f.client.CloseIdleConnections)
	f.patrol = start(t, f, s.before(f.upstream))
	f.binary, _ = f.patrol.(*realBinary)
	f.url = "http://" + f.addresses()[0]
	if !s.signedOut && !s.stranger {
		await(t, func() bool {
			f.ask(t, http.MethodPost, asItIs, question, "X-Api-Key", f.defaultKey(t)) // which no setting moves
			all := f.of(t.Name())
			return len(all) > 0 && all[len(all)-1].signedIn
		})
		f.forget(t)
	}
	return f
}

// forget makes nothing of what came of this row so far.
func (f *fixture) forget(t *testing.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.arrivals = slices.DeleteFunc(f.arrivals, func(a arrival) bool { return a.row == t.Name() })
}

// with is a fixture of the same kind with other settings.
func (f *fixture) with(t *testing.T, s settings) *fixture {
	t.Helper()
	return newFixture(t, f.wire, f.start, s)
}

// request makes a request of this row. header is names and values by turns.
func (f *fixture) request(t *testing.T, method, path string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, body)
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

// message returns the error that patrol itself answered with, as an agent of that
// API finds it.
func (o outcome) message(t *testing.T, form api) (message, kind string) {
	t.Helper()
	var e apiError
	if err := json.Unmarshal([]byte(o.body), &e); err != nil || o.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s: %v, %s", o.StatusCode, o.Header.Get("Content-Type"), err, o.body)
	}
	message, kind = e.in(form, o.StatusCode)
	if message == "" || kind == "" {
		t.Errorf("%s is no error in the form of %s", o.body, form)
	}
	return message, kind
}

func (f *fixture) send(t *testing.T, req *http.Request) outcome {
	t.Helper()
	resp, err := f.client.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
		return outcome{Response: new(http.Response), err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return outcome{resp, string(body), err}
}

func (f *fixture) ask(t *testing.T, method, path, body string, header ...string) outcome {
	t.Helper()
	return f.send(t, f.request(t, method, path, strings.NewReader(body), header...))
}

// raw sends these bytes over a connection of their own, and returns the answer;
// its status is 0 if the connection was closed instead. "ROW" in them stands for
// the row's header.
func (f *fixture) raw(t *testing.T, request string) outcome {
	t.Helper()
	conn := f.dial(t)
	_, _ = io.WriteString(conn, strings.ReplaceAll(request, "ROW", rowHeader+": "+t.Name())) // refused before its end, perhaps
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return outcome{Response: new(http.Response), err: err}
	}
	body, err := io.ReadAll(resp.Body)
	return outcome{resp, string(body), err}
}

// dial opens a connection to the proxy that ends with the test, or with patience.
func (f *fixture) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// arrived returns what came upstream of this row, n requests, or -1 for any
// number. Each came by the fixture's wire, with a token of patrol's and no other
// credential.
func (f *fixture) arrived(t *testing.T, n int) []arrival {
	t.Helper()
	all := f.of(t.Name())
	if n >= 0 && len(all) != n {
		t.Fatalf("%d requests came upstream, want %d", len(all), n)
	}
	for _, a := range all {
		if a.proto != "HTTP/1.1" || !a.signedIn {
			t.Errorf("%s %s came by %s, signed in by patrol's token alone: %v", a.method, a.uri, a.proto, a.signedIn)
			break
		}
	}
	return all
}

// awaitLog waits until the log says what.
func (f *fixture) awaitLog(t *testing.T, what string) {
	t.Helper()
	await(t, func() bool { return strings.Contains(f.log(), what) })
}
