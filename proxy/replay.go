package proxy

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"patrol/rotator/pat"
)

// noToken is the error of a request that there is no token for.
type noToken struct{ reason string }

func (e noToken) Error() string { return e.reason }

// RoundTrip sends the request with the current token, and again where that
// can hide from the client that the token has changed or a connection died:
//
//   - without a token that may be used, it waits for one first;
//   - once if the upstream calls the token invalid and another is current now;
//   - once if it does so of the current token, and Config.Refused knows another;
//   - once if the connection dies before any byte of an answer. The upstream
//     may have begun to work, so that a model's answer may be billed twice;
//     the workspace's API is asked again only for what changes nothing.
//
// Beyond that the client gets what the upstream says.
func (e *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	defer e.release()
	var with pat.Token // to be sent with; zero is the current one
	for first := true; ; first = false {
		if !first {
			// The last attempt's request may still be read by its connection.
			out = out.Clone(out.Context())
		}
		res, used, err := e.attempt(out, with)
		if err != nil {
			if !e.mayResend(out, err) {
				return nil, err
			}
			e.tries.reset = true
			e.proxy.stats.resets.Add(1)
			e.proxy.log.Info("sending again: the connection died before an answer", "method", out.Method, "path", out.URL.Path, "err", err)
			continue
		}
		if !e.refusal(res) {
			return res, nil
		}
		var ok bool
		if with, ok, err = e.secondChance(out.Context(), used); !ok {
			if err != nil {
				_ = res.Body.Close()
				return nil, err
			}
			return res, nil
		}
		e.proxy.log.Info("sending again: the token was refused", "method", out.Method, "path", out.URL.Path, "status", res.StatusCode, "token", used)
		_ = res.Body.Close()
	}
}

// tries is what has been done for a request already, each once.
type tries struct{ reset, stale, refused bool }

// attempt sends the request once. used is the token that it bore.
func (e *exchange) attempt(out *http.Request, with pat.Token) (res *http.Response, used pat.Token, err error) {
	g, err := e.acquire(out.Context())
	if err != nil {
		return nil, used, err
	}
	// Held until the answer's header is there: see tokens. A token that isn't
	// the current one holds nothing; whoever chose it answers for it.
	defer e.proxy.tokens.release(g)
	if used = g.token; !with.IsZero() {
		used = with
	}
	e.body.attach(out)
	out.Header.Set("Authorization", "Bearer "+used.Expose())
	e.watch(out)
	res, err = e.proxy.transport.RoundTrip(out)
	return res, used, err
}

// acquire returns the current generation once it has a token that may be
// used. The caller releases it.
func (e *exchange) acquire(ctx context.Context) (*generation, error) {
	for {
		g := e.proxy.tokens.acquire()
		tok := g.token
		if !tok.IsZero() && !tok.Expired(time.Now()) {
			return g, nil
		}
		e.proxy.tokens.release(g)
		if !e.await(ctx, g) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, noToken{e.proxy.whyNoToken(tok)}
		}
	}
}

// await waits until g is no longer the current generation, and reports whether
// that came in time.
func (e *exchange) await(ctx context.Context, g *generation) bool {
	ctx, cancel := context.WithDeadline(ctx, e.patience())
	defer cancel()
	select {
	case <-g.superseded:
		return true
	case <-ctx.Done():
		return false
	}
}

// patience returns when the request has waited long enough, in all.
func (e *exchange) patience() time.Time {
	if e.deadline.IsZero() {
		e.proxy.stats.waited.Add(1)
		e.deadline = time.Now().Add(e.proxy.wait)
	}
	return e.deadline
}

// connection is what happened to an attempt's connection. HTTP/1 tells of it
// in another goroutine.
type connection struct{ made, answered atomic.Bool }

// watch has the transport tell of the attempt's connection.
func (e *exchange) watch(out *http.Request) {
	e.conn.made.Store(false)
	e.conn.answered.Store(false)
	// ReverseProxy has put a trace there for this request alone. To lay
	// another over it costs more than the rest of an attempt's preparation.
	trace := httptrace.ContextClientTrace(out.Context())
	if trace == nil || e.watching {
		return
	}
	e.watching = true
	trace.GotConn = func(httptrace.GotConnInfo) { e.conn.made.Store(true) }
	trace.GotFirstResponseByte = func() { e.conn.answered.Store(true) }
}

// mayResend reports whether an attempt that ended with err may be made again.
func (e *exchange) mayResend(out *http.Request, err error) bool {
	if _, none := errors.AsType[noToken](err); none || e.tries.reset || out.Context().Err() != nil || !e.body.whole {
		return false
	}
	if !e.conn.made.Load() || e.conn.answered.Load() {
		return false
	}
	return e.route.model() || out.Method == http.MethodGet || out.Method == http.MethodHead
}

// secondChance says whether a request that was refused for its token is sent
// again, and with which token: the zero one is the current one. An error is
// what the client is told instead of the refusal.
func (e *exchange) secondChance(ctx context.Context, used pat.Token) (with pat.Token, ok bool, err error) {
	p := e.proxy
	if p.current().Same(used) {
		if e.tries.refused || p.refused == nil {
			return with, false, nil
		}
		e.tries.refused = true
		p.stats.refused.Add(1)
		patient, cancel := context.WithDeadline(ctx, e.patience())
		again, ok := p.refused(patient, used)
		late := patient.Err() != nil
		cancel()
		if again = p.ours(again); ok && !again.IsZero() && e.body.whole {
			if p.current().Same(again) {
				again = pat.Token{}
			}
			return again, true, nil
		}
		if p.current().Same(used) {
			if late && ctx.Err() == nil && e.body.whole {
				return with, false, noToken{"Databricks calls patrol's token invalid, and patrol is still looking into it. " + p.whyNoToken(used)}
			}
			return with, false, nil
		}
	}
	if e.tries.stale || !e.body.whole {
		return with, false, nil
	}
	e.tries.stale = true
	p.stats.stale.Add(1)
	return with, true, nil
}
