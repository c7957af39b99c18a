package filter

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
)

// maxResponse is the size, in bytes, above which a JSON response passes unread.
const maxResponse = 16 << 20

// Response filters res, the response to the call: it replaces the body, the header
// and the length if they need it.
//
// A stream of events is filtered while it is read: an event leaves in the Read in
// which its last byte came, unless it is held back because of a tool call that has
// to be complete. Any other JSON is read here: Response blocks until it has come.
// If it breaks off, res.Body yields what came, and then the error.
//
// unfiltered is the bound that such a JSON exceeds, as with Unfiltered. It isn't known of
// the events of a stream.
func (c Call) Response(res *http.Response) (unfiltered string) {
	if c.api != ChatCompletions || res.StatusCode/100 != 2 || res.Body == nil || res.Body == http.NoBody {
		return ""
	}
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case media == "text/event-stream":
		c.filterStream(res)
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return c.filterBody(res)
	}
	return ""
}

func (c Call) filterStream(res *http.Response) {
	encoding := encodingOf(res.Header)
	src, ok := NewDecoder(encoding, res.Body)
	if !ok {
		return
	}
	res.Body = newStream(src, res.Body, c.tools)
	res.ContentLength = -1
	markRewritten(res.Header, -1, encoding != "")
}

// filterBody returns the bound that the body exceeds.
func (c Call) filterBody(res *http.Response) (exceeded string) {
	if res.ContentLength > maxResponse {
		return sizeBound
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxResponse+1))
	if err != nil || len(raw) > maxResponse {
		// An error comes again when the rest is read.
		res.Body = readCloser{io.MultiReader(bytes.NewReader(raw), res.Body), res.Body}
		if err == nil {
			exceeded = sizeBound
		}
		return exceeded
	}
	encoding := encodingOf(res.Header)
	decoded, exceeded := inflate(encoding, raw, maxResponse, allocate)
	if decoded != nil {
		var out []byte
		if out, exceeded = c.filteredJSON(decoded); out != nil {
			raw = out
			n := int64(len(out))
			if res.ContentLength < 0 {
				n = -1
			}
			res.ContentLength = n
			markRewritten(res.Header, int(n), !isIdentity(encoding))
		}
	}
	res.Body = readCloser{bytes.NewReader(raw), res.Body}
	return exceeded
}

// filteredJSON filters a response that is one JSON text. out is nil if nothing needs to
// change, or if the text exceeds a bound.
func (c Call) filteredJSON(text []byte) (out []byte, exceeded string) {
	r := responses.Get().(*response)
	defer r.release()
	r.tools = c.tools
	if r.parse(text) && r.kind(root) == object {
		r.editWhole()
		out = r.edits.editedText(&r.document, allocate)
	}
	return out, r.exceeded
}

// responses holds the memory that calls of Response use one after the other.
var responses = sync.Pool{New: func() any { return new(response) }}

func (r *response) release() {
	if cap(r.nodes)+cap(r.argsDoc.nodes) > maxKeptNodes || cap(r.edits.text) > maxKeptText || cap(r.argsBuf) > maxKeptText {
		return
	}
	r.src, r.argsDoc.src = nil, nil
	r.edits.reset()
	r.tools = nil
	responses.Put(r)
}

// readCloser is a body that is read from one place and closed at another.
type readCloser struct {
	io.Reader
	io.Closer
}
