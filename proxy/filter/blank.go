package filter

import (
	"slices"
	"strings"
)

// Text that is empty, or white space only, is refused by most model families:
// https://github.com/anomalyco/opencode/issues/5028 and
// https://github.com/anomalyco/opencode/pull/7984 (Databricks),
// https://github.com/anomalyco/opencode/issues/31259 (white space). The text that
// replaces it says as little as possible.
const (
	textPlaceholder        = `"."`
	outputPlaceholder      = `"(no output)"`
	interruptedPlaceholder = `"(interrupted)"`
)

// isBlank reports whether v is a blank text, or none at all.
func (r *request) isBlank(v int) bool {
	return r.isNull(v) || r.kind(v) == str && isBlankText(r.inner(v))
}

// hasBlankPart reports whether a tool_result's content has to change because it is
// blank or holds a block of blank text. A tool_result without content is fine.
func (r *request) hasBlankPart(content int) bool {
	for n := range r.elements(content) {
		if r.isBlankBlock(n) {
			return true
		}
	}
	if r.kind(content) == array {
		return r.isEmpty(content)
	}
	return content != 0 && r.isBlank(content)
}

// dropBlankMessages drops the blank messages that nothing depends on: system
// messages, and assistant messages at the very end.
func (r *request) dropBlankMessages() {
	for i := range r.msgs {
		m := &r.msgs[i]
		m.dropped = m.dropped || m.role == systemRole && m.kept == 0
	}
	for i := len(r.msgs) - 1; i >= 0; i-- {
		m := &r.msgs[i]
		if m.dropped {
			continue
		}
		if m.role != assistantRole || m.kept > 0 || m.toolCalls != 0 {
			return
		}
		m.dropped = true
	}
}

// editMessages records the edits of all messages.
func (r *request) editMessages() {
	p := pruner{edits: &r.edits}
	previous := -1 // the last message that isn't dropped
	unanswered := r.unanswered
	for i := range r.msgs {
		m := &r.msgs[i]
		p.add(r.start(m.node), r.end(m.node), m.dropped)
		if m.dropped {
			continue
		}
		n := 0
		for n < len(unanswered) && unanswered[n].message == previous {
			n++
		}
		if len(r.edits.text) > maxEdited(len(r.src)) {
			r.exceeded = growthBound
			return
		}
		results := r.answerCalls(unanswered[:n], m)
		unanswered = unanswered[n:]
		if m.role != unknownRole {
			r.editContent(m, results)
		}
		previous = i
	}
	p.finish()
}

// answerCalls records answers to the calls of one message that have none. m is the
// message after it. If the answers belong into m, answerCalls returns them as JSON,
// to be put before everything else in m.
func (r *request) answerCalls(unanswered []messageCall, m *message) (results string) {
	if len(unanswered) == 0 {
		return ""
	}
	after := r.end(r.msgs[unanswered[0].message].node)
	var blocks []byte
	r.edits.begin(after, after)
	for _, c := range unanswered {
		if id := r.raw(c.id); !c.inBlock {
			r.edits.text = append(append(append(r.edits.text, `,{"role":"tool","tool_call_id":`...), id...), `,"content":`+interruptedPlaceholder+`}`...)
		} else {
			blocks = append(append(append(blocks, `,{"type":"tool_result","tool_use_id":`...), id...), `,"content":`+interruptedPlaceholder+`}`...)
		}
	}
	r.edits.end()
	results = strings.TrimPrefix(string(blocks), ",")
	if results != "" && m.role != userRole {
		r.edits.replace(after, after, `,{"role":"user","content":[`, results, `]}`)
		return ""
	}
	return results
}

// editContent records the edits of m's content. results, answers as JSON, are put
// before everything else.
func (r *request) editContent(m *message, results string) {
	switch {
	case results != "" && m.kept == 0:
		r.setContent(m, "["+results+"]")
	case results != "" && r.kind(m.content) == str:
		r.setContent(m, "["+results+`,{"type":"text","text":`+string(r.raw(m.content))+"}]")
	case results != "":
		at := r.start(m.content) + 1
		r.edits.replace(at, at, results, ",")
		r.pruneBlocks(m.content)
	case m.kept > 0:
		if m.editBlocks {
			r.pruneBlocks(m.content)
		}
	case m.role == toolRole:
		r.setContent(m, outputPlaceholder)
	case m.toolCalls == 0:
		r.setContent(m, textPlaceholder)
	case !r.isNull(m.content):
		r.setContent(m, "null")
	}
}

func (r *request) setContent(m *message, value string) {
	r.edits.setMembers(&r.document, m.node, memberValue{m.content, "content", value})
}

// pruneBlocks takes the blocks that are dropped out of a list that keeps some, and
// blank text out of the others.
func (r *request) pruneBlocks(list int) {
	r.edits.dropElements(&r.document, list, r.isDropped)
	for n := range r.elements(list) {
		b := r.readBlock(n)
		if b.kind == toolResultBlock && r.hasBlankPart(b.content) && !r.isDropped(n) && !r.pruneBlankText(b.content) {
			r.edits.replace(r.start(b.content), r.end(b.content), outputPlaceholder)
		}
	}
}

func (r *request) isDropped(block int) bool {
	_, dropped := slices.BinarySearch(r.droppedBlocks, block)
	return dropped
}

// isBlankBlock reports whether n is a block of blank text.
func (r *request) isBlankBlock(n int) bool {
	b := r.readBlock(n)
	return b.kind == textBlock && r.isBlank(b.text)
}

// pruneBlankText takes the blocks of blank text out of a content that is a list. If
// there is nothing else in the content, it returns false and changes nothing.
func (r *request) pruneBlankText(content int) bool {
	for n := range r.elements(content) {
		if !r.isBlankBlock(n) {
			r.edits.dropElements(&r.document, content, r.isBlankBlock)
			return true
		}
	}
	return r.kind(content) != array && !r.isBlank(content)
}

// pruneSystemPrompt takes blank text out of the system prompt that stands beside
// Anthropic's messages, or notes that the whole prompt has to go.
func (r *request) pruneSystemPrompt() {
	v := r.get(root, "system")
	r.dropSystem = v != 0 && !r.pruneBlankText(v)
}
