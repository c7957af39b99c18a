package filter

import (
	"cmp"
	"slices"
)

// edit replaces [start, end) of a document's text with [from, to) of edits.text.
type edit struct {
	start, end int
	from, to   int
}

// edits are the changes to one text. They must not overlap. Insertions at the same
// place keep the order in which they were recorded.
type edits struct {
	list []edit
	text []byte
}

func (e *edits) reset() { e.list, e.text = e.list[:0], e.text[:0] }

// replace records that [start, end) becomes s.
func (e *edits) replace(start, end int, s ...string) {
	e.begin(start, end)
	for _, s := range s {
		e.text = append(e.text, s...)
	}
	e.end()
}

// begin starts an edit of [start, end). Its new text is what is appended to e.text
// until end is called.
func (e *edits) begin(start, end int) {
	e.list = append(e.list, edit{start: start, end: end, from: len(e.text)})
}

func (e *edits) end() { e.list[len(e.list)-1].to = len(e.text) }

// sortEdits puts the edits of a text of n bytes in order. It returns false if two
// overlap, which would be a bug in a rule.
func (e *edits) sortEdits(n int) bool {
	slices.SortStableFunc(e.list, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.end, b.end))
	})
	at := 0
	for _, ed := range e.list {
		if ed.start < at || ed.end < ed.start || ed.end > n {
			return false
		}
		at = ed.end
	}
	return true
}

// appendEdited appends src with the edits made. They must have been sorted.
func (e *edits) appendEdited(dst, src []byte) []byte {
	at := 0
	for _, ed := range e.list {
		dst = append(dst, src[at:ed.start]...)
		dst = append(dst, e.text[ed.from:ed.to]...)
		at = ed.end
	}
	return append(dst, src[at:]...)
}

// maxEdited is how many bytes a text of n bytes may have once it is edited.
func maxEdited(n int) int { return 2*n + 1<<20 }

// editedText returns the text of d with the edits made. It returns nil if there are
// none, if d isn't valid JSON, or if d exceeds a bound, also by growing too much. lend is
// Request's.
func (e *edits) editedText(d *document, lend func(n int) []byte) []byte {
	if d.exceeded != "" || len(e.list) == 0 || !d.stringsValid() || !e.sortEdits(len(d.src)) {
		return nil
	}
	n := len(d.src) + len(e.text)
	for _, ed := range e.list {
		n -= ed.end - ed.start
	}
	if n > maxEdited(len(d.src)) {
		d.exceeded = growthBound
		return nil
	}
	out := lend(n)
	if out == nil {
		out = allocate(n)
	}
	return e.appendEdited(out, d.src)
}

// pruner records the edits that remove some elements of an array, or some members of
// an object, together with the right commas. add is called for each of them, in
// order, and then finish.
type pruner struct {
	edits    *edits
	keptEnd  int // where the last one that is kept ends; 0 if there is none yet
	runStart int // where the dropped ones after it start
	runEnd   int // where these end; 0 if there are none
}

func (p *pruner) add(start, end int, drop bool) {
	switch {
	case drop && p.runEnd == 0:
		p.runStart, p.runEnd = start, end
	case drop:
		p.runEnd = end
	case p.runEnd > 0:
		p.edits.replace(p.runStart, start)
		p.runEnd = 0
		fallthrough
	default:
		p.keptEnd = end
	}
}

// finish records the edit for dropped ones at the end, which also removes the comma
// before them.
func (p *pruner) finish() {
	if p.runEnd == 0 {
		return
	}
	if p.keptEnd > 0 {
		p.runStart = p.keptEnd
	}
	p.edits.replace(p.runStart, p.runEnd)
}

// dropElements records the edits that remove the elements for which drop is true
// from an array.
func (e *edits) dropElements(d *document, arr int, drop func(v int) bool) {
	p := pruner{edits: e}
	for v := range d.elements(arr) {
		p.add(d.start(v), d.end(v), drop(v))
	}
	p.finish()
}

// dropMembers records the edits that remove the members for which drop is true from
// an object.
func (e *edits) dropMembers(d *document, obj int, drop func(k, v int) bool) {
	p := pruner{edits: e}
	for k, v := range d.members(obj) {
		p.add(d.start(k), d.end(v), drop(k, v))
	}
	p.finish()
}

// memberValue is a new value for a member of an object. node is the present value, 0
// if the object doesn't have the member.
type memberValue struct {
	node  int
	key   string
	value string // JSON
}

// setMembers records the edits that give members of obj new values. Members that it
// doesn't have yet are put first. It must be called only once for an object.
func (e *edits) setMembers(d *document, obj int, members ...memberValue) {
	for _, m := range members {
		if m.node != 0 {
			e.replace(d.start(m.node), d.end(m.node), m.value)
		}
	}
	inside := d.start(obj) + 1
	e.begin(inside, inside)
	comma := ""
	for _, m := range members {
		if m.node == 0 {
			e.text = append(append(append(append(append(e.text, comma...), '"'), m.key...), `":`...), m.value...)
			comma = ","
		}
	}
	if comma != "" && !d.isEmpty(obj) {
		e.text = append(e.text, comma...)
	}
	e.end()
}
