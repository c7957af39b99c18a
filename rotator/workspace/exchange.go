package workspace

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/databricks/databricks-sdk-go/logger"
)

// exchange is one call on its way through the SDK and back: what goes in by
// its context, and what came of it.
type exchange struct {
	auth    http.Header
	secrets []string // no error shows them

	taken  atomic.Bool // the one attempt has been made
	status int         // of the answer; 0 if there was none
}

type exchangeKey struct{}

// context returns a context that takes x through the SDK, which logs nothing
// on it: its debug lines hold bodies and headers.
func (x *exchange) context(ctx context.Context) context.Context {
	return logger.NewContext(context.WithValue(ctx, exchangeKey{}, x), silent)
}

var silent = &logger.SimpleLogger{Level: logger.LevelError + 1}

// failed is what the SDK learns of a callError. It decides by words such as
// "connection refused", and by what an error wraps, whether to try again.
type failed struct{ why *callError }

func (failed) Error() string { return "no usable answer" }

// guarded is the SDK's transport. It makes one attempt per call, to the
// client's host alone and with the call's own credential, and hands back complete
// JSON or a callError.
type guarded struct{ c *Client }

// maxReply is far more than a list of 600 tokens.
const maxReply = 4 << 20

// RoundTrip implements http.RoundTripper.
func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil || x.taken.Swap(true) {
		return nil, failed{&callError{text: "the SDK made an attempt that it was not to make", uncertain: true}}
	}
	resp, err := g.send(r, x)
	if err != nil {
		return nil, failed{err}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := g.read(r.Context(), x, resp)
	if err != nil {
		return nil, failed{err}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	resp.ContentLength = int64(len(body))
	return resp, nil
}

// send sends r to the client's host.
func (g guarded) send(r *http.Request, x *exchange) (*http.Response, *callError) {
	var asked, got atomic.Bool // for a connection
	out := r.Clone(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { got.Store(true) },
	}))
	host := g.c.host.URL()
	out.URL.Scheme, out.URL.Host, out.Host = host.Scheme, host.Host, ""
	maps.Copy(out.Header, x.auth)
	if g.c.userAgent != "" {
		sdk := strings.TrimPrefix(out.Header.Get("User-Agent"), "unknown/0.0.0 ") // its product, which is a global
		out.Header.Set("User-Agent", g.c.userAgent+" "+sdk)
	}
	resp, err := g.c.transport().RoundTrip(out)
	if err != nil {
		// A transport that asks for no connection, as one without sockets,
		// tells nothing about what was sent.
		return nil, x.noAnswer(r.Context(), g.c, err, got.Load() || !asked.Load())
	}
	return resp, nil
}

// read returns the body of an answer, if that can be used.
func (g guarded) read(ctx context.Context, x *exchange, resp *http.Response) ([]byte, *callError) {
	x.status = resp.StatusCode
	if resp.StatusCode/100 == 3 {
		return nil, &callError{text: g.c.host.String() + ": it redirects to " + target(resp) + ", which is not where its API is"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	whole := isObject(body)
	if whole {
		g.c.learnTime(resp.Header)
	}
	switch {
	case err != nil:
		e := g.c.unusableAnswer("the answer broke off: " + redact(err.Error(), x.secrets))
		e.is = causes(ctx, err)
		return nil, e
	case len(body) > maxReply:
		return nil, g.c.unusableAnswer("the answer is over " + strconv.Itoa(maxReply>>20) + " MB")
	case resp.StatusCode >= 400:
		return nil, refused("the workspace", resp, body, x.secrets)
	case !whole:
		return nil, g.c.unusableAnswer("the answer is not the JSON that the API gives (" + kind(resp.Header, body) + ")")
	}
	return body, nil
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
