package filter

import "iter"

// response is the work on the JSON of a response: of a whole one, or of one chunk
// of a stream.
type response struct {
	document
	edits edits
	tools toolNames

	// The memory in which unwrap.go works on the arguments of a call.
	argsDoc   document
	argsEdits edits
	argsBuf   []byte
}

// choice is one of the alternatives that a model offers, as far as the rules need
// it. All but index are nodes, 0 if there is none.
type choice struct {
	index        int // its number
	message      int // its message, or its delta in a stream
	toolCalls    int // the message's tool_calls, unless the list is empty
	finishReason int // its finish_reason, unless that is empty
}

// The members of a choice that the rules need.
const (
	choiceIndex = iota
	choiceFinishReason
	choiceMessage // in a response that is one JSON text
	choiceDelta   // in a stream
	choiceMembers
)

func choiceKey(key []byte) int {
	switch string(key) {
	case "index":
		return choiceIndex
	case "finish_reason":
		return choiceFinishReason
	case "message":
		return choiceMessage
	case "delta":
		return choiceDelta
	}
	return -1
}

// choices yields the choices of a response that are understood. message is the
// member that holds a choice's message: choiceMessage or choiceDelta.
func (r *response) choices(message int) iter.Seq[choice] {
	return func(yield func(choice) bool) {
		list := r.getArray(0, "choices")
		if list == 0 {
			return
		}
		position := -1
		for n := range r.elements(list) {
			position++
			var v [choiceMembers]int
			if r.fields(n, choiceKey, v[:]) != 0 {
				continue
			}
			c := choice{index: position, message: v[message]}
			if i, ok := r.smallInt(v[choiceIndex]); ok {
				c.index = i
			}
			if f := v[choiceFinishReason]; f != 0 && r.kind(f) == str && len(r.inner(f)) > 0 {
				c.finishReason = f
			}
			if c.message != 0 && r.kind(c.message) == object {
				if calls := r.getArray(c.message, "tool_calls"); calls != 0 && r.next(calls) > calls+1 {
					c.toolCalls = calls
				}
			} else {
				c.message = 0
			}
			if !yield(c) {
				return
			}
		}
	}
}

// smallInt reads a whole number of at most six digits without a sign.
func (r *response) smallInt(n int) (i int, ok bool) {
	if n == 0 || r.kind(n) != number {
		return 0, false
	}
	raw := r.raw(n)
	if len(raw) > 6 {
		return 0, false
	}
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = i*10 + int(c-'0')
	}
	return i, true
}

// editWhole records the edits of a response that is one JSON text.
func (r *response) editWhole() {
	for c := range r.choices(choiceMessage) {
		if c.message == 0 {
			continue
		}
		r.joinContentParts(c.message)
		if c.toolCalls == 0 {
			continue
		}
		for call := range r.elements(c.toolCalls) {
			r.unwrapCall(call)
		}
		r.fixFinishReason(c.finishReason)
	}
}

// fixFinishReason changes the finish_reason stop of a choice with tool calls to
// tool_calls. Some endpoints send stop:
// https://github.com/BerriAI/litellm/issues/12862.
func (r *response) fixFinishReason(finish int) {
	if finish != 0 && r.equals(finish, "stop") {
		r.edits.replace(r.start(finish), r.end(finish), `"tool_calls"`)
	}
}

// joinContentParts makes a string of a content that is a list of parts. Reasoning
// models on Databricks (https://github.com/databricks/appkit/pull/559) and Gemini
// (https://github.com/aaif-goose/goose/pull/8042) send such lists. Reasoning moves
// to reasoning_content.
func (r *response) joinContentParts(message int) {
	content, unique := r.find(message, "content")
	earlier, earlierUnique := r.find(message, "reasoning_content")
	if !unique || !earlierUnique || content == 0 || r.kind(content) != array {
		return
	}
	understood, hasReasoning := r.partsUnderstood(content)
	if !understood {
		return
	}
	if earlier != 0 && r.kind(earlier) != str && r.kind(earlier) != null {
		return
	}
	e := &r.edits
	e.begin(r.start(content), r.end(content))
	e.text = append(e.text, '"')
	for part := range r.elements(content) {
		if text := r.partText(part); text != 0 {
			e.text = append(e.text, r.inner(text)...)
		}
	}
	e.text = append(e.text, '"')
	if hasReasoning {
		r.moveReasoning(content, earlier)
	}
	e.end()
}

// moveReasoning adds the reasoning of a content to the message's reasoning_content,
// whose value is earlier, 0 if there is none. A new one follows the content, in the
// edit that has begun.
func (r *response) moveReasoning(content, earlier int) {
	e := &r.edits
	if earlier == 0 {
		e.text = append(e.text, `,"reasoning_content":"`...)
	} else {
		e.end()
		e.begin(r.start(earlier), r.end(earlier))
		e.text = append(e.text, '"')
		if r.kind(earlier) == str {
			e.text = append(e.text, r.inner(earlier)...)
		}
	}
	for part := range r.elements(content) {
		r.appendReasoning(part)
	}
	e.text = append(e.text, '"')
}

// partsUnderstood reports whether all parts of a content are text or reasoning in
// a known form, and whether there is reasoning among them.
func (r *response) partsUnderstood(content int) (understood, hasReasoning bool) {
	for part := range r.elements(content) {
		typ, typeUnique := r.find(part, "type")
		text, textUnique := r.find(part, "text")
		summary, summaryUnique := r.find(part, "summary")
		if typ == 0 || !typeUnique || !textUnique || !summaryUnique {
			return false, false
		}
		switch {
		case r.equals(typ, "text"):
			if text != 0 && r.kind(text) != str && r.kind(text) != null {
				return false, false
			}
		case r.equals(typ, "reasoning"):
			hasReasoning = true
			if summary != 0 && r.kind(summary) == array {
				for s := range r.elements(summary) {
					if r.getString(s, "text") == 0 {
						return false, false
					}
				}
			}
		default:
			return false, false
		}
	}
	return true, hasReasoning
}

// partText returns the text of a part of type text, 0 if it has none.
func (r *response) partText(part int) int {
	if r.equals(r.get(part, "type"), "text") {
		return r.getString(part, "text")
	}
	return 0
}

// appendReasoning appends the text of a reasoning part to the edit that has begun:
// that of its summary, which is a list or a string, or else its own.
func (r *response) appendReasoning(part int) {
	if !r.equals(r.get(part, "type"), "reasoning") {
		return
	}
	e := &r.edits
	summary := r.get(part, "summary")
	switch {
	case summary != 0 && r.kind(summary) == array:
		for s := range r.elements(summary) {
			e.text = append(e.text, r.inner(r.getString(s, "text"))...)
		}
	case summary != 0 && r.kind(summary) == str:
		e.text = append(e.text, r.inner(summary)...)
	default:
		if text := r.getString(part, "text"); text != 0 {
			e.text = append(e.text, r.inner(text)...)
		}
	}
}
