package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/databricks/databricks-sdk-go/logger"

	"patrol/rotator/pat"
)

// exchange is one call on its way through the SDK and back: what goes in by
// its context, and what came of it.
type exchange struct {
	auth    http.Header
	secrets []string // no error shows them

	taken       atomic.Bool // the one attempt has been made
	asked, got  atomic.Bool // for a connection
	status      int         // of the answer; 0 if there was none
	saysInvalid bool        // it does, of the credential
	retryAfter  time.Duration
}

type exchangeKey struct{}

// context returns a context that takes x through the SDK, which logs nothing
// on it: its debug lines hold bodies and headers.
func (x *exchange) context(ctx context.Context) context.Context {
	return logger.NewContext(context.WithValue(ctx, exchangeKey{}, x), silent{})
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// silent is a logger for the SDK that drops everything.
type silent struct{}

func (silent) Enabled(context.Context, logger.Level) bool { return false }
func (silent) Tracef(context.Context, string, ...any)     {}
func (silent) Debugf(context.Context, string, ...any)     {}
func (silent) Infof(context.Context, string, ...any)      {}
func (silent) Warnf(context.Context, string, ...any)      {}
func (silent) Errorf(context.Context, string, ...any)     {}

// failure is an attempt without an answer that can be used. Its Error is a
// constant: the SDK decides by words such as "connection refused" whether to
// try again, and puts what it is told into errors of its own. What happened is
// in the fields.
type failure struct {
	what  string // for people
	cause error
	void  bool // the workspace can't have acted on the request
}

func (*failure) Error() string { return "no usable answer" }

// guarded is the SDK's transport. It makes one attempt per call, to the
// client's host alone, and hands back complete JSON or a failure.
type guarded struct{ c *Client }

// maxReply is far more than a list of 600 tokens.
const maxReply = 4 << 20

// RoundTrip implements http.RoundTripper.
func (g *guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	x := exchangeOf(r.Context())
	if x == nil || x.taken.Swap(true) {
		return nil, &failure{what: "the SDK made an attempt that it was not to make", void: true}
	}
	resp, f := g.attempt(r, x)
	if f != nil {
		return nil, f
	}
	return resp, nil
}

func (g *guarded) attempt(r *http.Request, x *exchange) (*http.Response, *failure) {
	if !pat.HostOf(r.URL).MaySame(g.c.host) {
		return nil, &failure{what: "the SDK asked for another host than " + g.c.host.String(), void: true}
	}
	out := r.Clone(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { x.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { x.got.Store(true) },
	}))
	if g.c.userAgent != "" {
		sdk := strings.TrimPrefix(out.Header.Get("User-Agent"), "unknown/0.0.0 ") // its product, which is a global
		out.Header.Set("User-Agent", g.c.userAgent+" "+sdk)
	}
	resp, err := g.c.transport().RoundTrip(out)
	if err != nil {
		// A transport that asks for no connection, as one without sockets,
		// tells nothing about what was sent.
		return nil, &failure{cause: err, void: x.asked.Load() && !x.got.Load()}
	}
	defer func() { _ = resp.Body.Close() }()
	x.status, x.retryAfter = resp.StatusCode, retryAfter(resp.Header)
	if resp.StatusCode/100 == 3 {
		return nil, &failure{what: "it redirects to " + target(resp) + ", which is not where its API is", void: true}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	switch {
	case err != nil:
		return nil, &failure{what: "the answer broke off", cause: err}
	case len(body) > maxReply:
		return nil, &failure{what: "the answer is over " + strconv.Itoa(maxReply>>20) + " MB"}
	case resp.StatusCode/100 == 2 && !isObject(body):
		return nil, &failure{what: "the answer is not the JSON that the API gives (" + kind(resp.Header, body) + ")"}
	}
	x.saysInvalid = pat.SaysInvalid(resp.StatusCode, body)
	if isObject(body) {
		g.c.clock.note(resp.Header)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

// retryAfter returns how long the answer asks to wait, 0 if it doesn't. A date
// is measured from the answer's own: the two clocks may differ.
func retryAfter(h http.Header) time.Duration {
	after := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(after); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	at, err := http.ParseTime(after)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return max(at.Sub(now), 0)
}

// target names where a redirect leads, and no more of its URL than the host: a
// login's has secrets in it.
func target(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	if u.Path == "/login.html" && u.Query().Get("error") == "private-link-validation-error" {
		return "a page that says that this network may not reach it (private link)"
	}
	return u.Host
}

func isObject(body []byte) bool {
	body = bytes.TrimSpace(body)
	return len(body) > 0 && body[0] == '{' && json.Valid(body)
}

// kind describes a body without showing it.
func kind(h http.Header, body []byte) string {
	switch t := bytes.TrimSpace(body); {
	case len(t) == 0:
		return "it is empty"
	case t[0] == '<':
		return "it is a web page: a proxy's or a login's"
	case t[0] == '{':
		return "it is cut off or damaged after " + strconv.Itoa(len(body)) + " bytes"
	}
	return strconv.Itoa(len(body)) + " bytes of " + redact(h.Get("Content-Type"), nil)
}

// badReply is an answer that is JSON, and not what was asked for.
func badReply(what string) error { return &failure{what: "the answer can't be used: " + what} }

// asFailure returns the failure in err, nil if there is none.
func asFailure(err error) *failure {
	f, _ := errors.AsType[*failure](err)
	return f
}
