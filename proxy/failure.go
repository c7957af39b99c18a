package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"patrol/proxy/upstream"
)

// failed answers a request that has no answer from upstream.
func (e *exchange) failed(err error) {
	p, r := e.proxy, e.r
	if is[*upstream.RestError](err) {
		e.badBody(err)
		return
	}
	if r.Context().Err() != nil {
		// The client has gone, or we are shutting down: an end that looks
		// like one would be a lie.
		panic(http.ErrAbortHandler)
	}
	if none, ok := errors.AsType[noToken](err); ok {
		p.count(&p.stats.NoToken)
		if skipped, ok := p.noTokenLog.Take(time.Now()); ok {
			e.log().Warn("request refused", "reason", none.reason, "not_logged_before", skipped)
		}
		answer{http.StatusServiceUnavailable, none.reason, 5 * time.Second}.send(e.w, e.route.api)
		return
	}
	p.count(&p.stats.Failed)
	clear(e.w.Header())
	host := e.route.to.Scheme + "://" + e.route.to.Host
	e.log().Warn("no answer from upstream", "upstream", host, "err", harmless(err))
	answer{
		http.StatusBadGateway,
		"patrol got no answer from " + host + ": " + explain(err) + ". The log of `patrol serve` has the details.",
		time.Second,
	}.send(e.w, e.route.api)
}

// badBody answers a request whose body can't be read.
func (e *exchange) badBody(err error) {
	reason := harmless(err)
	refusal := answer{status: http.StatusBadRequest, message: "patrol could not read the request's body to its end."}
	switch {
	case e.upload.stalled(): // which has ended the request's context
		reason = "nothing more of its body came"
		refusal = answer{status: http.StatusRequestTimeout, message: "patrol got nothing more of the request's body for " + bodyIdle.String() + ". Send it again."}
		e.w.Header().Set("Connection", "close")
	case e.r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	}
	e.log().Warn("request refused", "reason", reason)
	refusal.send(e.w, e.route.api)
}

// log returns a log for what happens to the request: no text of it is in there that could
// be a token, so the route stands for its path.
func (e *exchange) log() *slog.Logger {
	return e.proxy.cfg.Log.With("client", e.client, "method", methodOf(e.r), "route", e.route.from)
}

// methodOf returns the request's method for the log, if it is a usual one.
func methodOf(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, http.MethodConnect:
		return r.Method
	}
	return "other"
}

// explain says in words that hold nothing of the request what went wrong.
func explain(err error) string {
	via, proxied := errors.AsType[*upstream.ProxyError](err)
	dns, unresolved := errors.AsType[*net.DNSError](err)
	network, ok := errors.AsType[net.Error](err)
	switch {
	case is[redirectError](err):
		return err.Error() + ", and patrol follows nothing out of the route that was asked for"
	case proxied && via.Status != 0:
		return fmt.Sprintf("the proxy that HTTPS_PROXY or HTTP_PROXY names for it refuses to connect (status %d)", via.Status)
	case proxied:
		return "the proxy that HTTPS_PROXY or HTTP_PROXY names for it can't be reached"
	case unresolved:
		return "its name can't be resolved (" + dns.Name + ")"
	case is[x509.UnknownAuthorityError](err):
		return "its certificate is signed by an authority that this machine doesn't know (a private one is named with --upstream-ca)"
	case is[*upstream.ProtocolError](err):
		return "what it sent isn't a valid HTTP/1.1 answer"
	case ok && network.Timeout(): // context.DeadlineExceeded is one too
		return "it took too long to connect"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection was refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection without an answer"
	}
	return "the connection failed"
}

// harmless returns an error as it may be logged. Errors of the network tell of
// addresses and certificates; others may quote what the upstream has sent, and
// an upstream can send the token back.
func harmless(err error) string {
	if is[*net.OpError](err) || is[*tls.CertificateVerificationError](err) || is[tls.AlertError](err) || is[syscall.Errno](err) ||
		is[*upstream.ProtocolError](err) || is[redirectError](err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) {
		return err.Error()
	}
	cause := err
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner
	}
	return fmt.Sprintf("%s (%T)", explain(err), cause)
}

// is reports whether err is an E, or wraps one.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
