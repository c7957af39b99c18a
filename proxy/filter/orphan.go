package filter

import (
	"bytes"
	"cmp"
	"slices"
)

// An orphan is a tool answer that belongs to no call. Every model family refuses
// orphans, and calls without an answer:
// https://github.com/anomalyco/opencode/issues/3230 (tool_use ids were found
// without tool_result blocks), https://github.com/posit-dev/positron/issues/15719
// (tool_result blocks without a tool_use). Agents send both after an interrupt
// and after they have cut a long history short.

// findOrphans looks at each turn: an assistant message and all messages up to
// the next one.
func (r *request) findOrphans() {
	for from := 0; from < len(r.msgs); {
		to := from + 1
		for to < len(r.msgs) && r.msgs[to].role != assistantRole {
			to++
		}
		r.readTurn(from, to)
		from = to
	}
}

// readTurn notes which calls of the assistant message at from have no answer in
// its turn, and which answers no call. If the message at from isn't the
// assistant's, there are no calls. What isn't understood makes the whole turn
// stay: no answer of it is dropped and none is added.
func (r *request) readTurn(from, to int) {
	understood := r.collectCalls(from)
	for i := from; i < to && understood; i++ {
		understood = r.msgs[i].role != unknownRole
	}
	if understood && r.markAnswered(r.msgs[from+1:to]) {
		r.noteUnanswered()
	}
	for i := from; i < to; i++ {
		m := &r.msgs[i]
		m.dropped = understood && m.role == toolRole && r.isOrphan(m.callID)
		r.countKept(m, understood)
	}
}

// collectCalls sets r.turnCalls to the calls of the message at i, sorted by their ids.
// It returns false if one of them isn't understood.
func (r *request) collectCalls(i int) bool {
	r.turnCalls = r.turnCalls[:0]
	m := &r.msgs[i]
	if m.role != assistantRole {
		return true
	}
	for c := range r.elements(m.toolCalls) {
		id := r.getString(c, "id")
		if id == 0 {
			return false
		}
		r.turnCalls = append(r.turnCalls, messageCall{message: i, id: id, value: r.stringValue(id)})
	}
	for n := range r.elements(m.content) {
		b := r.readBlock(n)
		if b.kind == toolUseBlock && b.id != 0 {
			r.turnCalls = append(r.turnCalls, messageCall{message: i, id: b.id, value: r.stringValue(b.id), inBlock: true})
		} else if b.kind == toolUseBlock || b.kind == ambiguousBlock {
			return false
		}
	}
	slices.SortFunc(r.turnCalls, func(a, b messageCall) int { return bytes.Compare(a.value, b.value) })
	return true
}

// findCall returns the first call of the turn with this id, as an index into turnCalls.
func (r *request) findCall(id int) (i int, found bool) {
	return slices.BinarySearchFunc(r.turnCalls, r.stringValue(id), func(c messageCall, value []byte) int {
		return bytes.Compare(c.value, value)
	})
}

// markAnswered marks the calls that the messages after them in their turn answer.
// It returns false if a message may hold an answer that doesn't say to which call.
func (r *request) markAnswered(msgs []message) bool {
	if len(r.turnCalls) == 0 {
		return true
	}
	for i := range msgs {
		m := &msgs[i]
		if m.role == toolRole {
			if m.callID == 0 {
				return false
			}
			if !r.markCall(m.callID) {
				continue // it will be dropped, whatever its blocks are
			}
		}
		if !r.markBlocks(m) {
			return false
		}
	}
	return true
}

// markBlocks is markAnswered for the blocks of one message.
func (r *request) markBlocks(m *message) bool {
	for n := range r.elements(m.content) {
		b := r.readBlock(n)
		isAnswer := m.role == userRole && b.kind == toolResultBlock
		if b.kind == ambiguousBlock || isAnswer && b.id == 0 {
			return false
		}
		if isAnswer {
			r.markCall(b.id)
		}
	}
	return true
}

// markCall marks the first call with this id as answered. It returns false if there is
// none.
func (r *request) markCall(id int) bool {
	i, found := r.findCall(id)
	if found {
		r.turnCalls[i].answered = true
	}
	return found
}

// noteUnanswered notes the calls of the turn that have no answer, in the order of the
// text. An answer to one call is one to all calls with its id.
func (r *request) noteUnanswered() {
	from := len(r.unanswered)
	for i := range r.turnCalls {
		c := &r.turnCalls[i]
		if i > 0 && bytes.Equal(c.value, r.turnCalls[i-1].value) {
			c.answered = r.turnCalls[i-1].answered
		}
		if !c.answered {
			r.unanswered = append(r.unanswered, *c)
		}
	}
	slices.SortFunc(r.unanswered[from:], func(a, b messageCall) int { return cmp.Compare(a.id, b.id) })
}

// isOrphan reports whether no call of the turn has this id. An answer without
// an id, 0, may belong to any of them.
func (r *request) isOrphan(id int) bool {
	if id == 0 {
		return false
	}
	_, found := r.findCall(id)
	return !found
}

// countKept counts what m says once the blocks that its turn doesn't need are
// out of it, and notes those blocks.
func (r *request) countKept(m *message, understood bool) {
	if m.hasOtherText {
		m.kept = 1
		return
	}
	if m.role == unknownRole || m.dropped {
		return
	}
	if r.kind(m.content) == str && !isBlankText(r.inner(m.content)) {
		m.kept = 1
	}
	for n := range r.elements(m.content) {
		b := r.readBlock(n)
		if r.drops(m, b, understood) {
			r.droppedBlocks = append(r.droppedBlocks, n)
			m.editBlocks = true
			continue
		}
		m.kept++
		m.editBlocks = m.editBlocks || b.kind == toolResultBlock && r.hasBlankPart(b.content)
	}
}

// drops reports whether the block b of m goes: blank text, and, if the turn is
// understood, a user message's answer to no call of the turn.
func (r *request) drops(m *message, b block, understood bool) bool {
	switch b.kind {
	case textBlock:
		return r.isBlank(b.text)
	case toolResultBlock:
		return understood && m.role == userRole && r.isOrphan(b.id)
	}
	return false
}
