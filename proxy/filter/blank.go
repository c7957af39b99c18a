package filter

import "slices"

// Text that is empty, or white space only, is refused by most model families:
// https://github.com/anomalyco/opencode/issues/5028 and
// https://github.com/anomalyco/opencode/pull/7984 (Databricks),
// https://github.com/anomalyco/opencode/issues/31259 (white space). What a
// message gets in its place says as little as can be said.
const (
	noText      = `"."`
	noOutput    = `"(no output)"`
	interrupted = `"(interrupted)"`
)

// blank reports whether v, a text, says nothing. 0 is no text.
func (r *request) blank(v int) bool {
	return v == 0 || r.kind(v) == null || r.kind(v) == str && blankText(r.inner(v))
}

// hollow reports whether a tool_result's content has to change: it is blank, or
// has a block of blank text in it. A tool_result without any content is fine.
func (r *request) hollow(content int) bool {
	if content == 0 {
		return false
	}
	if r.kind(content) != array {
		return r.blank(content)
	}
	for n := range r.elements(content) {
		if b := r.readBlock(n); b.kind == textBlock && r.blank(b.text) {
			return true
		}
	}
	return r.next(content) == content+1
}

// dropBlank drops the messages that say nothing and don't need to stand where
// they stand: system messages, and assistant messages at the very end.
func (r *request) dropBlank() {
	for i := range r.msgs {
		m := &r.msgs[i]
		m.drop = m.drop || m.role == systemRole && m.left == 0
	}
	for i := len(r.msgs) - 1; i >= 0; i-- {
		m := &r.msgs[i]
		if m.drop {
			continue
		}
		if m.role != assistantRole || m.left > 0 || m.calls != 0 {
			return
		}
		m.drop = true
	}
}

// editMessages records the edits of all messages.
func (r *request) editMessages() {
	p := pruner{e: &r.edits}
	before := -1 // the last message that stays
	open := r.unanswered
	for i := range r.msgs {
		m := &r.msgs[i]
		if m.drop {
			p.drop(r.start(m.node), r.end(m.node))
			continue
		}
		p.keep(r.start(m.node), r.end(m.node))
		n := 0
		for n < len(open) && open[n].msg == before {
			n++
		}
		results := r.answerCalls(open[:n], m)
		open = open[n:]
		if m.role != unknownRole {
			r.editContent(m, results)
		}
		before = i
	}
	p.finish()
}

// answerCalls answers calls of one message, which m follows. It returns the
// answers that are to come first in m, as JSON.
func (r *request) answerCalls(open []call, m *message) (results string) {
	if len(open) == 0 {
		return ""
	}
	after := r.end(r.msgs[open[0].msg].node)
	for _, c := range open {
		id := string(r.raw(c.id))
		if !c.block {
			r.edits.replace(after, after, `,{"role":"tool","tool_call_id":`, id, `,"content":`, interrupted, `}`)
			continue
		}
		if results != "" {
			results += ","
		}
		results += `{"type":"tool_result","tool_use_id":` + id + `,"content":` + interrupted + `}`
	}
	if results != "" && m.role != userRole {
		r.edits.replace(after, after, `,{"role":"user","content":[`, results, `]}`)
		return ""
	}
	return results
}

// editContent records the edits of what m says. The results come before all
// else.
func (r *request) editContent(m *message, results string) {
	switch {
	case results != "" && m.left == 0:
		r.setContent(m, "["+results+"]")
	case results != "" && r.kind(m.content) == str:
		r.setContent(m, "["+results+`,{"type":"text","text":`+string(r.raw(m.content))+"}]")
	case results != "":
		at := r.start(m.content) + 1
		r.edits.replace(at, at, results, ",")
		r.pruneBlocks(m.content)
	case m.left > 0:
		if m.prune {
			r.pruneBlocks(m.content)
		}
	case m.role == toolRole:
		r.setContent(m, noOutput)
	case m.calls == 0:
		r.setContent(m, noText)
	case m.content != 0 && r.kind(m.content) != null:
		r.setContent(m, "null")
	}
}

func (r *request) setContent(m *message, value string) {
	r.edits.set(&r.doc, m.node, member{m.content, "content", value})
}

// pruneBlocks takes the blocks that go out of a list that keeps some.
func (r *request) pruneBlocks(list int) {
	p := pruner{e: &r.edits}
	for n := range r.elements(list) {
		if _, gone := slices.BinarySearch(r.gone, n); gone {
			p.drop(r.start(n), r.end(n))
			continue
		}
		p.keep(r.start(n), r.end(n))
		if b := r.readBlock(n); b.kind == toolResult && r.hollow(b.content) {
			r.fillResult(b.content)
		}
	}
	p.finish()
}

// fillResult takes blank text out of a tool_result's content.
func (r *request) fillResult(content int) {
	if r.kind(content) != array || !r.pruneText(content) {
		r.edits.replace(r.start(content), r.end(content), noOutput)
	}
}

// pruneText takes the blocks of blank text out of a list. It returns false, and
// leaves it, if there are no others.
func (r *request) pruneText(list int) bool {
	said := func(n int) bool {
		b := r.readBlock(n)
		return b.kind != textBlock || !r.blank(b.text)
	}
	left := false
	for n := range r.elements(list) {
		left = left || said(n)
	}
	if !left {
		return false
	}
	p := pruner{e: &r.edits}
	for n := range r.elements(list) {
		if said(n) {
			p.keep(r.start(n), r.end(n))
		} else {
			p.drop(r.start(n), r.end(n))
		}
	}
	p.finish()
	return true
}

// systemPrompt does the same for the system prompt of Anthropic's messages, which
// stands beside them.
func (r *request) systemPrompt() {
	v, sure := r.find(0, "system")
	if v == 0 || !sure {
		return
	}
	if r.kind(v) == array {
		r.noSystem = !r.pruneText(v)
	} else {
		r.noSystem = r.blank(v)
	}
}
