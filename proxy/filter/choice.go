package filter

// answer is the work on the JSON of a response: a whole one, or one chunk of a
// stream.
type answer struct {
	doc
	edits edits
	tools toolNames

	object  doc   // the arguments of a call
	removal edits // what goes out of them
	args    []byte
}

// choice is one of the alternatives that a model offers, as far as the rules
// need it. Each is a node, or 0.
type choice struct {
	node    int
	index   int // its number
	message int // the message, or the delta in a stream
	calls   int // its tool_calls, if there are any
	finish  int // finish_reason, if it is one
}

// The members of a choice that the rules need.
const (
	choiceIndex = iota
	choiceFinish
	choiceMessage // in a response that is one JSON text
	choiceDelta   // in a stream
	choiceMembers
)

func choiceKey(key []byte) int {
	switch string(key) {
	case "index":
		return choiceIndex
	case "finish_reason":
		return choiceFinish
	case "message":
		return choiceMessage
	case "delta":
		return choiceDelta
	}
	return -1
}

// choices yields the choices of a response, whose message is this member of
// them. It yields none of what isn't understood.
func (a *answer) choices(message int) func(yield func(choice) bool) {
	return func(yield func(choice) bool) {
		list := a.get(0, "choices")
		if list == 0 || a.kind(list) != array {
			return
		}
		position := -1
		for n := range a.elements(list) {
			position++
			var v [choiceMembers]int
			if a.fields(n, choiceKey, v[:]) != 0 {
				continue
			}
			c := choice{node: n, index: position, message: v[message]}
			if i, ok := a.smallInt(v[choiceIndex]); ok {
				c.index = i
			}
			if f := v[choiceFinish]; f != 0 && a.kind(f) == str && len(a.inner(f)) > 0 {
				c.finish = f
			}
			if c.message != 0 && a.kind(c.message) == object {
				if calls := a.get(c.message, "tool_calls"); calls != 0 && a.kind(calls) == array && a.next(calls) > calls+1 {
					c.calls = calls
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

// smallInt reads a small number that isn't negative.
func (a *answer) smallInt(n int) (i int, ok bool) {
	if n == 0 || a.kind(n) != number {
		return 0, false
	}
	raw := a.raw(n)
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

// plain records the edits of a response that came as one JSON text.
func (a *answer) plain() {
	for c := range a.choices(choiceMessage) {
		if c.message == 0 {
			continue
		}
		a.joinContent(c.message)
		if c.calls == 0 {
			continue
		}
		for call := range a.elements(c.calls) {
			a.rename(call)
		}
		a.finishCalls(c.finish)
	}
}

// finishCalls makes the finish_reason of a choice with tool calls say so. Some
// endpoints say stop: https://github.com/BerriAI/litellm/issues/12862.
func (a *answer) finishCalls(finish int) {
	if finish != 0 && a.is(finish, "stop") {
		a.edits.replace(a.start(finish), a.end(finish), `"tool_calls"`)
	}
}

// joinContent makes a string of a content that is a list of parts, as the
// models that reason send it on Databricks
// (https://github.com/databricks/appkit/pull/559) and Gemini does
// (https://github.com/aaif-goose/goose/pull/8042). What was reasoned moves to
// reasoning_content.
func (a *answer) joinContent(message int) {
	content, sure := a.find(message, "content")
	before, sureToo := a.find(message, "reasoning_content")
	if !sure || !sureToo || content == 0 || a.kind(content) != array {
		return
	}
	known, reasons := a.partsKnown(content)
	if !known {
		return
	}
	if before != 0 && a.kind(before) != str && a.kind(before) != null {
		return
	}
	e := &a.edits
	e.begin(a.start(content), a.end(content))
	e.text = append(e.text, '"')
	for part := range a.elements(content) {
		if text := a.partText(part); text != 0 {
			e.text = append(e.text, a.inner(text)...)
		}
	}
	e.text = append(e.text, '"')
	if !reasons {
		e.done()
		return
	}
	if before == 0 {
		e.text = append(e.text, `,"reasoning_content":"`...)
	} else {
		e.done()
		e.begin(a.start(before), a.end(before))
		e.text = append(e.text, '"')
		if a.kind(before) == str {
			e.text = append(e.text, a.inner(before)...)
		}
	}
	for part := range a.elements(content) {
		a.appendReasoning(part)
	}
	e.text = append(e.text, '"')
	e.done()
}

// partsKnown reports whether all parts of a content are text or reasoning, and
// as they should be, and whether there is reasoning among them.
func (a *answer) partsKnown(content int) (known, reasons bool) {
	for part := range a.elements(content) {
		typ, sure := a.find(part, "type")
		text, sureText := a.find(part, "text")
		summary, sureSummary := a.find(part, "summary")
		if typ == 0 || !sure || !sureText || !sureSummary {
			return false, false
		}
		switch {
		case a.is(typ, "text"):
			if text != 0 && a.kind(text) != str && a.kind(text) != null {
				return false, false
			}
		case a.is(typ, "reasoning"):
			reasons = true
			if summary != 0 && a.kind(summary) == array {
				for s := range a.elements(summary) {
					if a.getString(s, "text") == 0 {
						return false, false
					}
				}
			}
		default:
			return false, false
		}
	}
	return true, reasons
}

// partText returns the text of a part of type text, 0 if it has none.
func (a *answer) partText(part int) int {
	if a.is(a.get(part, "type"), "text") {
		return a.getString(part, "text")
	}
	return 0
}

// appendReasoning appends the summaries of a reasoning part: a list of texts, a
// text, or the part's own text.
func (a *answer) appendReasoning(part int) {
	if !a.is(a.get(part, "type"), "reasoning") {
		return
	}
	e := &a.edits
	summary := a.get(part, "summary")
	switch {
	case summary != 0 && a.kind(summary) == array:
		for s := range a.elements(summary) {
			e.text = append(e.text, a.inner(a.getString(s, "text"))...)
		}
	case summary != 0 && a.kind(summary) == str:
		e.text = append(e.text, a.inner(summary)...)
	default:
		if text := a.getString(part, "text"); text != 0 {
			e.text = append(e.text, a.inner(text)...)
		}
	}
}
