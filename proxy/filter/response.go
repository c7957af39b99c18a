package filter

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// maxResponse is the size, in bytes, over which a JSON response isn't looked at.
const maxResponse = 16 << 20

// Response filters res, the response to the call: it changes the body, the
// header and the length, if they need it. It never fails, so that it can be
// called from httputil.ReverseProxy's ModifyResponse as it is.
//
// A stream of events is filtered while it is read: an event leaves in the Read
// in which its last byte came, unless it is part of a tool call that has to be
// known whole. Any other JSON is read here, and Response blocks until it has
// come. If that breaks off, the body yields what came, and the error.
func (c Call) Response(res *http.Response) {
	if c.api != ChatCompletions || res.StatusCode/100 != 2 || res.Body == nil || res.Body == http.NoBody {
		return
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case media == "text/event-stream":
		c.stream(res)
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		c.whole(res)
	}
}

func (c Call) stream(res *http.Response) {
	encoding := encodingOf(res.Header)
	src, err := decoder(encoding, res.Body)
	if err != nil {
		return
	}
	res.Body = newStream(src, res.Body, c.tools)
	res.ContentLength = -1
	rewritten(res.Header, -1, encoding != "")
}

func (c Call) whole(res *http.Response) {
	if res.ContentLength > maxResponse {
		return
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil || len(raw) > maxResponse {
		rest := io.Reader(res.Body)
		if err != nil {
			rest = failing{err}
		}
		res.Body = body{io.MultiReader(bytes.NewReader(raw), rest), res.Body}
		return
	}
	if plain, decoded, ok := decodeBody(encodingOf(res.Header), raw, maxResponse); ok {
		if out := c.json(plain); out != nil {
			raw = out
			n := int64(len(out))
			if res.ContentLength < 0 {
				n = -1
			}
			res.ContentLength = n
			rewritten(res.Header, int(n), decoded)
		}
	}
	res.Body = body{bytes.NewReader(raw), res.Body}
}

// json returns the filtered form of a response that is one JSON text, nil if
// nothing needs to change.
func (c Call) json(plain []byte) []byte {
	a := answers.Get().(*answer)
	defer a.release()
	a.tools = c.tools
	if !a.parse(plain) || a.kind(0) != object {
		return nil
	}
	a.plain()
	return a.edits.result(&a.doc, nil)
}

// answers keeps the working memory of Response.
var answers = sync.Pool{New: func() any { return new(answer) }}

func (a *answer) release() {
	if cap(a.nodes) > keepNodes || cap(a.edits.text) > keepText || cap(a.args) > keepText {
		return
	}
	a.src, a.object.src = nil, nil
	a.edits.reset()
	a.tools = ""
	answers.Put(a)
}

// body reads from one thing and closes another.
type body struct {
	io.Reader
	io.Closer
}

// failing is the end of a body that broke off.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
