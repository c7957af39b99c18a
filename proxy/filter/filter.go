// Package filter corrects what coding agents send that Databricks' model endpoints
// reject, and what the endpoints send that the agents misread.
//
// Request filters a request's body and returns a Call, which filters the response
// to it. For both of them:
//
//   - A body that needs no change passes byte for byte. In any other, only what
//     has to change is replaced; the text around it stays as it was.
//   - What isn't understood passes unchanged: text that isn't JSON, a value of
//     another type than the API has there, a key that occurs twice, an event of
//     several data lines. (Invalid escapes in strings that no rule reads aren't
//     noticed; see document.)
//   - The work is in proportion to the text. What exceeds a bound passes unchanged,
//     and Call.Unfiltered says so: a text that is too long, also once it is inflated,
//     is nested too deep, has too many values, would become more than twice as long
//     and 1 MB, or for which there is no memory.
//   - A request that would have worked still works. Nothing here fails, so there
//     is no error to return.
//   - Filtering twice gives the same as filtering once.
//
// The rules read an index of the JSON text (scan.go, document.go, text.go) and
// record edits (splice.go). The rules for requests run in this order: schema.go
// (tools), orphan.go and blank.go (messages; for Gemini's own API the ids in
// quirks.go), quirks.go (members that a model refuses). The rules for responses
// are for chat completions only, and are in choices.go and unwrap.go. A stream of
// events (sse.go) holds back a tool call whose name is in its arguments until these
// are complete (toolcall.go). encoding.go removes a body's Content-Encoding.
package filter

import (
	"net/http"
	"sync"
)

// API is a kind of request. The proxy knows it by the route.
type API int

const (
	// ChatCompletions is OpenAI's POST …/chat/completions.
	ChatCompletions API = iota + 1
	// AnthropicMessages is POST …/v1/messages, count_tokens included.
	AnthropicMessages
	// GeminiGenerate is POST …/models/M:generateContent, the streaming one
	// included.
	GeminiGenerate
)

// The bounds that a body may exceed, as Call.Unfiltered names them.
const (
	sizeBound   = "size"   // maxBody or maxResponse, once it is inflated too
	depthBound  = "depth"  // maxDepth or maxRefDepth
	valuesBound = "values" // maxNodes
	growthBound = "growth" // maxEdited
	memoryBound = "memory" // what lend lends
)

// Call is what must be known of a request in order to filter its response. It
// doesn't keep the request's body in memory. The zero Call changes nothing.
type Call struct {
	api        API
	tools      *toolNames
	changed    bool   // the request's body was
	decoded    bool   // and its Content-Encoding removed
	unfiltered string // see Unfiltered
}

// Unfiltered returns the bound that the request's body exceeds, so that it has passed as
// it came: "size", "depth", "values", "growth" or "memory". It is "" if it exceeds none.
func (c Call) Unfiltered() string { return c.unfiltered }

// Request filters the body of a request whose header is h, which may be nil. model
// is the one that the path names; if it is "", the body names the model.
//
// If nothing needs to change, it returns body itself. Otherwise it returns a new slice,
// which h no longer describes: see Call.Outdates.
//
// What a compressed body becomes, and the new slice, lie in memory that lend lends: an
// empty buffer with room for n bytes, or nil to refuse it. If lend is nil, memory is
// allocated. Without memory a compressed body passes as it came; but the new slice, for
// which lend is asked last, is then allocated, as the caller can give up the body for it.
// Once Request returns, all buffers are the caller's again: nothing uses them, but for the
// one that the new slice lies in. lend is asked for each 1 MB that a body is inflated to, so
// it can also end the work on a request whose client has left.
func Request(api API, model string, h http.Header, body []byte, lend func(n int) []byte) ([]byte, Call) {
	call := Call{api: api}
	if !applies(api, model) {
		return body, call
	}
	if lend == nil {
		lend = allocate
	}
	encoding := encodingOf(h)
	decoded, exceeded := inflate(encoding, body, maxBody, lend)
	call.unfiltered = exceeded
	if decoded == nil {
		return body, call
	}
	r := requests.Get().(*request)
	defer r.release()
	if r.parse(decoded) {
		r.applyRules(api, model)
	}
	call.tools = r.tools
	out := r.edits.editedText(&r.document, lend)
	call.unfiltered = r.exceeded
	if out == nil {
		return body, call
	}
	call.changed, call.decoded = true, !isIdentity(encoding)
	return out, call
}

// allocate lends memory without a bound.
func allocate(n int) []byte { return make([]byte, 0, n) }

// applies reports whether there is a rule for such requests.
func applies(api API, model string) bool {
	switch api {
	case ChatCompletions, AnthropicMessages:
		return true
	case GeminiGenerate:
		return quirksOf(model) != 0
	}
	return false
}

// requests holds the memory that calls of Request use one after the other.
var requests = sync.Pool{New: func() any { return new(request) }}
