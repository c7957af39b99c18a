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
	"crypto/x509"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"patrol/proxy/guard"
	"patrol/rotator/pat"
)

// Proxy is an http.Handler. It has no token until Run has received one.
type Proxy struct {
	host        pat.Host // the workspace that tokens come with
	bases       [upstreams]*url.URL
	router      *router
	guard       *guard.Guard
	tokens      *tokens
	handovers   <-chan pat.Handover
	ready       func() error
	warnings    func() []string
	noTokenLog  guard.LogQuota
	refused     func(context.Context, pat.Token) (pat.Token, bool)
	transport   http.RoundTripper              // Config.Transport; nil: trusting
	trusting    atomic.Pointer[http.Transport] // replaced by Trust
	wait        time.Duration
	replayLimit int
	memory      memory
	buffers     bufferPool
	filter      bool
	stats       stats
	server      *server
	log         *slog.Logger
	errorLog    *log.Logger
}

// New returns a proxy, or an error that says which setting is wrong. It starts
// nothing and sends nothing.
func New(cfg Config) (*Proxy, error) {
	bases, err := cfg.bases()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	p := &Proxy{
		host:        pat.HostOf(bases[workspaceBase]),
		bases:       bases,
		router:      newRouter(bases, cfg.AllowAPI),
		guard:       cfg.Guard,
		tokens:      newTokens(),
		handovers:   cfg.Handovers,
		ready:       cfg.Ready,
		warnings:    cfg.Warnings,
		refused:     cfg.Refused,
		transport:   cfg.Transport,
		wait:        cfg.Wait,
		replayLimit: cfg.ReplayLimit,
		filter:      !cfg.NoFilter,
		log:         cfg.Log,
		errorLog:    slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	p.Trust(cfg.RootCAs)
	p.memory.log = cfg.Log
	p.memory.limit(cfg.ReplayMemory)
	p.server = newServer(p, p.errorLog)
	return p, nil
}

// Trust replaces Config.RootCAs for the requests to come; those under way go on.
// It changes nothing for a proxy with a Config.Transport.
func (p *Proxy) Trust(roots *x509.CertPool) {
	if old := p.trusting.Swap(newTransport(roots)); old != nil {
		old.CloseIdleConnections()
	}
}

// upstream returns what the next attempt is sent with.
func (p *Proxy) upstream() http.RoundTripper {
	if p.transport != nil {
		return p.transport
	}
	return p.trusting.Load()
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
	if tok.Host.MaySame(p.host) {
		return tok
	}
	if !tok.IsZero() {
		p.log.Error("token is another workspace's, and not used", "token", tok, "host", p.host)
	}
	return pat.Token{}
}

// current returns the token in use, for a look: what is sent with it is
// counted by acquire.
func (p *Proxy) current() *pat.Token { return &p.tokens.current.Load().token }

// usable says why requests can't be served, nil if they can.
func (p *Proxy) usable() error {
	g := p.tokens.current.Load()
	if p.ready() == nil && g.usable() {
		return nil
	}
	return errors.New(p.whyNoToken(&g.token))
}

// whyNoToken says what is wrong with tok, the one in use, and what to do.
func (p *Proxy) whyNoToken(tok *pat.Token) string {
	if err := p.ready(); err != nil {
		return err.Error()
	}
	switch {
	case tok.IsZero():
		return "patrol has no Databricks token yet. Try again in a few seconds; `patrol status` says more."
	case tok.Expired(time.Now()):
		return "patrol's Databricks token has expired and no new one is there yet. `patrol status` says why, `patrol login` gives it another."
	}
	return "Try again in a few seconds; `patrol status` says more."
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.stats.requests.Add(1)
	var e *exchange
	defer p.panicked(w, r, &e)
	if e = p.admit(w, r); e != nil {
		e.serve(w, r)
	}
}

// admit returns the exchange of a request that goes upstream. Any other it has
// answered.
func (p *Proxy) admit(w http.ResponseWriter, r *http.Request) *exchange {
	if p.guard != nil {
		if refusal := p.guard.Check(r); refusal != nil { // and logged
			p.turnAway(w, r, refusal)
			return nil
		}
	}
	raw, err := checkTarget(r)
	if err != nil {
		p.refuse(w, r, p.apiOf(r), answer{status: http.StatusBadRequest, message: "patrol refuses this request: " + err.Error() + "."})
		return nil
	}
	if p.own(w, r) {
		return nil
	}
	route := p.router.find(r.URL.Path)
	if route == nil {
		answer{status: http.StatusNotFound, message: p.router.wrongPath(r.URL.Path)}.send(w, p.apiOf(r))
		return nil
	}
	if strings.EqualFold(r.Method, http.MethodTrace) {
		// Its answer is the request, and the token would be in it.
		w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		p.refuse(w, r, route.api, answer{status: http.StatusMethodNotAllowed, message: "patrol doesn't pass TRACE on: the answer would hold the token."})
		return nil
	}
	if !route.model() {
		if err := checkAPI(r.URL.Path); err != nil {
			p.refuse(w, r, route.api, answer{status: http.StatusForbidden, message: err.Error()})
			return nil
		}
	} else if wantsWebsocket(r.Header) {
		// At once, and with this status: on any other, agents try again
		// before they fall back to plain HTTP.
		w.Header().Set("Upgrade", "HTTP/1.1")
		w.Header().Set("Connection", "close")
		answer{status: http.StatusUpgradeRequired, message: "patrol speaks plain HTTP here, not WebSocket."}.send(w, route.api)
		return nil
	}
	return &exchange{proxy: p, route: route, raw: raw}
}

// turnAway answers whom the guard doesn't let in. Supervisors that probe from
// another machine learn whether patrol is well, and no more.
func (p *Proxy) turnAway(w http.ResponseWriter, r *http.Request, refusal *guard.Refusal) {
	if refusal.Close {
		w.Header().Set("Connection", "close")
	}
	switch r.URL.Path {
	case "/healthz":
		writePage(w, http.StatusOK, nil)
	case "/readyz":
		status := http.StatusOK
		if p.usable() != nil {
			status = http.StatusServiceUnavailable
		}
		writePage(w, status, nil)
	default:
		answer{status: refusal.Status, message: refusal.Message}.send(w, p.apiOf(r))
	}
}

// refuse logs and sends a refusal.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, api api, a answer) {
	p.log.Warn("request refused", "method", r.Method, "reason", a.message)
	a.send(w, api)
}
