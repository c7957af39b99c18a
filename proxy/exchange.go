package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"syscall"
	"time"

	"patrol/proxy/filter"
)

// exchange is one request's way upstream and its answer's way back. It is the
// Transport of a ReverseProxy of its own, so that what is known of the
// request needn't travel in a context.
type exchange struct {
	proxy *Proxy
	route *route
	raw   string // the path as it came

	upload upload
	body   body
	call   filter.Call // for the answer

	tries    tries
	deadline time.Time // for all waiting; zero: it hasn't waited yet
	conn     connection

	answering bool // the answer's header is on its way to the client
}

// errAborted ends a handler without an end of its answer, so that the client
// sees a cut connection. The server knows it.
var errAborted = http.ErrAbortHandler

// serve sends the request on and its answer back. Its frame lies under each
// stream for as long as that lives, and a stack that grows past 8 KB has 16: so
// what it does once is in functions of its own, here and in Proxy.ServeHTTP.
func (e *exchange) serve(w http.ResponseWriter, r *http.Request) {
	in, err := e.receive(w, r)
	if err != nil {
		e.badBody(w, r, err)
		return
	}
	defer e.end()
	e.reverseProxy().ServeHTTP(w, in)
}

// receive reads the body, and returns the request as ReverseProxy is to have
// it: a copy, as the server goes on using r.
func (e *exchange) receive(w http.ResponseWriter, r *http.Request) (in *http.Request, err error) {
	p := e.proxy
	e.upload.begin(w, r, p.log)
	if e.body, err = p.memory.readBody(&e.upload, r.ContentLength, p.replayLimit); err != nil {
		return nil, err
	}
	if e.body.short {
		p.unkept(r)
	}
	e.conn.Context = r.Context()
	in = r.WithContext(&e.conn)
	if e.body.whole {
		in.Body, in.ContentLength = http.NoBody, 0
		// The server would look for more of it before it writes the answer's
		// header, deep enough for the stack to grow, once for each stream.
		_ = r.Body.Close()
	} else {
		in.Body = &e.upload
	}
	if in.Header["Upgrade"] != nil {
		// ReverseProxy would pass it on, or refuse what isn't ASCII by itself.
		in.Header = in.Header.Clone()
		in.Header.Del("Upgrade")
	}
	return in, nil
}

func (e *exchange) reverseProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:        e.rewrite,
		Transport:      e,
		ModifyResponse: e.filterAnswer,
		FlushInterval:  -1,
		BufferPool:     &e.proxy.buffers,
		ErrorHandler:   e.failed,
		ErrorLog:       e.proxy.errorLog,
	}
}

// release gives the body's memory back, early if the answer is a long stream.
func (e *exchange) release() {
	if e.body.payload != nil {
		e.body.release()
		e.body.payload = nil
	}
}

// end frees what is left when the answer has ended.
func (e *exchange) end() {
	e.conn.end()
	e.body.done()
	e.release() // for a request that didn't get as far as RoundTrip
}

// badBody answers a request whose body can't be read.
func (e *exchange) badBody(w http.ResponseWriter, r *http.Request, err error) {
	reason := "reading its body: " + err.Error()
	refusal := answer{status: http.StatusBadRequest, message: "patrol could not read the request's body to its end."}
	switch {
	case e.upload.stalled(): // which has ended r's context
		reason = "nothing more of its body came"
		refusal = answer{status: http.StatusRequestTimeout, message: "patrol got nothing more of the request's body for " + bodyIdle.String() + ". Send it again."}
		w.Header().Set("Connection", "close")
	case r.Context().Err() != nil:
		panic(errAborted)
	}
	e.proxy.log.Warn("request refused", "method", r.Method, "path", r.URL.Path, "reason", reason)
	refusal.send(w, e.route.api)
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
	out.Trailer = nil // HTTP/2 would send it, whatever its names are
	clean(out.Header)
	e.filterRequest(out)
}

// clean takes off what must not reach the upstream: every credential, and
// what the client says of a proxy before us.
func clean(h http.Header) {
	for name := range h {
		switch name {
		case "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie",
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

// failed answers a request that has no answer from upstream.
func (e *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	if e.upload.stalled() {
		e.badBody(w, r, err)
		return
	}
	if r.Context().Err() != nil {
		// The client has gone, or we are shutting down: an end that looks
		// like one would be a lie.
		panic(errAborted)
	}
	if none, ok := errors.AsType[noToken](err); ok {
		e.proxy.stats.noToken.Add(1)
		if skipped, ok := e.proxy.noTokenLog.Take(time.Now()); ok {
			e.proxy.log.Warn("request refused", "method", r.Method, "path", r.URL.Path, "reason", none.reason, "not_logged_before", skipped)
		}
		answer{http.StatusServiceUnavailable, none.reason, 5 * time.Second}.send(w, e.route.api)
		return
	}
	if errors.Is(err, errPanicked) {
		panickedAnswer().send(w, e.route.api)
		return
	}
	e.proxy.stats.failed.Add(1)
	host := e.route.to.Scheme + "://" + e.route.to.Host
	e.proxy.log.Warn("no answer from upstream", "method", r.Method, "upstream", host, "path", r.URL.Path, "err", harmless(err))
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
		return "its certificate is signed by an authority that this machine doesn't know (a private one is named with --upstream-ca)"
	}
	if errors.Is(err, errTurnedAway) {
		return "it turned the request away each time it was sent"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "proxyconnect" {
		return "the proxy that HTTPS_PROXY or HTTP_PROXY names for it can't be reached"
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

// harmless returns an error as it may be logged. Errors of the network tell of
// addresses and certificates; others may quote what the upstream has sent, and
// an upstream can send the token back.
func harmless(err error) string {
	var op *net.OpError
	var verification *tls.CertificateVerificationError
	var alert tls.AlertError
	var number syscall.Errno
	switch {
	case errors.As(err, &op), errors.As(err, &verification), errors.As(err, &alert), errors.As(err, &number),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded):
		return err.Error()
	}
	return fmt.Sprintf("%s (%T)", explain(err), cause(err))
}

// cause returns the innermost of errors that wrap each other.
func cause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return err
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

// filterRequest mends the request's body and header, if the filter is for such
// requests, and readies the filter of its answer. A body that isn't whole
// passes as it is.
func (e *exchange) filterRequest(out *http.Request) {
	if !e.proxy.filter || out.Method != http.MethodPost || !e.body.whole || e.body.size == 0 {
		return
	}
	kind, model := filtered(e.route.api, out.URL.Path)
	if kind == 0 {
		return
	}
	var mended []byte
	mended, e.call = filter.Request(kind, model, out.Header, e.body.data, e.proxy.memory.reuse)
	e.call.Accept(out.Header)
	if len(mended) > 0 && &mended[0] != &e.body.data[0] {
		e.body.replace(mended)
	}
}

// filterAnswer mends the answer.
func (e *exchange) filterAnswer(res *http.Response) error {
	e.call.Response(res)
	e.answering = true
	return nil
}

// filtered returns as what the filter knows a request, 0 if it doesn't, and
// the model if the path names it.
func filtered(of api, path string) (kind filter.API, model string) {
	switch of {
	case chat:
		return filter.ChatCompletions, ""
	case messages, countTokens:
		return filter.AnthropicMessages, ""
	case gemini:
		_, name, _ := strings.Cut(path, "/models/")
		model, method, ok := strings.Cut(name, ":")
		if ok && (method == "generateContent" || method == "streamGenerateContent") {
			return filter.GeminiGenerate, model
		}
	}
	return 0, ""
}
