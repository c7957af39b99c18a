package filter

import "slices"

// A stream sends a tool call in pieces: first its id, type and name, then its
// arguments. Of a call under the wrapper's name the real one is known once its
// arguments are complete. Until then, its events and all that follow them are
// held back, so that nothing is reordered; then they leave, with the real name
// and all of the arguments in the call's first chunk and none in the others.
//
// The same holds for a call whose name comes after its first chunk, which
// clients don't expect. A call that doesn't turn out to be one that we can mend
// leaves as it came.

type callState uint8

const (
	nameless callState = iota // its name hasn't come yet
	wrapped                   // its arguments aren't complete yet
	settled                   // what is to be done with it is known
)

// toolCall is what has come of one call of a stream.
type toolCall struct {
	choice, index int
	state         callState
	id, typ       []byte // as JSON, nil if they haven't come
	args          []byte // what has come of the arguments; while it is of use
	balance       balance

	name []byte // the name for its first chunk, as JSON; nil if it leaves as it came
	rest []byte // its arguments without the name, nil if they leave as they came
	json []byte // the same as JSON, once they leave
	sent bool   // its first chunk has left
	out  bool   // all that was held back of it has left
}

const (
	maxStreamCalls  = 256  // how many calls of a stream are followed
	keepStreamNodes = 4096 // how many nodes a stream keeps room for: 64 KB
)

// calls are the calls of a stream.
type calls struct {
	answer
	list   []toolCall
	called []int    // the choices that have made calls
	chunk  []choice // those of the chunk that was parsed
	mixed  bool     // its calls can't be told apart
}

// callOf returns the call of a tool_calls element. It is nil if the element has
// no index: such a call comes whole.
func (s *calls) callOf(choice, element int) *toolCall {
	index, ok := s.smallInt(s.get(element, "index"))
	if !ok {
		return nil
	}
	for i := range s.list {
		if c := &s.list[i]; c.choice == choice && c.index == index {
			return c
		}
	}
	return nil
}

// pending reports whether a call isn't settled yet, and so nothing may leave.
func (s *calls) pending() bool {
	for i := range s.list {
		if s.list[i].state != settled {
			return true
		}
	}
	return false
}

// held returns how many bytes of arguments are kept.
func (s *calls) held() int {
	n := 0
	for i := range s.list {
		n += len(s.list[i].args) + len(s.list[i].rest)
	}
	return n
}

// settle gives up on the calls of a choice that aren't settled yet, of all
// choices if it is -1: they leave as they came.
func (s *calls) settle(choice int) {
	for i := range s.list {
		if c := &s.list[i]; choice < 0 || c.choice == choice {
			c.state = settled
		}
	}
}

// clash reports whether the chunk that was parsed has a call under the index of
// one that is still held back, or two under one index, which can't be told apart
// by the index. So it is with more calls than are followed.
func (s *calls) clash() bool {
	held := false
	s.mixed = false
	for _, ch := range s.chunk {
		if ch.calls == 0 {
			continue
		}
		n := 0
		for el := range s.elements(ch.calls) {
			if c := s.callOf(ch.index, el); c != nil && !c.out && s.other(c, el) {
				held = true
			}
			n++
			s.mixed = s.mixed || n > maxStreamCalls || s.indexBefore(ch.calls, el)
		}
	}
	return held || s.mixed
}

// indexBefore reports whether an element before el has its index and another
// id.
func (s *calls) indexBefore(list, el int) bool {
	index, ok := s.smallInt(s.get(el, "index"))
	if !ok {
		return false
	}
	id := s.getString(el, "id")
	for before := range s.elements(list) {
		if before == el {
			break
		}
		if i, ok := s.smallInt(s.get(before, "index")); !ok || i != index {
			continue
		}
		if other := s.getString(before, "id"); id != 0 && other != 0 && !s.same(id, other) {
			return true
		}
	}
	return false
}

// other reports whether the element belongs to another call than c: its id is
// another one.
func (s *calls) other(c *toolCall, element int) bool {
	id := s.getString(element, "id")
	return id != 0 && c.id != nil && len(s.inner(id)) > 0 && string(s.raw(id)) != string(c.id)
}

// read takes in what the chunk that was parsed says about calls.
func (s *calls) read() {
	for _, ch := range s.chunk {
		if ch.calls != 0 {
			s.call(ch.index)
			for el := range s.elements(ch.calls) {
				if !s.mixed {
					s.readCall(ch.index, el)
				}
			}
		}
		if ch.finish != 0 {
			s.settle(ch.index)
		}
	}
}

// call notes that a choice makes calls.
func (s *calls) call(choice int) {
	if !s.hasCalled(choice) && len(s.called) < maxStreamCalls {
		s.called = append(s.called, choice)
	}
}

func (s *calls) hasCalled(choice int) bool {
	return slices.Contains(s.called, choice)
}

func (s *calls) readCall(choice, el int) {
	index, ok := s.smallInt(s.get(el, "index"))
	if !ok || s.kind(el) != object {
		return
	}
	c := s.callOf(choice, el)
	first := c == nil
	switch {
	case first && len(s.list) == maxStreamCalls:
		return
	case first:
		s.list = append(s.list, toolCall{choice: choice, index: index})
		c = &s.list[len(s.list)-1]
	case s.other(c, el):
		*c = toolCall{choice: choice, index: index}
		first = true
	}
	if id := s.getString(el, "id"); id != 0 && c.id == nil && len(s.inner(id)) > 0 {
		c.id = append(c.id, s.raw(id)...)
	}
	if typ := s.getString(el, "type"); typ != 0 && c.typ == nil {
		c.typ = append(c.typ, s.raw(typ)...)
		if !s.is(typ, "function") {
			c.state = settled
		}
	}
	if c.out {
		return
	}
	fn := s.get(el, "function")
	if fn == 0 {
		return
	}
	if name := s.getString(fn, "name"); name != 0 && c.state == nameless && len(s.inner(name)) > 0 {
		s.readName(c, name, first)
	}
	s.readArguments(c, s.get(fn, "arguments"))
}

