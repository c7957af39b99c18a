// Package proxy is the reverse proxy that agents speak to: it takes off a
// request whatever credential it came with, puts the current token on and
// sends it to the one upstream that its path belongs to.
//
// A new token comes as a pat.Handover and is on every request that is accepted
// from then on: nothing is cached and nothing polled. Requests come from
// memory, answers are never held back, and a client that leaves takes its
// request upstream with it. Nothing that the proxy logs or answers holds a
// header, a body or a query.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"patrol/rotator/pat"
)

// Config says whom the proxy speaks to.
type Config struct {
	Host     string // the workspace, "https://…"; tokens of another one are never used
	Upstream string // the base for chat completions, completions and embeddings; "" is Host + "/serving-endpoints"

	Handovers <-chan pat.Handover // new tokens, for Run

	// Ready says what is wrong, in a sentence for users that names what to do,
	// or nil. Nil func: nothing is. It is asked when a request can't be
	// served, from several goroutines at once, and must not block.
	Ready func() error

	Transport http.RoundTripper // the way upstream; nil is our own, with the environment's proxies
	Log       *slog.Logger      // nil logs nothing
}

// Bounds of what is kept in memory to be sent, in bytes.
const (
	defaultReplayLimit = 16 << 20  // per request
	defaultMemory      = 128 << 20 // of all requests together
)

// Proxy is an http.Handler. It has no token until Run has received one.
type Proxy struct {
	host        string
	router      *router
	tokens      *tokens
	handovers   <-chan pat.Handover
	ready       func() error
	transport   http.RoundTripper
	buffers     *bufferPool
	memory      budget
	replayLimit int64
	server      *server
	log         *slog.Logger
	errorLog    *log.Logger
}

// New returns a proxy. It starts nothing and sends nothing.
func New(cfg Config) (*Proxy, error) {
	host, err := parseBase("the workspace's host", cfg.Host)
	if err != nil {
		return nil, err
	}
	if host.Path != "" {
		return nil, fmt.Errorf("the workspace's host %q has a path; leave it out", host)
	}
	bases, err := cfg.bases(host)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		host:        origin(host),
		router:      newRouter(bases),
		tokens:      newTokens(),
		handovers:   cfg.Handovers,
		ready:       cfg.Ready,
		transport:   cfg.Transport,
		buffers:     new(bufferPool),
		replayLimit: defaultReplayLimit,
		log:         cfg.Log,
	}
	if p.transport == nil {
		p.transport = newTransport()
	}
	if p.log == nil {
		p.log = discard()
	}
	p.memory.give(defaultMemory)
	p.errorLog = slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)
	p.server = newServer(p, p.errorLog)
	return p, nil
}

// bases returns each upstream's URL. The token goes to these and nowhere else:
// the workspace that it came with, and what the user has named besides.
func (cfg *Config) bases(host *url.URL) (bases [upstreams]*url.URL, err error) {
	bases[workspaceBase] = host
	bases[chatBase] = below(host, "/serving-endpoints")
	bases[openAIBase] = below(host, "/serving-endpoints")
	bases[anthropicBase] = below(host, "/serving-endpoints/anthropic")
	bases[geminiBase] = below(host, "/serving-endpoints/google")
	if cfg.Upstream != "" {
		if bases[chatBase], err = parseBase("--upstream", cfg.Upstream); err != nil {
			return bases, err
		}
	}
	return bases, nil
}

func below(base *url.URL, path string) *url.URL {
	u := *base
	u.Path += path
	return &u
}

// origin is what must be alike in two URLs for a token to go to both.
func origin(u *url.URL) string {
	host := u.Host
	if port := u.Port(); (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// Run receives tokens and puts them into use, until ctx is done.
func (p *Proxy) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case h, ok := <-p.handovers:
			if !ok {
				return errors.New("receiving tokens: their sender has closed the channel")
			}
			p.tokens.install(h, p.ours(h.Token))
			p.log.Info("token installed", "token", h.Token)
		}
	}
}

// ours returns tok, or no token if it came with another workspace: then the
// proxy rather has none than to send it to the wrong one.
func (p *Proxy) ours(tok pat.Token) pat.Token {
	u, err := parseBase("the token's host", tok.Host)
	if err == nil && origin(u) == p.host {
		return tok
	}
	if !tok.IsZero() {
		p.log.Error("token is another workspace's, and not used", "token", tok, "host", p.host)
	}
	return pat.Token{}
}

// usable says why requests can't be served, nil if they can.
func (p *Proxy) usable() error {
	tok := p.tokens.current.Load().token
	if p.ready != nil {
		if err := p.ready(); err != nil {
			return err
		}
	}
	if tok.IsZero() || tok.Expired(time.Now()) {
		return errors.New(p.whyNoToken(tok))
	}
	return nil
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := checkTarget(r)
	if err != nil {
		p.log.Warn("request refused", "method", r.Method, "reason", err.Error())
		answer{status: http.StatusBadRequest, message: "patrol refuses this request: " + err.Error() + "."}.send(w, openAI)
		return
	}
	if p.own(w, r) {
		return
	}
	route := p.router.find(r.URL.Path)
	if route == nil {
		wrongPath(r.URL.Path).send(w, guessAPI(r))
		return
	}
	e := &exchange{proxy: p, route: route, raw: raw}
	e.serve(w, r)
}
