package proxy

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"syscall"
	"time"

	"patrol/rotator/pat"
)

// exchange is one request's way upstream and its answer's way back. It is the
// Transport of a ReverseProxy of its own, so that what is known of the
// request needn't travel in a context.
type exchange struct {
	proxy *Proxy
	route *route
	raw   string // the path as it came
	body  body
}

// errAborted ends a handler without an end of its answer, so that the client
// sees a cut connection. The server knows it.
var errAborted = http.ErrAbortHandler

// serve sends the request on and its answer back.
func (e *exchange) serve(w http.ResponseWriter, r *http.Request) {
	p := e.proxy
	b, taken, err := readBody(r, p.replayLimit, &p.memory)
	defer p.memory.give(taken)
	if err != nil {
		e.badBody(w, r, err)
		return
	}
	e.body = b
	in := r.WithContext(r.Context()) // a copy: the server goes on using r
	if b.whole {
		in.Body, in.ContentLength = http.NoBody, 0
	}
	reverse := httputil.ReverseProxy{
		Rewrite:       e.rewrite,
		Transport:     e,
		FlushInterval: -1,
		BufferPool:    p.buffers,
		ErrorHandler:  e.failed,
		ErrorLog:      p.errorLog,
	}
	reverse.ServeHTTP(w, in)
}

// badBody answers a request whose body can't be read.
func (e *exchange) badBody(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(errAborted)
	}
	e.proxy.log.Warn("request refused", "method", r.Method, "path", r.URL.Path, "reason", "reading its body: "+err.Error())
	answer{status: http.StatusBadRequest, message: "patrol could not read the request's body to its end."}.send(w, e.route.api)
}

// rewrite makes the request that goes upstream of the one that came in.
func (e *exchange) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	// As it came: ReverseProxy would drop what it can't parse.
	query := pr.In.URL.RawQuery
	if e.route.api == gemini {
		query = withoutKey(query)
	}
	*out.URL = e.route.target(pr.In.URL.Path, e.raw, query)
	out.Host = ""
	clean(out.Header)
}

// clean takes off what must not reach the upstream: every credential, and
// what the client says of a proxy before us.
func clean(h http.Header) {
	for name := range h {
		switch name {
		case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie",
			"Connection", "Upgrade", // an upgrade that ReverseProxy would pass on
			"Expect", // the body is there already
			"X-Real-Ip":
			delete(h, name)
		default:
			if strings.HasPrefix(name, "X-Forwarded-") {
				delete(h, name)
			}
		}
	}
}

// withoutKey returns the query without the credential that Google's clients
// may put there.
func withoutKey(query string) string {
	if !strings.Contains(query, "key=") {
		return query
	}
	pairs := strings.Split(query, "&")
	kept := pairs[:0]
	for _, pair := range pairs {
		if !strings.HasPrefix(pair, "key=") {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// noToken is the error of a request that there is no token for.
type noToken struct{ reason string }

func (e noToken) Error() string { return e.reason }

// RoundTrip puts the token on and sends the request.
func (e *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	p := e.proxy
	g := p.tokens.acquire()
	defer p.tokens.release(g)
	if g.token.IsZero() || g.token.Expired(time.Now()) {
		return nil, noToken{p.whyNoToken(g.token)}
	}
	e.body.attach(out)
	out.Header.Set("Authorization", "Bearer "+g.token.Expose())
	return p.transport.RoundTrip(out)
}

// whyNoToken says what is wrong with tok, the one in use, and what to do.
func (p *Proxy) whyNoToken(tok pat.Token) string {
	if p.ready != nil {
		if err := p.ready(); err != nil {
			return err.Error()
		}
	}
	if tok.IsZero() {
		return "patrol has no Databricks token yet. Try again in a few seconds; `patrol status` says more."
	}
	return "patrol's Databricks token has expired and no new one is there yet. `patrol status` says why, `patrol login` gives it another."
}

// failed answers a request that has no answer from upstream.
func (e *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		// The client has gone, or we are shutting down: an end that looks
		// like one would be a lie.
		panic(errAborted)
	}
	if none, ok := errors.AsType[noToken](err); ok {
		e.proxy.log.Warn("request refused", "method", r.Method, "path", r.URL.Path, "reason", none.reason)
		answer{http.StatusServiceUnavailable, none.reason, 5 * time.Second}.send(w, e.route.api)
		return
	}
	host := e.route.to.Scheme + "://" + e.route.to.Host
	e.proxy.log.Warn("no answer from upstream", "method", r.Method, "upstream", host, "path", r.URL.Path, "err", err)
	answer{
		http.StatusBadGateway,
		"patrol got no answer from " + host + ": " + explain(err) + ". The log of `patrol serve` has the details.",
		time.Second,
	}.send(w, e.route.api)
}

// explain says in words that hold nothing of the request what went wrong.
func explain(err error) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name can't be resolved (" + dns.Name + ")"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "its certificate is signed by an authority that this machine doesn't know"
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "it took too long to connect"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection without an answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	}
	return "the connection failed"
}

// discard is the logger of those who want none.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
