package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"patrol/proxy/filter"
	"patrol/proxy/upstream"
	"patrol/rotator/pat"
)

// exchange is one request's way upstream and its answer's way back, all of it in the
// goroutine of its handler: receive, build, send, copy back.
type exchange struct {
	proxy *Proxy
	route *route
	raw   string // the path as it came
	w     http.ResponseWriter
	r     *http.Request

	client string // the name of its key, for the log

	upload upload
	body   body
	out    upstream.Request
	fields [3]upstream.Field // out.Add's
	call   filter.Call       // for the answer
	accept string            // in place of Accept-Encoding; "": that stays

	done     tries
	asked    *pat.Token // that Config.Refused was asked about; nil: none
	deadline time.Time  // for all waiting for tokens; zero: it hasn't waited yet
	crowded  time.Time  // the same for memory

	answering bool // the answer's header is on its way to the client
}

// noToken is the error of a request that there is no token for.
type noToken struct{ reason string }

func (e noToken) Error() string { return e.reason }

// serve sends the request on and its answer back. Its frame lies under each
// stream for as long as that lives, and a stack that grows past 8 KB has 16: so
// what it does once is in functions of its own, here and in Proxy.ServeHTTP.
func (e *exchange) serve() {
	a := e.forward()
	if a.err != nil {
		e.failed(a.err)
		return
	}
	defer func() { _ = a.res.Close() }()
	if err := e.cleanAnswer(a.res.Status); err != nil {
		e.failed(err)
		return
	}
	e.copyBack(a.res, e.beginAnswer(&a))
}

// forward returns the attempt whose answer the client gets. The body's memory is given
// back then.
func (e *exchange) forward() attempt {
	defer func() { e.body.release() }()
	if err := e.receive(); err != nil {
		return attempt{err: err}
	}
	e.build()
	return e.send()
}

// receive reads the body.
func (e *exchange) receive() (err error) {
	r := e.r
	e.upload = upload{from: r.Body, client: e.w, since: time.Now()}
	e.body, err = e.proxy.memory.readBody(&e.upload, r.ContentLength, e.proxy.cfg.ReplayLimit, e.awaitRoom)
	switch {
	case is[noToken](err):
		return err
	case err != nil:
		return &upstream.RestError{Err: err}
	case e.body.short:
		e.countUnkept()
	case e.body.whole:
		// The server would look for more of it before it writes the answer's
		// header, deep enough for the stack to grow, once for each stream.
		_ = r.Body.Close()
	}
	return nil
}

// mostCrowded is how long a request with a token waits for memory. Bodies stay until their
// answers begin, and models think for minutes: it would wait for nothing.
const mostCrowded = time.Second

// awaitRoom is for readBody, where there is no memory. As long as there is no token
// nothing leaves the proxy, so that nobody's memory can be expected before.
func (e *exchange) awaitRoom() (until time.Time, err error) {
	g, err := e.acquire(e.r.Context())
	if err != nil {
		return until, err
	}
	e.proxy.tokens.release(g)
	if e.crowded.IsZero() {
		e.crowded = time.Now().Add(mostCrowded)
	}
	return e.crowded, nil
}

// build makes the request that goes upstream of the one that came in.
func (e *exchange) build() {
	r, query := e.r, e.r.URL.RawQuery
	if e.route.api == gemini {
		query = withoutKey(query)
	}
	e.filterRequest()
	add := e.fields[:1] // the token, which each attempt puts there
	if e.accept != "" {
		add = append(add, upstream.Field{Name: "Accept-Encoding", Value: e.accept})
	}
	if strings.Contains(r.Header.Get("Te"), "trailers") {
		add = append(add, upstream.Field{Name: "Te", Value: "trailers"})
	}
	e.out = upstream.Request{
		Method: r.Method, Target: e.route.target(e.raw, query),
		Header: r.Header, Omit: e.omits, Add: add, Trailer: r.Trailer,
		Body: e.body.data, Length: e.body.size,
		Resend: e.body.whole && e.route.repeatable(r.Method),
	}
	if r.ProtoAtLeast(1, 1) { // 1.0 knows no 1xx
		e.out.Interim = e.passInterim
	}
	if !e.body.whole {
		e.out.Rest = &e.upload
	}
	if len(r.Trailer) > 0 {
		e.out.Length = -1
	}
}

// passInterim passes an answer with 1xx on.
func (e *exchange) passInterim(status int) {
	_ = e.cleanAnswer(status) // it is no redirect
	e.w.WriteHeader(status)
}

// omits says which fields don't go upstream: every credential, what the client says of
// a proxy before us, and what the filter has made wrong.
func (e *exchange) omits(name string) bool {
	switch name {
	case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "X-Real-Ip", "Forwarded",
		"Expect",                                                                                          // the body is there already
		"X-Http-Method", "X-Http-Method-Override", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url": // what was checked is what is asked for
		return true
	case "Accept-Encoding":
		return e.accept != ""
	}
	return strings.HasPrefix(name, "X-Forwarded-") || e.call.Outdates(name)
}