// readName takes in the name of a call that had none.
func (s *calls) readName(c *toolCall, name int, first bool) {
	c.state = settled
	if s.tools != "" && s.is(name, wrapper) {
		c.state = wrapped
	}
	if !first {
		c.name = append(c.name, s.raw(name)...)
	}
}

// readArguments takes in a piece of a call's arguments.
func (s *calls) readArguments(c *toolCall, piece int) {
	if c.state == settled && c.rest == nil {
		c.args = nil
		return
	}
	if piece != 0 && s.kind(piece) != null {
		if s.kind(piece) != str || !validString(s.inner(piece)) {
			c.state, c.args = settled, nil
			return
		}
		from := len(c.args)
		c.args = appendUnescaped(c.args, s.inner(piece))
		if c.rest != nil { // they were complete: it comes after them
			c.rest = append(c.rest, c.args[from:]...)
			c.args = c.args[:from]
		}
	}
	if c.state != wrapped {
		return
	}
	end := c.balance.find(c.args)
	if end == 0 {
		return
	}
	c.state = settled
	if end > 0 {
		if name, rest, ok := s.unwrap(c.args[:end]); ok {
			c.name = append(c.name[:0], name...)
			c.rest = append(rest, c.args[end:]...)
		}
	}
	c.args = nil
}

// load parses a chunk. It reports whether that is a JSON object. One that isn't
// valid can't be edited, so nothing is read out of it either.
func (s *calls) load(json []byte) bool {
	s.chunk = s.chunk[:0]
	if cap(s.nodes) > keepStreamNodes {
		s.nodes = nil
	}
	if !s.parse(json) || s.kind(0) != object || !s.valid() {
		return false
	}
	for c := range s.choices(choiceDelta) {
		s.chunk = append(s.chunk, c)
	}
	return true
}

// failed reports whether the chunk that was parsed is an error.
func (s *calls) failed() bool {
	v := s.get(0, "error")
	return v != 0 && s.kind(v) != null
}

// release makes the calls ready to leave. All are settled.
func (s *calls) release() {
	for i := range s.list {
		if c := &s.list[i]; c.rest != nil && c.json == nil {
			c.json = appendQuoted(nil, c.rest)
		}
	}
}

// released notes that all that was held back has left.
func (s *calls) released() {
	for i := range s.list {
		c := &s.list[i]
		c.out, c.args, c.rest, c.json = true, nil, nil, nil
	}
}

// edit records the edits of the chunk that was parsed.
func (s *calls) edit() {
	for _, ch := range s.chunk {
		if ch.message != 0 {
			s.joinContent(ch.message)
		}
		if ch.calls != 0 {
			for el := range s.elements(ch.calls) {
				if s.mixed {
					s.rename(el)
				} else {
					s.editCall(s.callOf(ch.index, el), el)
				}
			}
		}
		if ch.finish != 0 && s.hasCalled(ch.index) {
			s.finishCalls(ch.finish)
		}
	}
}

// editCall records the edits of a tool_calls element. c is its call, nil if
// that came whole.
func (s *calls) editCall(c *toolCall, el int) {
	if c == nil {
		s.rename(el)
		return
	}
	if c.name == nil {
		return
	}
	fn := s.get(el, "function")
	if !c.sent {
		c.sent = true
		s.editFirst(c, el, fn)
		return
	}
	if fn == 0 || s.kind(fn) != object {
		return
	}
	p := pruner{e: &s.edits}
	for k, v := range s.members(fn) {
		if s.is(k, "name") && s.kind(v) == str {
			p.drop(s.start(k), s.end(v))
			continue
		}
		p.keep(s.start(k), s.end(v))
		if c.json != nil && s.is(k, "arguments") && s.kind(v) == str {
			s.edits.replace(s.start(v), s.end(v), `""`)
		}
	}
	p.finish()
}

// editFirst makes el the first chunk of a call, with all that belongs there.
func (s *calls) editFirst(c *toolCall, el, fn int) {
	var members []member
	if id := s.get(el, "id"); c.id != nil && (id == 0 || string(s.raw(id)) != string(c.id)) {
		members = append(members, member{id, "id", string(c.id)})
	}
	if typ := s.get(el, "type"); typ == 0 || s.kind(typ) != str {
		members = append(members, member{typ, "type", `"function"`})
	}
	name, args := string(c.name), string(c.json)
	switch {
	case fn != 0 && s.kind(fn) == object:
		function := []member{{s.get(fn, "name"), "name", name}}
		if args != "" {
			function = append(function, member{s.get(fn, "arguments"), "arguments", args})
		}
		s.edits.set(&s.doc, fn, function...)
	case args == "":
		members = append(members, member{fn, "function", `{"name":` + name + `}`})
	default:
		members = append(members, member{fn, "function", `{"name":` + name + `,"arguments":` + args + `}`})
	}
	s.edits.set(&s.doc, el, members...)
}
