package filter

import "slices"

// A stream sends a tool call in pieces: first its id, type and name, then its
// arguments. If its name is wrapperName, the real name is known only when the
// arguments are complete. Until then its events and all events after them are held
// back, so that their order stays. Then they are passed on, with the real name and
// all of the arguments in the call's first chunk and no arguments in the others.
//
// A call whose name comes after its first chunk, which clients don't expect, is
// handled in the same way. A call for which no real name is found passes
// unchanged.

type callState uint8

const (
	unnamed callState = iota // its name hasn't come yet
	wrapped                  // its arguments aren't complete yet
	decided                  // it is known how its chunks change
)

// streamCall is what is known of one call of a stream.
type streamCall struct {
	choice, index int
	state         callState
	id, typ       []byte // as JSON; nil if they haven't come yet
	args          []byte // the value of the arguments so far, while it is needed
	scanner       objectScanner

	newName     []byte // the name for its first chunk, as JSON; nil: its chunks don't change
	newArgs     []byte // the arguments for its first chunk; nil: the arguments stay where they are
	newArgsJSON []byte // newArgs as JSON; set when its chunks are passed on
	firstSent   bool   // its first chunk has been passed on
	flushed     bool   // all chunks of it so far have been passed on
}

const (
	maxStreamCalls     = 256  // further calls of a stream pass unchanged
	maxKeptStreamNodes = 4096 // 64 KB; the memory for more isn't kept after a chunk
)

// callTracker follows the tool calls of a stream, chunk by chunk.
type callTracker struct {
	response
	calls          []streamCall
	callingChoices []int    // the choices that have made calls
	choicesOfChunk []choice // the choices of the chunk that was parsed last
	ambiguous      bool     // that chunk's calls can't be told apart
}

// findCall returns the call that a tool_calls element belongs to, nil if it isn't
// followed. An element without an index is a whole call.
func (s *callTracker) findCall(choice, element int) *streamCall {
	index, ok := s.smallInt(s.get(element, "index"))
	if !ok {
		return nil
	}
	for i := range s.calls {
		if c := &s.calls[i]; c.choice == choice && c.index == index {
			return c
		}
	}
	return nil
}

// anyUndecided reports whether events have to be held back for a call.
func (s *callTracker) anyUndecided() bool {
	for i := range s.calls {
		if s.calls[i].state != decided {
			return true
		}
	}
	return false
}

// heldBytes returns how many bytes of arguments are in memory.
func (s *callTracker) heldBytes() int {
	n := 0
	for i := range s.calls {
		n += len(s.calls[i].args) + len(s.calls[i].newArgs)
	}
	return n
}

// giveUp lets the calls of a choice that aren't decided yet pass unchanged; those of
// all choices if choice is -1.
func (s *callTracker) giveUp(choice int) {
	for i := range s.calls {
		if c := &s.calls[i]; choice < 0 || c.choice == choice {
			c.state = decided
		}
	}
}

// findClashes looks for calls of the parsed chunk that their index alone doesn't
// identify. clash: one has the index of another call that is still held back.
// ambiguous: two of the chunk have the same index, or there are more than are
// followed.
func (s *callTracker) findClashes() (clash, ambiguous bool) {
	for _, ch := range s.choicesOfChunk {
		if ch.toolCalls == 0 {
			continue
		}
		n := 0
		for el := range s.elements(ch.toolCalls) {
			c := s.findCall(ch.index, el)
			clash = clash || c != nil && !c.flushed && s.isOtherCall(c, el)
			n++
			ambiguous = ambiguous || n > maxStreamCalls || s.sharesIndex(ch.toolCalls, el)
		}
	}
	return clash, ambiguous
}

// sharesIndex reports whether an element before el has the same index and another
// id.
func (s *callTracker) sharesIndex(list, el int) bool {
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
		if other := s.getString(before, "id"); id != 0 && other != 0 && !s.sameString(id, other) {
			return true
		}
	}
	return false
}

