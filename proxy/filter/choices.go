package filter

import (
	"iter"
	"slices"
)

// response is the work on the JSON of a response: of a whole one, or of one chunk
// of a stream.
type response struct {
	document
	edits edits
	tools *toolNames

	// The memory in which unwrap.go works on the arguments of a call.
	argsDoc   document
	argsEdits edits
	argsBuf   []byte

	// What readParts has found in a content: strings, and values that are none.
	texts, reasoning []int
	hasReasoning     bool
}

// choice is one of the alternatives that a model offers, as far as the rules need
// it. All but index are nodes.
type choice struct {
	index        int // its number
	message      int // its message, or its delta in a stream
	toolCalls    int // the message's tool_calls
	finishReason int // "" while the choice isn't finished
}

// choices yields the choices of a response. key is the member that holds a choice's
// message: "message", or "delta" in a stream.
func (r *response) choices(key string) iter.Seq[choice] {
	return func(yield func(choice) bool) {
		position := 0
		for n := range r.elements(r.get(root, "choices")) {
			c := choice{index: position, message: r.getKind(n, key, object), finishReason: r.getString(n, "finish_reason")}
			if i, ok := r.smallInt(r.get(n, "index")); ok {
				c.index = i
			}
			c.toolCalls = r.getArray(c.message, "tool_calls")
			if !yield(c) {
				return
			}
			position++
		}
	}
}

// smallInt reads a whole number of at most six digits without a sign.
func (r *response) smallInt(n int) (i int, ok bool) {
	if r.kind(n) != number || len(r.raw(n)) > 6 {
		return 0, false
	}
	for _, c := range r.raw(n) {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = i*10 + int(c-'0')
	}
	return i, true
}

// editWhole records the edits of a response that is one JSON text.
func (r *response) editWhole() {
	for c := range r.choices("message") {
		r.joinContentParts(c.message)
		for call := range r.elements(c.toolCalls) {
			r.unwrapCall(call)
		}
		if !r.isEmpty(c.toolCalls) {
			r.fixFinishReason(c.finishReason)
		}
	}
}

// fixFinishReason changes the finish_reason stop of a choice with tool calls to
// tool_calls. Some endpoints send stop:
// https://github.com/BerriAI/litellm/issues/12862.
func (r *response) fixFinishReason(finish int) {
	if r.equals(finish, "stop") {
		r.edits.replace(r.start(finish), r.end(finish), `"tool_calls"`)
	}
}

// joinContentParts makes a string of a content that is a list of parts. Reasoning
// models on Databricks (https://github.com/databricks/appkit/pull/559) and Gemini
// (https://github.com/aaif-goose/goose/pull/8042) send such lists. Reasoning moves
// to reasoning_content.
func (r *response) joinContentParts(message int) {
	content := r.getArray(message, "content")
	if content == 0 || !r.readParts(content) {
		return
	}
	reasoning, unique := r.find(message, "reasoning_content")
	if !unique || r.kind(reasoning) != str && !r.isNull(reasoning) {
		return
	}
	e := &r.edits
	e.begin(r.start(content), r.end(content))
	e.text = r.appendJoined(e.text, r.texts)
	switch {
	case !r.hasReasoning:
	case reasoning == 0:
		e.text = r.appendJoined(append(e.text, `,"reasoning_content":`...), r.reasoning)
	default:
		e.end()
		e.begin(r.start(reasoning), r.end(reasoning))
		e.text = r.appendJoined(e.text, slices.Insert(r.reasoning, 0, reasoning))
	}
	e.end()
}

// appendJoined appends a JSON string of the strings among nodes.
func (r *response) appendJoined(dst []byte, nodes []int) []byte {
	dst = append(dst, '"')
	for _, n := range nodes {
		if r.kind(n) == str {
			dst = append(dst, r.inner(n)...)
		}
	}
	return append(dst, '"')
}

// readParts collects the texts and the reasoning of a content. It returns false if
// one of its parts is something else, or has another form than is known.
func (r *response) readParts(content int) bool {
	r.texts, r.reasoning, r.hasReasoning = r.texts[:0], r.reasoning[:0], false
	for part := range r.elements(content) {
		text, textUnique := r.find(part, "text")
		summary, summaryUnique := r.find(part, "summary")
		if !textUnique || !summaryUnique {
			return false
		}
		switch typ := r.get(part, "type"); {
		case r.equals(typ, "text") && (r.kind(text) == str || r.isNull(text)):
			r.texts = append(r.texts, text)
		case r.equals(typ, "reasoning"):
			r.hasReasoning = true
			if !r.readReasoning(text, summary) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// readReasoning collects the reasoning of a part: its summary, which is a list or a
// string, or else its text.
func (r *response) readReasoning(text, summary int) bool {
	switch r.kind(summary) {
	case str:
		r.reasoning = append(r.reasoning, summary)
	case array:
		for s := range r.elements(summary) {
			v := r.getString(s, "text")
			if v == 0 {
				return false
			}
			r.reasoning = append(r.reasoning, v)
		}
	default:
		r.reasoning = append(r.reasoning, text)
	}
	return true
}