// withoutKey returns the query without the credential that Google's clients
// may put there.
func withoutKey(query string) string {
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool { return strings.HasPrefix(pair, "key=") })
	return strings.Join(pairs, "&")
}

// attempt is one sending of the request.
type attempt struct {
	res   *upstream.Response // nil with err
	begin []byte             // of its body, as far as it was read already
	used  *pat.Token         // what the request bore; nil if there was none
	err   error
}

// send makes attempts until there is nothing to be won by another.
func (e *exchange) send() attempt {
	a := e.sendOnce(nil)
	for {
		with, again := e.sendsAgain(&a)
		if a.res != nil && (again || a.err != nil) {
			_ = a.res.Close()
			clear(e.w.Header()) // of what may be answered by us
		}
		if !again {
			return a
		}
		a = e.sendOnce(with)
	}
}

// sendOnce sends the request, with this token, or if it is nil the one in use.
// Tokens go by pointer here: by value they would make each stream's stack twice as large.
func (e *exchange) sendOnce(with *pat.Token) (a attempt) {
	g, err := e.acquire(e.r.Context())
	if err != nil {
		return attempt{err: err}
	}
	// Held until the answer's header is there: see tokens. A token that isn't
	// the current one holds nothing; whoever chose it answers for it.
	defer e.proxy.tokens.release(g)
	if a.used = &g.token; with != nil {
		a.used = with
	}
	e.fields[0] = upstream.Field{Name: "Authorization", Value: "Bearer " + a.used.Expose()}
	a.res, a.err = e.route.host.Do(e.r.Context(), &e.out, e.w.Header())
	return a
}

// sendsAgain says whether another attempt is made after a, and with which token, nil
// being the one in use. It may replace a's error by what the client is told instead.
func (e *exchange) sendsAgain(a *attempt) (with *pat.Token, again bool) {
	o := outcome{died: e.died(a.err), invalid: e.saysInvalidToken(a)}
	may := terms{whole: e.body.whole, repeat: e.out.Resend, ask: e.proxy.cfg.Refused != nil}
	for {
		o.current = a.used != nil && e.proxy.current().Same(*a.used)
		o.refused = e.asked != nil && e.proxy.current().Same(*e.asked)
		var next verdict
		switch next, e.done = decide(o, may, e.done); next {
		case passOn:
			return nil, false
		case sendAfterReset:
			e.out.Fresh = true
			e.proxy.count(&e.proxy.stats.Resets)
			e.log().Info("sending again: the connection died before an answer", "err", harmless(a.err))
			return nil, true
		case sendCurrent:
			e.proxy.count(&e.proxy.stats.Stale)
			e.sayTokenRefused(a)
			return nil, true
		case askAboutToken:
			e.asked = a.used
			if with, again, a.err = e.askRefused(a.used); again {
				e.sayTokenRefused(a)
			}
			if again || a.err != nil {
				return with, again
			}
		}
	}
}

func (e *exchange) sayTokenRefused(a *attempt) {
	e.log().Info("sending again: the token was refused", "status", a.res.Status, "token", a.used)
}

// died reports whether err means that the connection died without a byte of an answer.
func (e *exchange) died(err error) bool {
	failed, ok := errors.AsType[*upstream.Error](err)
	return ok && failed.Sent && !failed.Answered && e.r.Context().Err() == nil
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
		select {
		case <-g.superseded:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Until(e.startWaiting())):
			return nil, noToken{e.proxy.whyNoToken(&g.token)}
		}
	}
}

// startWaiting returns when the request has waited long enough, in all, and begins to count
// with the first wait.
func (e *exchange) startWaiting() time.Time {
	if e.deadline.IsZero() {
		e.proxy.count(&e.proxy.stats.Waited)
		e.deadline = time.Now().Add(e.proxy.cfg.Wait)
	}
	return e.deadline
}

// askRefused asks Config.Refused about the token in use, which was refused. It says
// whether the request is sent again, and with which token: nil is the one in use. An
// error is what the client is told instead of the refusal.
func (e *exchange) askRefused(used *pat.Token) (with *pat.Token, again bool, err error) {
	p, ctx := e.proxy, e.r.Context()
	p.count(&p.stats.Refused)
	patient, cancel := context.WithDeadline(ctx, e.startWaiting())
	defer cancel()
	tok, ok := p.cfg.Refused(patient, *used)
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

// saysInvalidToken reports whether a's answer says that the token isn't valid. It reads
// the beginning of its body into a.begin.
func (e *exchange) saysInvalidToken(a *attempt) bool {
	if a.res == nil {
		return false
	}
	switch a.res.Status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return false
	}
	// What is longer or comes piece by piece is another matter, and isn't held up.
	h := e.w.Header()
	if a.res.Length > mostRefusal || strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
		return false
	}
	a.begin, _ = io.ReadAll(io.LimitReader(a.res, mostRefusal)) // its error comes again when the rest is read
	return pat.SaysInvalid(a.res.Status, decoded(h.Get("Content-Encoding"), a.begin))
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