// isOtherCall reports whether the element has another id than c, and so belongs to
// another call.
func (s *callTracker) isOtherCall(c *streamCall, element int) bool {
	id := s.getString(element, "id")
	return id != 0 && c.id != nil && len(s.inner(id)) > 0 && string(s.raw(id)) != string(c.id)
}

// readChunk reads what the parsed chunk says about calls.
func (s *callTracker) readChunk() {
	for _, ch := range s.choicesOfChunk {
		if ch.toolCalls != 0 {
			s.noteCalling(ch.index)
			for el := range s.elements(ch.toolCalls) {
				if !s.ambiguous {
					s.readCall(ch.index, el)
				}
			}
		}
		if ch.finishReason != 0 {
			s.giveUp(ch.index)
		}
	}
}

// noteCalling notes that a choice has made calls.
func (s *callTracker) noteCalling(choice int) {
	if !s.hasCalled(choice) && len(s.callingChoices) < maxStreamCalls {
		s.callingChoices = append(s.callingChoices, choice)
	}
}

func (s *callTracker) hasCalled(choice int) bool {
	return slices.Contains(s.callingChoices, choice)
}

// readCall reads a tool_calls element.
func (s *callTracker) readCall(choice, el int) {
	index, ok := s.smallInt(s.get(el, "index"))
	if !ok || s.kind(el) != object {
		return
	}
	c := s.findCall(choice, el)
	first := c == nil
	switch {
	case first && len(s.calls) == maxStreamCalls:
		return
	case first:
		s.calls = append(s.calls, streamCall{choice: choice, index: index})
		c = &s.calls[len(s.calls)-1]
	case s.isOtherCall(c, el):
		*c = streamCall{choice: choice, index: index}
		first = true
	}
	if id := s.getString(el, "id"); id != 0 && c.id == nil && len(s.inner(id)) > 0 {
		c.id = append(c.id, s.raw(id)...)
	}
	if typ := s.getString(el, "type"); typ != 0 && c.typ == nil {
		c.typ = append(c.typ, s.raw(typ)...)
		if !s.equals(typ, "function") {
			c.state = decided
		}
	}
	if c.flushed {
		return
	}
	fn := s.get(el, "function")
	if fn == 0 {
		return
	}
	if name := s.getString(fn, "name"); name != 0 && c.state == unnamed && len(s.inner(name)) > 0 {
		s.readName(c, name, first)
	}
	s.readArguments(c, s.get(fn, "arguments"))
}

// readName reads the name of a call that has had none. first says that this is the
// call's first chunk.
func (s *callTracker) readName(c *streamCall, name int, first bool) {
	c.state = decided
	if s.tools != "" && s.equals(name, wrapperName) {
		c.state = wrapped
	}
	if !first {
		c.newName = append(c.newName, s.raw(name)...)
	}
}

// readArguments reads a piece of a call's arguments, 0 if there is none.
func (s *callTracker) readArguments(c *streamCall, piece int) {
	if c.state == decided && c.newArgs == nil {
		c.args = nil
		return
	}
	if piece != 0 && s.kind(piece) != null {
		if s.kind(piece) != str || !isValidString(s.inner(piece)) {
			c.state, c.args = decided, nil
			return
		}
		from := len(c.args)
		c.args = appendUnescaped(c.args, s.inner(piece))
		if c.newArgs != nil { // the arguments were complete before this piece
			c.newArgs = append(c.newArgs, c.args[from:]...)
			c.args = c.args[:from]
		}
	}
	if c.state != wrapped {
		return
	}
	end := c.scanner.scan(c.args)
	if end == 0 {
		return
	}
	c.state = decided
	if end > 0 {
		if name, remaining, ok := s.extractName(c.args[:end]); ok {
			c.newName = append(c.newName[:0], name...)
			c.newArgs = append(remaining, c.args[end:]...)
		}
	}
	c.args = nil
}

