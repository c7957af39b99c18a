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
	unnamed callState = iota // its name hasn't come yet
	wrapped                  // its arguments aren't complete yet
	decided                  // what is to be done with it is known
)

// streamCall is what has come of one call of a stream.
type streamCall struct {
	choice, index int
	state         callState
	id, typ       []byte // as JSON, nil if they haven't come
	args          []byte // what has come of the arguments; while it is of use
	scanner       objectScanner

	newName     []byte // the name for its first chunk, as JSON; nil if it leaves as it came
	newArgs     []byte // its arguments without the name, nil if they leave as they came
	newArgsJSON []byte // the same as JSON, once they leave
	firstSent   bool   // its first chunk has left
	flushed     bool   // all that was held back of it has left
}

const (
	maxStreamCalls     = 256  // how many calls of a stream are followed
	maxKeptStreamNodes = 4096 // how many nodes a stream keeps room for: 64 KB
)

// callTracker are the calls of a stream.
type callTracker struct {
	response
	calls          []streamCall
	callingChoices []int    // the choices that have made calls
	choicesOfChunk []choice // those of the chunk that was parsed
	ambiguous      bool     // its calls can't be told apart
}

// findCall returns the call of a tool_calls element. It is nil if the element has
// no index: such a call comes whole.
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

// anyUndecided reports whether a call isn't settled yet, and so nothing may leave.
func (s *callTracker) anyUndecided() bool {
	for i := range s.calls {
		if s.calls[i].state != decided {
			return true
		}
	}
	return false
}

// heldBytes returns how many bytes of arguments are kept.
func (s *callTracker) heldBytes() int {
	n := 0
	for i := range s.calls {
		n += len(s.calls[i].args) + len(s.calls[i].newArgs)
	}
	return n
}

// giveUp gives up on the calls of a choice that aren't settled yet, of all
// choices if it is -1: they leave as they came.
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

// sharesIndex reports whether an element before el has its index and another
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

// isOtherCall reports whether the element belongs to another call than c: its id is
// another one.
func (s *callTracker) isOtherCall(c *streamCall, element int) bool {
	id := s.getString(element, "id")
	return id != 0 && c.id != nil && len(s.inner(id)) > 0 && string(s.raw(id)) != string(c.id)
}

// readChunk takes in what the chunk that was parsed says about calls.
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

// noteCalling notes that a choice makes calls.
func (s *callTracker) noteCalling(choice int) {
	if !s.hasCalled(choice) && len(s.callingChoices) < maxStreamCalls {
		s.callingChoices = append(s.callingChoices, choice)
	}
}

func (s *callTracker) hasCalled(choice int) bool {
	return slices.Contains(s.callingChoices, choice)
}

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

// readName takes in the name of a call that had none.
func (s *callTracker) readName(c *streamCall, name int, first bool) {
	c.state = decided
	if s.tools != "" && s.equals(name, wrapperName) {
		c.state = wrapped
	}
	if !first {
		c.newName = append(c.newName, s.raw(name)...)
	}
}

// readArguments takes in a piece of a call's arguments.
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
		if c.newArgs != nil { // they were complete: it comes after them
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

// parseChunk parses a chunk. It reports whether that is a JSON object. One that isn't
// valid can't be edited, so nothing is read out of it either.
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

// isError reports whether the chunk that was parsed is an error.
func (s *callTracker) isError() bool {
	v := s.get(0, "error")
	return v != 0 && s.kind(v) != null
}

// quoteArguments makes the calls ready to leave. All are settled.
func (s *callTracker) quoteArguments() {
	for i := range s.calls {
		if c := &s.calls[i]; c.newArgs != nil && c.newArgsJSON == nil {
			c.newArgsJSON = appendQuoted(nil, c.newArgs)
		}
	}
}

// markFlushed notes that all that was held back has left.
func (s *callTracker) markFlushed() {
	for i := range s.calls {
		c := &s.calls[i]
		c.flushed, c.args, c.newArgs, c.newArgsJSON = true, nil, nil, nil
	}
}

// editChunk records the edits of the chunk that was parsed.
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

// editCall records the edits of a tool_calls element. c is its call, nil if
// that came whole.
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

// editFirstChunk makes el the first chunk of a call, with all that belongs there.
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
