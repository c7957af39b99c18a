package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"patrol/proxy/filter"
	"patrol/rotator/pat"
)

// noToken is the error of a request that there is no token for.
type noToken struct{ reason string }

func (e noToken) Error() string { return e.reason }

// RoundTrip sends the request with the current token, and again where that
// can hide from the client that the token has changed or a connection died:
//
//   - without a token that may be used, it waits for one first;
//   - if the upstream calls the token invalid and another is current now, with
//     that one: once, unless tokens change faster than requests are answered,
//     and mostStale times at most;
//   - once if it does so of the current token, and Config.Refused knows another;
//   - once if the connection dies before any byte of an answer. The upstream
//     may have begun to work, so that a model's answer may be billed twice;
//     the workspace's API is asked again only for what changes nothing.
//
// Beyond that the client gets what the upstream says. What http.Transport sends
// again by itself, connection bounds.
func (e *exchange) RoundTrip(out *http.Request) (*http.Response, error) {
	defer e.release()
	var with *pat.Token // to be sent with; nil is the current one
	for first := true; ; first = false {
		if !first {
			// The last attempt's request may still be read by its connection.
			out = out.Clone(out.Context())
		}
		res, used, err := e.attempt(out, with)
		switch {
		case err != nil && e.mayResend(out, err):
			with = nil
			continue
		case err != nil:
			return nil, err
		case !e.saysInvalidToken(res):
			return res, nil
		}
		again := false
		if with, again, err = e.secondChance(out.Context(), used); !again && err == nil {
			return res, nil
		}
		_ = res.Body.Close()
		if err != nil {
			return nil, err
		}
		e.proxy.log.Info("sending again: the token was refused", "method", out.Method, "path", out.URL.Path, "status", res.StatusCode, "token", used)
	}
}

// mostStale is how often a request is sent again because its token was
// replaced on the way.
const mostStale = 10

// tries is what has been done for a request already.
type tries struct {
	reset   bool
	refused *pat.Token // the token that was current and refused; nil if none was
	stale   int
}

// attempt sends the request once. used is the token that it bore. Tokens go by
// pointer here: by value they would make each stream's stack twice as large.
func (e *exchange) attempt(out *http.Request, with *pat.Token) (res *http.Response, used *pat.Token, err error) {
	g, err := e.acquire(out.Context())
	if err != nil {
		return nil, nil, err
	}
	// Held until the answer's header is there: see tokens. A token that isn't
	// the current one holds nothing; whoever chose it answers for it.
	defer e.proxy.tokens.release(g)
	if used = &g.token; with != nil {
		used = with
	}
	e.body.attach(out, &e.conn)
	out.Header.Set("Authorization", "Bearer "+used.Expose())
	e.conn.watch(out)
	res, err = e.conn.roundTrip(e.proxy.upstream(), out)
	return res, used, err
}

// acquire returns the current generation once it has a token that may be
// used. The caller releases it.
func (e *exchange) acquire(ctx context.Context) (*generation, error) {
	for {
		g := e.proxy.tokens.acquire()
		if g.usable() {
			return g, nil
		}
		e.proxy.tokens.release(g)
		if !e.await(ctx, g) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return nil, noToken{e.proxy.whyNoToken(&g.token)}
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

// mayResend reports whether an attempt that ended with err is made again.
func (e *exchange) mayResend(out *http.Request, err error) bool {
	if _, none := errors.AsType[noToken](err); none || e.tries.reset || out.Context().Err() != nil || !e.body.whole {
		return false
	}
	if errors.Is(err, errTurnedAway) || !e.conn.died() {
		return false
	}
	if !e.route.model() && out.Method != http.MethodGet && out.Method != http.MethodHead {
		return false
	}
	e.tries.reset = true
	e.proxy.stats.resets.Add(1)
	e.proxy.log.Info("sending again: the connection died before an answer", "method", out.Method, "path", out.URL.Path, "err", harmless(err))
	return true
}

// secondChance says whether a request that was refused for its token is sent
// again, and with which token: nil is the current one. An error is what the
// client is told instead of the refusal.
func (e *exchange) secondChance(ctx context.Context, used *pat.Token) (with *pat.Token, again bool, err error) {
	if e.proxy.current().Same(*used) {
		if e.tries.refused != nil || e.proxy.refused == nil {
			return nil, false, nil
		}
		e.tries.refused = used
		with, again, err := e.askRefused(ctx, used)
		if err != nil || again {
			return with, again, err
		}
	}
	if e.tries.refused != nil && e.proxy.current().Same(*e.tries.refused) {
		return nil, false, nil
	}
	if e.tries.stale == mostStale || !e.body.whole {
		return nil, false, nil
	}
	e.tries.stale++
	e.proxy.stats.stale.Add(1)
	return nil, true, nil
}

// askRefused is secondChance for the current token: it asks Config.Refused.
func (e *exchange) askRefused(ctx context.Context, used *pat.Token) (with *pat.Token, again bool, err error) {
	p := e.proxy
	p.stats.refused.Add(1)
	patient, cancel := context.WithDeadline(ctx, e.patience())
	defer cancel()
	tok, ok := p.refused(patient, *used)
	switch tok = p.ours(tok); {
	case !e.body.whole:
		return nil, false, nil
	case ok && p.current().Same(tok):
		return nil, true, nil
	case ok && !tok.IsZero():
		return &tok, true, nil
	case patient.Err() != nil && ctx.Err() == nil && p.current().Same(*used):
		return nil, false, noToken{"Databricks calls patrol's token invalid, and patrol is still looking into it. " + p.whyNoToken(used)}
	}
	return nil, false, nil
}

// mostRefusal is how much of an error's body is looked at, in bytes; those
// that speak of a token have some hundred.
const mostRefusal = 8 << 10

// saysInvalidToken reports whether the answer says that the token isn't valid. It reads
// the body's beginning, and puts it back.
func (e *exchange) saysInvalidToken(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return false
	}
	// What is longer or comes piece by piece is another matter, and isn't held
	// up.
	if res.ContentLength > mostRefusal || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return false
	}
	start, _ := io.ReadAll(io.LimitReader(res.Body, mostRefusal)) // its error comes again when the rest is read
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), res.Body), res.Body}
	return pat.SaysInvalid(res.StatusCode, decoded(res.Header.Get("Content-Encoding"), start))
}

// decoded undoes a content encoding as far as it goes.
func decoded(encoding string, body []byte) []byte {
	dec, ok := filter.NewDecoder(encoding, bytes.NewReader(body))
	if !ok {
		return body
	}
	plain, _ := io.ReadAll(io.LimitReader(dec, mostRefusal)) // what came before an error counts
	return plain
}
