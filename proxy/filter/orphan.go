package filter

// A tool answer that nobody asked for, and a tool call that nobody answered,
// are refused by every model family:
// https://github.com/anomalyco/opencode/issues/3230 (tool_use ids were found
// without tool_result blocks), https://github.com/posit-dev/positron/issues/15719
// (tool_result blocks without a tool_use). Agents send both after an interrupt
// and after they have cut a long history short.

// maxCalls is how many calls of one message are matched with their answers.
// More aren't understood.
const maxCalls = 256

// findOrphans looks at each turn: an assistant message and all up to the next.
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

// readTurn drops the answers that the assistant message at from didn't ask for, and
// notes which of its calls want one. If from is no assistant message, nobody
// asked.
func (r *request) readTurn(from, to int) {
	understood := r.collectCalls(from)
	for i := from; i < to && understood; i++ {
		understood = r.msgs[i].role != unknownRole
	}
	r.turnUnclear = !understood
	for i := from; i < to; i++ {
		m := &r.msgs[i]
		if m.role == toolRole && understood {
			m.dropped = r.isOrphan(m.callID)
		}
		r.countKept(m, understood)
	}
	if r.turnUnclear {
		return
	}
	for _, c := range r.turnCalls {
		if !c.answered {
			r.unanswered = append(r.unanswered, c)
		}
	}
}

// collectCalls sets r.asks to the calls of the message at i. It returns false if
// one of them isn't understood.
func (r *request) collectCalls(i int) bool {
	r.turnCalls = r.turnCalls[:0]
	m := &r.msgs[i]
	if m.role != assistantRole {
		return true
	}
	if m.toolCalls != 0 {
		for c := range r.elements(m.toolCalls) {
			id := r.getString(c, "id")
			if id == 0 {
				return false
			}
			r.turnCalls = append(r.turnCalls, messageCall{message: i, id: id})
		}
	}
	if m.content != 0 && r.kind(m.content) == array {
		for n := range r.elements(m.content) {
			b := r.readBlock(n)
			if b.kind == toolUseBlock && b.id != 0 {
				r.turnCalls = append(r.turnCalls, messageCall{message: i, id: b.id, inBlock: true})
			} else if b.kind == toolUseBlock || b.kind == ambiguousBlock {
				return false
			}
		}
	}
	return len(r.turnCalls) <= maxCalls
}

// isOrphan reports whether nobody asked for an answer with this id. If somebody
// did, the call is marked as answered.
func (r *request) isOrphan(id int) bool {
	if id == 0 {
		r.turnUnclear = true
		return false
	}
	found := false
	for i := range r.turnCalls {
		if r.sameString(r.turnCalls[i].id, id) {
			r.turnCalls[i].answered = true
			found = true
		}
	}
	return !found
}

// countKept finds out what is left of a message's content. The blocks that go are
// noted: blank text, and, if the turn is known, the answers of a user message
// that nobody asked for.
func (r *request) countKept(m *message, understood bool) {
	if m.hasOtherText {
		m.kept = 1
		return
	}
	if m.role == unknownRole || m.dropped || m.content == 0 {
		return
	}
	switch r.kind(m.content) {
	case str:
		if !isBlankText(r.inner(m.content)) {
			m.kept = 1
		}
	case array:
		for n := range r.elements(m.content) {
			if r.drops(m, n, understood) {
				r.droppedBlocks = append(r.droppedBlocks, n)
				m.editBlocks = true
			} else {
				m.kept++
			}
		}
	}
}

// drops reports whether the block n of m goes.
func (r *request) drops(m *message, n int, understood bool) bool {
	b := r.readBlock(n)
	switch b.kind {
	case textBlock:
		return r.isBlank(b.text)
	case toolResultBlock:
		m.editBlocks = m.editBlocks || r.hasBlankPart(b.content)
		return m.role == userRole && understood && r.isOrphan(b.id)
	case ambiguousBlock:
		r.turnUnclear = true
	}
	return false
}