// parseChunk parses a chunk, and reports whether it is a JSON object. A chunk that
// isn't valid JSON couldn't be edited, so it isn't read either.
func (s *callTracker) parseChunk(json []byte) bool {
	s.choicesOfChunk, s.ambiguous = s.choicesOfChunk[:0], false
	if cap(s.nodes) > maxKeptStreamNodes {
		s.nodes = nil
	}
	if !s.parse(json) || s.kind(0) != object || !s.stringsValid() {
		return false
	}
	for c := range s.choices(choiceDelta) {
		s.choicesOfChunk = append(s.choicesOfChunk, c)
	}
	return true
}

// isError reports whether the parsed chunk is an error.
func (s *callTracker) isError() bool {
	v := s.get(0, "error")
	return v != 0 && s.kind(v) != null
}

// quoteArguments prepares the new arguments of calls for editFirstChunk.
func (s *callTracker) quoteArguments() {
	for i := range s.calls {
		if c := &s.calls[i]; c.newArgs != nil && c.newArgsJSON == nil {
			c.newArgsJSON = appendQuoted(nil, c.newArgs)
		}
	}
}

// markFlushed notes that all chunks so far have been passed on.
func (s *callTracker) markFlushed() {
	for i := range s.calls {
		c := &s.calls[i]
		c.flushed, c.args, c.newArgs, c.newArgsJSON = true, nil, nil, nil
	}
}

// editChunk records the edits of the parsed chunk.
func (s *callTracker) editChunk() {
	for _, ch := range s.choicesOfChunk {
		if ch.message != 0 {
			s.joinContentParts(ch.message)
		}
		if ch.toolCalls != 0 {
			for el := range s.elements(ch.toolCalls) {
				if s.ambiguous {
					s.unwrapCall(el)
				} else {
					s.editCall(s.findCall(ch.index, el), el)
				}
			}
		}
		if ch.finishReason != 0 && s.hasCalled(ch.index) {
			s.fixFinishReason(ch.finishReason)
		}
	}
}

// editCall records the edits of a tool_calls element. c is the call that it belongs
// to, nil if the element is a whole call.
func (s *callTracker) editCall(c *streamCall, el int) {
	if c == nil {
		s.unwrapCall(el)
		return
	}
	if c.newName == nil {
		return
	}
	fn := s.get(el, "function")
	if !c.firstSent {
		c.firstSent = true
		s.editFirstChunk(c, el, fn)
		return
	}
	if fn == 0 || s.kind(fn) != object {
		return
	}
	s.edits.dropMembers(&s.document, fn, func(k, v int) bool {
		return s.equals(k, "name") && s.kind(v) == str
	})
	if c.newArgsJSON == nil {
		return
	}
	for k, v := range s.members(fn) {
		if s.equals(k, "arguments") && s.kind(v) == str {
			s.edits.replace(s.start(v), s.end(v), `""`)
		}
	}
}

// editFirstChunk records the edits that make el a call's first chunk: it gets the
// call's id, type and name, and its arguments if they are known.
func (s *callTracker) editFirstChunk(c *streamCall, el, fn int) {
	var members []memberValue
	if id := s.get(el, "id"); c.id != nil && (id == 0 || string(s.raw(id)) != string(c.id)) {
		members = append(members, memberValue{id, "id", string(c.id)})
	}
	if typ := s.get(el, "type"); typ == 0 || s.kind(typ) != str {
		members = append(members, memberValue{typ, "type", `"function"`})
	}
	name, args := string(c.newName), string(c.newArgsJSON)
	switch {
	case fn != 0 && s.kind(fn) == object:
		function := []memberValue{{s.get(fn, "name"), "name", name}}
		if args != "" {
			function = append(function, memberValue{s.get(fn, "arguments"), "arguments", args})
		}
		s.edits.setMembers(&s.document, fn, function...)
	case args == "":
		members = append(members, memberValue{fn, "function", `{"name":` + name + `}`})
	default:
		members = append(members, memberValue{fn, "function", `{"name":` + name + `,"arguments":` + args + `}`})
	}
	s.edits.setMembers(&s.document, el, members...)
}
