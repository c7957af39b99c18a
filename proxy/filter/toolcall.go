package filter

import (
	"bytes"
	"slices"
)

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
	id            []byte // as JSON; nil if it hasn't come yet
	args          []byte // the value of the arguments so far, while it is needed
	scanner       objectScanner

	newName   []byte // the name for its first chunk, as JSON; nil: its chunks don't change
	newArgs   []byte // the arguments for its first chunk; nil: the arguments stay where they are
	firstSent bool   // its first chunk has been passed on
	flushed   bool   // all chunks of it so far have been passed on
}

const (
	maxStreamCalls     = 256  // further calls of a stream pass unchanged
	maxKeptStreamNodes = 4096 // 64 KB; the memory for more isn't kept
)

// callTracker follows the tool calls of a stream, chunk by chunk.
type callTracker struct {
	response
	calls          []streamCall
	callOf         []int    // what findCall said of the elements that have come since all had been passed on
	passedOn       int      // how many of these are passed on
	callingChoices []int    // the choices that have made calls
	choicesOfChunk []choice // the choices of the chunk that was parsed last
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

// readChunk reads what the parsed chunk says about calls.
func (s *callTracker) readChunk() {
	for _, ch := range s.choicesOfChunk {
		for el := range s.elements(ch.toolCalls) {
			i, isNew := s.findCall(ch.index, el)
			s.callOf = append(s.callOf, i)
			if i >= 0 {
				s.readCall(&s.calls[i], el, isNew)
			}
		}
		if !s.isEmpty(ch.toolCalls) {
			s.noteCalling(ch.index)
		}
		if len(s.raw(ch.finishReason)) > len(`""`) {
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

// findCall returns the call that a tool_calls element belongs to, as an index into
// calls; -1 if it isn't followed. An element without an index is a whole call. One
// with another id than the call with its index is a new call, as some endpoints
// count all from 0, and that one has ended.
func (s *callTracker) findCall(choice, el int) (i int, isNew bool) {
	index, ok := s.smallInt(s.get(el, "index"))
	if !ok {
		return -1, false
	}
	for i = len(s.calls) - 1; i >= 0; i-- {
		c := &s.calls[i]
		if c.choice != choice || c.index != index {
			continue
		}
		id := s.nonEmptyString(el, "id")
		if id == 0 || c.id == nil || string(s.raw(id)) == string(c.id) {
			return i, false
		}
		c.state = decided
		break
	}
	if len(s.calls) == maxStreamCalls {
		return -1, false
	}
	s.calls = append(s.calls, streamCall{choice: choice, index: index})
	return len(s.calls) - 1, true
}

// nonEmptyString is getString for callers who treat an empty string as none.
func (s *callTracker) nonEmptyString(obj int, key string) int {
	if v := s.getString(obj, key); v != 0 && len(s.inner(v)) > 0 {
		return v
	}
	return 0
}

// readCall reads a tool_calls element of the call c; first says that it is the first.
func (s *callTracker) readCall(c *streamCall, el int, first bool) {
	if id := s.nonEmptyString(el, "id"); id != 0 && c.id == nil {
		c.id = append(c.id, s.raw(id)...)
	}
	if typ := s.getString(el, "type"); typ != 0 && !s.equals(typ, "function") {
		c.state = decided
	}
	if c.flushed {
		return
	}
	fn := s.get(el, "function")
	if name := s.nonEmptyString(fn, "name"); name != 0 && c.state == unnamed {
		c.state = decided
		if s.tools != nil && s.equals(name, wrapperName) {
			c.state = wrapped
		}
		if !first {
			c.newName = append(c.newName, s.raw(name)...)
		}
	}
	s.readArguments(c, s.get(fn, "arguments"))
}

// readArguments reads a piece of a call's arguments.
func (s *callTracker) readArguments(c *streamCall, piece int) {
	switch {
	case c.state == decided && c.newArgs == nil:
		c.args = nil
		return
	case s.isNull(piece):
	case s.kind(piece) != str || !isValidString(s.inner(piece)):
		c.state, c.args = decided, nil
		return
	case c.newArgs != nil: // they were complete before this piece
		c.newArgs = appendUnescaped(c.newArgs, s.inner(piece))
		return
	default:
		c.args = appendUnescaped(c.args, s.inner(piece))
	}
	if c.state != wrapped || !c.scanner.scan(c.args) {
		return
	}
	c.state = decided
	if name, remaining, ok := s.extractName(c.args); ok {
		c.newName = append(c.newName[:0], name...)
		c.newArgs = remaining
	}
	c.args = nil
}

// parseChunk parses a chunk, and reports whether it is a JSON object. A chunk that
// isn't valid JSON couldn't be edited, so it isn't read either. Nor is one with a CR:
// for clients that ends the line.
func (s *callTracker) parseChunk(json []byte) bool {
	s.choicesOfChunk = s.choicesOfChunk[:0]
	if cap(s.nodes) > maxKeptStreamNodes {
		s.nodes = nil
	}
	if !s.parse(json) || s.kind(root) != object || !s.stringsValid() || bytes.IndexByte(json, '\r') >= 0 {
		return false
	}
	for c := range s.choices("delta") {
		s.choicesOfChunk = append(s.choicesOfChunk, c)
	}
	return true
}

// markFlushed notes that all chunks so far have been passed on.
func (s *callTracker) markFlushed() {
	for i := range s.calls {
		c := &s.calls[i]
		c.flushed, c.args, c.newArgs = true, nil, nil
	}
	if cap(s.callOf) > maxKeptStreamNodes {
		s.callOf = nil
	}
	s.callOf, s.passedOn = s.callOf[:0], 0
}

// editChunk records the edits of the parsed chunk, the next one that is passed on.
func (s *callTracker) editChunk() {
	for _, ch := range s.choicesOfChunk {
		s.joinContentParts(ch.message)
		for el := range s.elements(ch.toolCalls) {
			if i := s.callOf[s.passedOn]; i < 0 {
				s.unwrapCall(el)
			} else if c := &s.calls[i]; c.newName != nil {
				s.editCall(c, el)
			}
			s.passedOn++
		}
		if s.hasCalled(ch.index) {
			s.fixFinishReason(ch.finishReason)
		}
	}
}

// editCall records the edits of a tool_calls element of the call c, which has a new
// name.
func (s *callTracker) editCall(c *streamCall, el int) {
	fn := s.get(el, "function")
	if !c.firstSent {
		c.firstSent = true
		s.editFirstChunk(c, el, fn)
		return
	}
	s.edits.dropMembers(&s.document, fn, func(k, v int) bool {
		return s.equals(k, "name") && s.kind(v) == str
	})
	if args := s.getString(fn, "arguments"); args != 0 && c.newArgs != nil {
		s.edits.replace(s.start(args), s.end(args), `""`)
	}
}

// editFirstChunk records the edits that make el a call's first chunk: it gets the
// call's id, type and name, and its arguments if they are known.
func (s *callTracker) editFirstChunk(c *streamCall, el, fn int) {
	var members []memberValue
	if id := s.get(el, "id"); c.id != nil && string(s.raw(id)) != string(c.id) {
		members = append(members, memberValue{id, "id", string(c.id)})
	}
	if typ := s.get(el, "type"); s.kind(typ) != str {
		members = append(members, memberValue{typ, "type", `"function"`})
	}
	name := string(c.newName)
	function, whole := []memberValue{{s.get(fn, "name"), "name", name}}, `{"name":`+name
	if c.newArgs != nil {
		args := string(appendQuoted(nil, c.newArgs))
		function = append(function, memberValue{s.get(fn, "arguments"), "arguments", args})
		whole += `,"arguments":` + args
	}
	if s.kind(fn) == object {
		s.edits.setMembers(&s.document, fn, function...)
	} else {
		members = append(members, memberValue{fn, "function", whole + "}"})
	}
	s.edits.setMembers(&s.document, el, members...)
}
