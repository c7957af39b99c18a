package filter

import (
	"bytes"
	"io"
)

const (
	// maxEvent is the size, in bytes, over which an event isn't looked at, and
	// that of all events together that are held back.
	maxEvent = 8 << 20

	// A stream reads this much at a time, at most. A buffer that an event has
	// made larger than keepBuffer isn't kept.
	readSize      = 4 << 10
	maxKeptBuffer = 64 << 10
)

// stream filters a stream of server-sent events as it is read.
//
// It cuts what it reads into events: up to and with the blank line that ends
// each. An event leaves in the Read in which that line's end came, unless it is
// held back (see toolcall.go). One without data, such as a comment that keeps
// the connection alive, is never held back.
type stream struct {
	callTracker
	src    io.Reader // decoded
	body   io.Closer
	srcErr error // how the source ended

	limit      int  // maxEvent, but for tests
	noShortcut bool // for tests: all events are parsed

	partial  []byte // what was read of events that aren't complete
	scanned  int    // how much of it the scanner has seen
	scanner  eventScanner
	tooLarge bool // the event is too large: the rest of it passes
	lastHeld bool // the last event is the last that is held back

	held     []byte // the events that are held back
	heldEnds []int  // where each of them ends
	ready    []byte // what may leave
	sent     int    // how much of it has left
	dataBuf  []byte // the data of an event with many data lines
}

func newStream(src io.Reader, body io.Closer, tools toolNames) *stream {
	s := &stream{src: src, body: body, limit: maxEvent, scanner: eventScanner{lineEmpty: true}}
	s.tools = tools
	return s
}

// Read blocks until some of an event may leave.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for s.sent == len(s.ready) {
		s.ready, s.sent = emptied(s.ready), 0
		if s.srcErr != nil {
			return 0, s.srcErr
		}
		s.readSource(p)
	}
	n := copy(p, s.ready[s.sent:])
	s.sent += n
	return n, nil
}

// Close closes the source's body.
func (s *stream) Close() error { return s.body.Close() }

// emptied empties a buffer, and lets go of it if it is a large one.
func emptied(b []byte) []byte {
	if cap(b) > maxKeptBuffer {
		return nil
	}
	return b[:0]
}

// readSource reads once, and deals with the events that are complete. It reads into
// p, its caller's: a buffer of the stream's own would lie there as long as it
// waits, and most events are far smaller.
func (s *stream) readSource(p []byte) {
	n, err := s.src.Read(p[:min(len(p), readSize)])
	s.partial = append(s.partial, p[:n]...)
	s.takeEvents()
	if err != nil {
		s.endOfSource(err)
	}
}

// takeEvents takes the complete events off s.in.
func (s *stream) takeEvents() {
	from := 0
	for s.scanned < len(s.partial) {
		if s.scanned == from && !s.tooLarge && s.scanner.isPairedLF(s.partial[s.scanned]) {
			s.passLineFeed()
			s.scanned++
			from = s.scanned
			continue
		}
		n, complete := s.scanner.scan(s.partial[s.scanned:])
		s.scanned += n
		ev := s.partial[from:s.scanned]
		switch {
		case s.tooLarge:
			s.ready = append(s.ready, ev...)
			s.tooLarge = !complete
		case len(ev) > s.limit:
			s.flush()
			s.ready = append(s.ready, ev...)
			s.tooLarge = !complete
		case complete:
			s.handleEvent(ev)
		default:
			continue
		}
		from = s.scanned
	}
	if from == len(s.partial) {
		s.partial = emptied(s.partial)
	} else if from > 0 {
		s.partial = append(s.partial[:0], s.partial[from:]...)
	}
	s.scanned -= from
}

// passLineFeed passes on a line feed whose carriage return ended an event.
func (s *stream) passLineFeed() {
	s.scanner.afterCR = false
	if s.lastHeld {
		s.held = append(s.held, '\n')
		s.heldEnds[len(s.heldEnds)-1]++
	} else {
		s.ready = append(s.ready, '\n')
	}
}

