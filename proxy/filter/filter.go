// Package filter mends what coding agents send that Databricks' model endpoints
// reject, and what the endpoints send that the agents misread.
//
// Request filters a request's body and returns the Call, which filters the
// response to it. Both hold to this:
//
//   - What needs no change passes byte for byte. What changes is spliced into
//     the text that came; all around it stays as it was.
//   - What isn't understood passes untouched: text that isn't JSON, a value of
//     another type than the API has there, a key that stands twice, a body or an
//     event that is too large. (JSON is checked but for escapes that are none,
//     in strings that no rule reads; see doc.)
//   - A request that would have worked still works, and nothing here fails:
//     there is no error to return.
//   - Filtering what was filtered changes nothing.
//
// All of it works on an index of the JSON text (scan.go, doc.go) and records
// edits (splice.go). A request goes through these rules, in this order:
// schema.go (tools), blank.go and orphan.go (messages), quirks.go (keys that a
// model refuses). A response to chat completions goes through choice.go, whether
// it is one JSON text or a stream of events (sse.go, event.go); a tool call whose
// name is hidden in its arguments (unwrap.go) is held back until they are
// complete (toolcall.go). Responses of the other APIs pass.
package filter

import (
	"net/http"
	"sync"
)

// API is the kind of request, which the proxy knows by its route.
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

// Call is what has to be known of a request in order to filter its response.
// It doesn't hold on to the request's body. The zero Call changes nothing.
type Call struct {
	api   API
	tools toolNames
}

// Request filters the body of a request whose header is h, which may be nil.
//
// It returns body itself, and h is left alone, if nothing needs to change. If
// something does, it returns a new slice, and h describes that: the body isn't
// compressed any more, and what was said about the old bytes is gone.
//
// The new slice lies in what spare returns: an empty buffer with room for
// n bytes, or nil if there is none; then it is made. So it is if spare is nil.
//
// The model is the one in the path; "" means that the body names it.
func Request(api API, model string, h http.Header, body []byte, spare func(n int) []byte) ([]byte, Call) {
	call := Call{api: api}
	if !applies(api, model) {
		return body, call
	}
	decoded, wasEncoded, ok := decodeBody(encodingOf(h), body, maxBody)
	if !ok {
		return body, call
	}
	r := requests.Get().(*request)
	defer r.release()
	if !r.parse(decoded) {
		return body, call
	}
	r.applyRules(api, model)
	call.tools = r.tools
	out := r.edits.editedText(&r.document, spare)
	if out == nil {
		return body, call
	}
	if h != nil {
		markRewritten(h, len(out), wasEncoded)
	}
	return out, call
}

// applies reports whether any rule is for such requests.
func applies(api API, model string) bool {
	switch api {
	case ChatCompletions, AnthropicMessages:
		return true
	case GeminiGenerate:
		return quirksOf(model) != 0
	}
	return false
}

// requests keeps the working memory of Request.
var requests = sync.Pool{New: func() any { return new(request) }}
