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
	"net/http"
	"strings"
	"time"

	"patrol/proxy/guard"
	"patrol/proxy/upstream"
	"patrol/rotator/pat"
)

// Proxy is an http.Handler. It has no token until Run has received one.
type Proxy struct {
	cfg        Config   // defaults filled in
	host       pat.Host // the workspace that tokens come with
	router     *router
	client     *upstream.Client
	tokens     *tokens
	memory     memory
	stats      stats
	server     *server
	noTokenLog guard.LogQuota
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
		cfg:    cfg,
		host:   pat.HostOf(bases[workspaceBase]),
		client: upstream.New(upstream.Config{RootCAs: cfg.RootCAs, Dial: cfg.Dial}),
		tokens: newTokens(),
	}
	p.router = newRouter(bases, p.client, cfg.AllowAPI)
	p.memory.limit(cfg.ReplayMemory)
	p.server = newServer(p)
	return p, nil
}

// Trust replaces Config.RootCAs for the connections to come; requests under way go on.
func (p *Proxy) Trust(roots *x509.CertPool) { p.client.Trust(roots) }

// Run receives tokens and puts them into use, until ctx is done.
func (p *Proxy) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case h, ok := <-p.cfg.Handovers:
			if !ok {
				return errors.New("receiving tokens: their sender has closed the channel")
			}
			p.tokens.install(h, p.ours(h.Token))
			p.cfg.Log.Info("token installed", "token", h.Token)
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
		p.cfg.Log.Error("token is another workspace's, and not used", "token", tok, "host", p.host)
	}
	return pat.Token{}
}

// current returns the token in use, for a look: what is sent with it is
// counted by acquire.
func (p *Proxy) current() *pat.Token { return &p.tokens.current.Load().token }

// usable says why requests can't be served, nil if they can.
func (p *Proxy) usable() error {
	g := p.tokens.current.Load()
	if p.cfg.Ready() == nil && g.usable() {
		return nil
	}
	return errors.New(p.whyNoToken(&g.token))
}

// whyNoToken says what is wrong with tok, the one in use, and what to do.
func (p *Proxy) whyNoToken(tok *pat.Token) string {
	if err := p.cfg.Ready(); err != nil {
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
	p.count(&p.stats.Requests)
	var e *exchange
	defer p.panicked(w, r, &e)
	if e = p.admit(w, r); e != nil {
		e.serve()
	}
}

// admit returns the exchange of a request that goes upstream. Any other it has
// answered.
func (p *Proxy) admit(w http.ResponseWriter, r *http.Request) *exchange {
	var client guard.Client
	if p.cfg.Guard != nil {
		var refusal *guard.Refusal
		if client, refusal = p.cfg.Guard.Check(r, askedOf(r)); refusal != nil { // and logged
			p.turnAway(w, r, refusal)
			return nil
		}
		if client.Stranger {
			p.tellStranger(w, r)
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
	return &exchange{proxy: p, route: route, raw: raw, w: w, r: r, client: client.Name}
}

// turnAway answers whom the guard doesn't let in.
func (p *Proxy) turnAway(w http.ResponseWriter, r *http.Request, refusal *guard.Refusal) {
	if refusal.Close {
		w.Header().Set("Connection", "close")
	}
	answer{status: refusal.Status, message: refusal.Message}.send(w, p.apiOf(r))
}

// refuse logs and sends a refusal.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, api api, a answer) {
	p.cfg.Log.Warn("request refused", "method", methodOf(r), "reason", a.message)
	a.send(w, api)
}

// wantsWebsocket reports whether the request asks to become a WebSocket. Other
// upgrades (h2c, as Java's client asks with each call) are no reason not to
// answer it as it is.
func wantsWebsocket(h http.Header) bool {
	for _, v := range h["Upgrade"] {
		if strings.Contains(strings.ToLower(v), "websocket") {
			return true
		}
	}
	return false
}