// endOfSource deals with the end of the source. What it leaves of an event without its
// last line is no event for most clients, but passes, and last.
func (s *stream) endOfSource(err error) {
	s.srcErr = err
	switch {
	case s.tooLarge:
		// The rest of the event has left already.
	case s.readData(s.partial).lineCount > 0:
		s.handleEvent(s.partial)
		s.flush()
	default:
		s.flush()
		s.ready = append(s.ready, s.partial...)
	}
	s.partial = nil
}

// handleEvent deals with one event.
func (s *stream) handleEvent(ev []byte) {
	s.lastHeld = false
	d := s.readData(ev)
	if d.lineCount == 0 || len(s.heldEnds) == 0 && !s.noShortcut && s.surelyUnchanged(d.json) {
		s.ready = append(s.ready, ev...)
		return
	}
	understood := s.parseChunk(d.json)
	if understood && s.isError() || string(bytes.TrimSpace(d.json)) == "[DONE]" {
		s.flush()
		s.ready = append(s.ready, ev...)
		return
	}
	if understood {
		clash, ambiguous := s.findClashes()
		if clash || ambiguous {
			s.flush()
			d = s.readData(ev) // flush has used the memory of both
			s.parseChunk(d.json)
		}
		s.ambiguous = ambiguous
		s.readChunk()
	}
	if s.anyUndecided() || len(s.heldEnds) > 0 {
		s.holdBack(ev)
		return
	}
	s.quoteArguments()
	s.writeEvent(ev, d, understood)
	s.markFlushed()
}

// surelyUnchanged reports whether a chunk surely needs no look, which most don't: they
// carry a piece of text. A tool call, and a content of parts, stand in an array
// inside that of the choices.
func (s *stream) surelyUnchanged(json []byte) bool {
	return len(s.callingChoices) == 0 && bytes.Count(json, []byte("[")) < 2
}

// holdBack puts an event behind those that are held back. If it was the last that
// they waited for, or they have become too many, all leave.
func (s *stream) holdBack(ev []byte) {
	s.held = append(s.held, ev...)
	s.heldEnds = append(s.heldEnds, len(s.held))
	s.lastHeld = true
	if !s.anyUndecided() || len(s.held)+s.heldBytes() > s.limit {
		s.flush()
	}
}

// flush lets all leave that is held back. Calls that aren't settled yet leave as
// they came.
func (s *stream) flush() {
	s.giveUp(-1)
	s.quoteArguments()
	from := 0
	for _, end := range s.heldEnds {
		ev := s.held[from:end]
		d := s.readData(ev)
		s.writeEvent(ev, d, s.parseChunk(d.json))
		from = end
	}
	s.markFlushed()
	s.held, s.heldEnds, s.lastHeld = emptied(s.held), s.heldEnds[:0], false
}

// writeEvent lets an event leave, with what is to be changed in its data. known says
// whether the data is loaded.
func (s *stream) writeEvent(ev []byte, d eventData, understood bool) {
	s.edits.reset()
	if understood {
		s.editChunk()
	}
	if len(s.edits.list) == 0 || !s.edits.sortEdits(len(d.json)) {
		s.ready = append(s.ready, ev...)
		return
	}
	s.ready = append(s.ready, ev[:d.start]...)
	from := len(s.ready)
	s.ready = s.edits.appendEdited(s.ready, d.json)
	if d.lineCount == 1 {
		s.ready = append(s.ready, ev[d.end:]...)
		return
	}
	// The lines of the data become one: a line feed can only stand between
	// JSON's tokens, where a space does as well.
	for i, c := range s.ready[from:] {
		if c == '\n' {
			s.ready[from+i] = ' '
		}
	}
	s.ready = append(s.ready, ev[d.end:d.next]...)
	for l := range lines(ev) {
		if _, isData := dataStart(ev[l.start:l.end]); !isData && l.start >= d.next {
			s.ready = append(s.ready, ev[l.start:l.next]...)
		}
	}
}
