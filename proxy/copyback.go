package proxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"patrol/proxy/filter"
	"patrol/proxy/upstream"
	"patrol/rotator/pat"
)

// filterRequest mends the request's body, if the filter is for such requests, and
// readies the filter of its answer. A body that isn't whole passes as it is.
func (e *exchange) filterRequest() {
	r := e.r
	if e.proxy.cfg.NoFilter || r.Method != http.MethodPost || !e.body.whole || e.body.size == 0 {
		return
	}
	kind, model := filtered(e.route.api, r.URL.Path)
	if kind == 0 {
		return
	}
	// What the filter needs is charged too, and refused once the client has left.
	var lent [][]byte
	lend := func(n int) []byte {
		if r.Context().Err() != nil {
			return nil
		}
		buf := e.proxy.memory.lend(n, 0)
		if buf != nil {
			lent = append(lent, buf)
		}
		return buf
	}
	charged := false
	defer func() { // also where the filter panics
		for _, buf := range lent {
			if !charged || !sameMemory(buf, e.body.data) {
				e.proxy.memory.reclaim(buf)
			}
		}
	}()
	mended, call := filter.Request(kind, model, r.Header, e.body.data, lend)
	e.call, e.accept = call, call.Accept(r.Header)
	if !sameMemory(mended, e.body.data) {
		charged = slices.ContainsFunc(lent, func(buf []byte) bool { return sameMemory(buf, mended) })
		e.body.replace(mended, charged)
	}
	if bound := e.call.Unfiltered(); bound != "" {
		e.countUnfiltered(bound)
	}
}

func sameMemory(a, b []byte) bool { return cap(a) > 0 && cap(b) > 0 && &a[:1][0] == &b[:1][0] }

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

// cleanAnswer takes off what an upstream says to browsers of its host, which isn't ours,
// and leads a redirect below the route's base back to us. Any other is an error: nobody is
// to follow it with what was meant for the workspace.
func (e *exchange) cleanAnswer(status int) error {
	h := e.w.Header()
	for name := range h {
		if forUpstreamsHost(name) {
			delete(h, name)
		}
	}
	if h["Location"] == nil || status/100 != 3 {
		return nil
	}
	asked, err := e.route.to.Parse(e.out.Target)
	if err != nil {
		return err // which the server has parsed before
	}
	to, err := asked.Parse(h.Get("Location"))
	if err != nil || !consists(to.Host, func(c byte) bool { return alphanumeric(c) || strings.IndexByte(".-:[]", c) >= 0 }) {
		return redirectError{"an address that can't be read"}
	}
	here, ok := e.route.local(to)
	if !ok {
		return redirectError{pat.Redact(to.Host)}
	}
	h.Set("Location", here)
	return nil
}

// forUpstreamsHost reports whether a field tells browsers of the upstream's host.
func forUpstreamsHost(name string) bool {
	switch name {
	case "Set-Cookie", "Alt-Svc", "Strict-Transport-Security", "Clear-Site-Data", "Public-Key-Pins", "Nel", "Report-To":
		return true
	}
	return strings.HasPrefix(name, "Access-Control-")
}

// redirectError is an answer that leads to another host, or out of its route.
type redirectError struct{ host string }

func (e redirectError) Error() string { return "it redirects to " + e.host }

// beginAnswer returns the body of the answer as the client gets it, and sends the header
// on its way.
func (e *exchange) beginAnswer(a *attempt) io.Reader {
	var body io.Reader = a.res
	if len(a.begin) > 0 {
		body = io.MultiReader(bytes.NewReader(a.begin), a.res)
	}
	h := e.w.Header()
	if e.call != (filter.Call{}) {
		res := &http.Response{StatusCode: a.res.Status, Header: h, ContentLength: a.res.Length, Body: bodyOf{body, a.res}}
		if bound := e.call.Response(res); bound != "" {
			e.countUnfiltered(bound)
		}
		body = res.Body
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // or the server would guess one
	}
	e.answering = true
	e.w.WriteHeader(a.res.Status)
	return body
}

// bodyOf is a body that is read from one place and closed at another.
type bodyOf struct {
	io.Reader
	io.Closer
}

// largeCopies lend the buffers of answers that come fast. A slow stream has a small one of
// its own.
var largeCopies = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyBack sends the answer's body to the client. Nothing of it is held back: what was
// written is flushed whenever the next Read of res is about to wait.
func (e *exchange) copyBack(res *upstream.Response, body io.Reader) {
	flusher, _ := e.w.(http.Flusher)
	if flusher != nil {
		res.BeforeWait(flusher.Flush)
	}
	wrote, err := e.copyBody(body)
	if flusher != nil && (wrote && err != nil || len(res.Trailer) > 0) {
		// The abort below would drop what isn't flushed; and only an answer whose
		// header says that it comes in chunks has a trailer.
		flusher.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for name, values := range res.Trailer {
		if !forUpstreamsHost(name) {
			e.w.Header()[http.TrailerPrefix+name] = values
		}
	}
}

// copyBody reports whether something of the body was written.
func (e *exchange) copyBody(body io.Reader) (wrote bool, err error) {
	buf := make([]byte, 1<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			wrote = true
			if _, err := e.w.Write(buf[:n]); err != nil {
				return wrote, err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return wrote, nil
		case err != nil:
			e.log().Debug("the answer broke off", "err", harmless(err))
			return wrote, err
		case n == 1<<10 && n == len(buf):
			large := largeCopies.Get().(*[32 << 10]byte)
			defer largeCopies.Put(large)
			buf = large[:]
		}
	}
}
