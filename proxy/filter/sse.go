package filter

import (
	"bytes"
	"io"
)

const (
	// maxEvent is the size, in bytes, above which an event passes unread. All
	// events that are held back are flushed when they need more than this.
	maxEvent = 8 << 20

	// A stream reads readSize bytes at a time, at most. A buffer that has grown
	// larger than maxKeptBuffer isn't used again.
	readSize      = 4 << 10
	maxKeptBuffer = 64 << 10
)

// stream filters a stream of server-sent events as it is read.
//
// It cuts what it reads into events, each of which ends with a blank line. An event
// leaves in the Read in which its last byte came, unless it is held back (see
// toolcall.go). An event without data, such as a comment that keeps the connection
// alive, is never held back.
type stream struct {
	callTracker
	src    io.Reader // decoded
	body   io.Closer
	srcErr error // src's last error; nil until it ends

	limit      int  // maxEvent, but for tests
	noShortcut bool // for tests: all events are parsed

	partial  []byte // the start of an event that isn't complete
	scanned  int    // how many bytes of it the scanner has read
	scanner  eventScanner
	tooLarge bool // the rest of the event passes unread
	lastHeld bool // the event before is the last of those that are held back

	held     []byte // the events that are held back
	heldEnds []int  // where each of them ends
	ready    []byte // what the next Reads return
	sent     int    // how many bytes of it earlier Reads have returned
	dataBuf  []byte // the data of an event with several data lines
}

func newStream(src io.Reader, body io.Closer, tools toolNames) *stream {
	s := &stream{src: src, body: body, limit: maxEvent, scanner: eventScanner{lineEmpty: true}}
	s.tools = tools
	return s
}

// Read blocks until it can return a part of an event.
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

// emptied returns a buffer without its content, nil if it is too large to be kept.
func emptied(b []byte) []byte {
	if cap(b) > maxKeptBuffer {
		return nil
	}
	return b[:0]
}

// readSource reads once from the source, and handles the events that are complete
// then. It reads into p, its caller's buffer: one of its own would take up memory
// while the stream waits for the model.
func (s *stream) readSource(p []byte) {
	n, err := s.src.Read(p[:min(len(p), readSize)])
	s.partial = append(s.partial, p[:n]...)
	s.takeEvents()
	if err != nil {
		s.endOfSource(err)
	}
}

// takeEvents handles the complete events in s.partial, and removes them from it.
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

// passLineFeed passes on the LF after a CR that ended an event.
func (s *stream) passLineFeed() {
	s.scanner.afterCR = false
	if s.lastHeld {
		s.held = append(s.held, '\n')
		s.heldEnds[len(s.heldEnds)-1]++
	} else {
		s.ready = append(s.ready, '\n')
	}
}

// endOfSource handles the end of the source, and the event that it may have cut
// off. Most clients ignore such an event, but it passes after all others.
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

// handleEvent reads one event, and passes it on or holds it back.
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
			d = s.readData(ev) // since flush has used dataBuf and the document
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

// surelyUnchanged reports, without parsing it, whether no rule can change a chunk.
// So it is with most chunks, which carry a piece of text: tool calls and content
// parts are in an array inside the array of choices.
func (s *stream) surelyUnchanged(json []byte) bool {
	return len(s.callingChoices) == 0 && bytes.Count(json, []byte("[")) < 2
}

// holdBack adds an event to those that are held back. It flushes them if all calls
// are decided now, or if they need too much memory.
func (s *stream) holdBack(ev []byte) {
	s.held = append(s.held, ev...)
	s.heldEnds = append(s.heldEnds, len(s.held))
	s.lastHeld = true
	if !s.anyUndecided() || len(s.held)+s.heldBytes() > s.limit {
		s.flush()
	}
}

// flush passes on all events that are held back. Calls that aren't decided yet
// pass unchanged.
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

// writeEvent passes on an event, with its data edited. understood says whether
// parseChunk has parsed the data.
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
	// The data lines become one line. In JSON a line feed can only stand between
	// tokens, where a space means the same.
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
