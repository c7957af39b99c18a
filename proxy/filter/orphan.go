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
		r.turn(from, to)
		from = to
	}
}

// turn drops the answers that the assistant message at from didn't ask for, and
// notes which of its calls want one. If from is no assistant message, nobody
// asked.
func (r *request) turn(from, to int) {
	known := r.readCalls(from)
	for i := from; i < to && known; i++ {
		known = r.msgs[i].role != unknownRole
	}
	r.doubt = !known
	for i := from; i < to; i++ {
		m := &r.msgs[i]
		if m.role == toolRole && known {
			m.drop = r.orphan(m.id)
		}
		r.weigh(m, known)
	}
	if r.doubt {
		return
	}
	for _, c := range r.asks {
		if !c.answered {
			r.unanswered = append(r.unanswered, c)
		}
	}
}

// readCalls sets r.asks to the calls of the message at i. It returns false if
// one of them isn't understood.
func (r *request) readCalls(i int) bool {
	r.asks = r.asks[:0]
	m := &r.msgs[i]
	if m.role != assistantRole {
		return true
	}
	if m.calls != 0 {
		for c := range r.elements(m.calls) {
			id := r.getString(c, "id")
			if id == 0 {
				return false
			}
			r.asks = append(r.asks, call{msg: i, id: id})
		}
	}
	if m.content != 0 && r.kind(m.content) == array {
		for n := range r.elements(m.content) {
			b := r.readBlock(n)
			if b.kind == toolUse && b.id != 0 {
				r.asks = append(r.asks, call{msg: i, id: b.id, block: true})
			} else if b.kind == toolUse || b.kind == doubtful {
				return false
			}
		}
	}
	return len(r.asks) <= maxCalls
}

// orphan reports whether nobody asked for an answer with this id. If somebody
// did, the call is marked as answered.
func (r *request) orphan(id int) bool {
	if id == 0 {
		r.doubt = true
		return false
	}
	found := false
	for i := range r.asks {
		if r.same(r.asks[i].id, id) {
			r.asks[i].answered = true
			found = true
		}
	}
	return !found
}

// weigh finds out what is left of a message's content. The blocks that go are
// noted: blank text, and, if the turn is known, the answers of a user message
// that nobody asked for.
func (r *request) weigh(m *message, known bool) {
	if m.said {
		m.left = 1
		return
	}
	if m.role == unknownRole || m.drop || m.content == 0 {
		return
	}
	switch r.kind(m.content) {
	case str:
		if !blankText(r.inner(m.content)) {
			m.left = 1
		}
	case array:
		for n := range r.elements(m.content) {
			if r.goes(m, n, known) {
				r.gone = append(r.gone, n)
				m.prune = true
			} else {
				m.left++
			}
		}
	}
}

// goes reports whether the block n of m goes.
func (r *request) goes(m *message, n int, known bool) bool {
	b := r.readBlock(n)
	switch b.kind {
	case textBlock:
		return r.blank(b.text)
	case toolResult:
		m.prune = m.prune || r.hollow(b.content)
		return m.role == userRole && known && r.orphan(b.id)
	case doubtful:
		r.doubt = true
	}
	return false
}
