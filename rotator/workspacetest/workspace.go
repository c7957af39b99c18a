// Package workspacetest is a Databricks workspace in memory, as net/http/httptest
// is a server: it issues, lists, checks and revokes personal access tokens,
// answers as the model endpoints do, and fails on demand.
//
// A Workspace is an http.Handler. Start serves one on a loopback port, Transport
// reaches one without a socket. It is safe for concurrent use. It keeps the
// values of the tokens that it made (Token.Value) and records every request
// without its credential (Requests). It is no test-only package: patrol demo
// ships it.
package workspacetest

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"
)

// DefaultUser owns the tokens that are issued for nobody in particular.
const DefaultUser = "someone@example.com"

// Config says how a workspace behaves. The zero Config is a healthy one.
type Config struct {
	Now         func() time.Time // the workspace's clock, also in its Date header; nil is time.Now
	Quota       int              // live tokens per user; 0 is 600
	MaxLifetime time.Duration    // what an admin allows a new token; 0 is no limit
	DisablePATs bool             // nobody may mint; tokens that exist go on working
	GrantAtMost time.Duration    // a new token gets no longer life than this, whatever it asks for; 0 is what it asks for
	NoCreation  bool             // answers don't say when a token was created
	RandomIDs   bool             // a token's id is not the SHA-256 of its value
	ListLag     time.Duration    // lists lack a token younger than this

	Model      func(ModelCall) ModelReply // what the models answer; nil is a few words
	Events     int                        // pieces that a streamed text comes in; 0 is 5
	EventDelay time.Duration              // pause before each event of a stream but the first

	// Fault is asked about each request for which nothing was injected; nil,
	// or nil returned, is no fault. It must not read the request's body.
	// It may be called from several goroutines at once.
	Fault func(*http.Request) *Fault

	NoRecord bool // no request is remembered
	TLS      bool // Start serves HTTPS, with HTTP/2
}

// Workspace is a workspace in memory: see New.
type Workspace struct {
	cfg Config

	mu        sync.Mutex
	tokens    []*Token // in the order in which they were made
	unrevoked []*Token // of them; what a year of rotations leaves is revoked for the most part
	byHash    map[string]*Token
	clients   map[string]oauthClient
	faults    []*Fault
	requests  []*Request
}

// New returns a workspace without tokens. It starts nothing.
func New(cfg Config) *Workspace {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Quota == 0 {
		cfg.Quota = 600
	}
	if cfg.Events <= 0 {
		cfg.Events = 5
	}
	return &Workspace{cfg: cfg, byHash: make(map[string]*Token), clients: make(map[string]oauthClient)}
}

// now is the workspace's wall clock: a laptop's monotonic one stops in its sleep.
func (w *Workspace) now() time.Time { return w.cfg.Now().Round(0) }

// ServeHTTP answers one request.
func (w *Workspace) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	c := w.open(rw, r)
	// Even for a fault: net/http notices a client that leaves only once it has
	// read the body's end.
	if err := c.readBody(); err != nil {
		writeError(c, http.StatusBadRequest, "MALFORMED_REQUEST", "Reading the request's body: "+err.Error())
		return
	}
	if f := w.nextFault(c); f != nil {
		w.fail(c, f)
		return
	}
	w.answer(c)
}

// answer does what the request asks for.
func (w *Workspace) answer(c *call) {
	answer := w.route(c.path)
	switch {
	case w.answerPublic(c):
	case !c.valid:
		w.refuse(c)
	case answer == nil:
		writeNotFound(c)
	default:
		answer(c)
	}
}

// route returns what answers the path, nil if the workspace doesn't know it.
func (w *Workspace) route(p string) func(*call) {
	switch {
	case strings.HasPrefix(p, "/api/2.0/token/"):
		return w.answerTokens
	case p == "/api/2.0/preview/scim/v2/me":
		return w.answerMe
	case modelAPI(p) != "":
		return w.answerModel
	}
	return nil
}

// Server is a Workspace that listens.
type Server struct {
	*Workspace
	URL string // "http://127.0.0.1:PORT", or https with Config.TLS
	CA  []byte // PEM of the authority that signed the server's certificate; nil without Config.TLS

	srv *httptest.Server
}

// Start serves a new workspace on a loopback port. The caller closes it.
func Start(cfg Config) (*Server, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the workspace: %w", err)
	}
	s := &Server{Workspace: New(cfg)}
	s.srv = &httptest.Server{Listener: ln, Config: newServer(s.Workspace), EnableHTTP2: true}
	if cfg.TLS {
		s.srv.StartTLS()
		s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw})
	} else {
		s.srv.Start()
	}
	s.URL = s.srv.URL
	return s, nil
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
}

// Close ends the listener and all connections at once, and waits for the calls
// under way.
func (s *Server) Close() error {
	err := s.srv.Config.Close()
	s.srv.Close()
	return err
}
