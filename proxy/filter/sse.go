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
// alive, is never held back. Lines end with LF or CRLF; by the standard a CR alone
// ends one too, but no model's endpoint does that: such events pass unread.
type stream struct {
	callTracker
	src    io.Reader // decoded
	body   io.Closer
	srcErr error // src's last error; nil until it ends

	limit      int  // maxEvent, but for tests
	noShortcut bool // for tests: all events are parsed

	partial   []byte // the start of an event that isn't complete
	scanned   int    // how many bytes of it findEnd has read
	lineBlank bool   // its last line has no text yet
	unread    bool   // the rest of the event passes unread

	held     []byte // the events that are held back
	heldEnds []int  // where each of them ends
	ready    []byte // what the next Reads return
	sent     int    // how many bytes of it earlier Reads have returned
}

func newStream(src io.Reader, body io.Closer, tools *toolNames) *stream {
	s := &stream{src: src, body: body, limit: maxEvent, lineBlank: true}
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
	for complete := true; complete; {
		complete = s.findEnd()
		ev := s.partial[from:s.scanned]
		switch {
		case s.unread || len(ev) > s.limit || bytes.HasSuffix(ev, []byte("\r\r")):
			s.flush()
			s.ready = append(s.ready, ev...)
			s.unread = !complete
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

// findEnd goes on reading s.partial, up to the blank line that ends the event. It
// returns false if that isn't there yet. Each byte is read once.
func (s *stream) findEnd() bool {
	for {
		line, rest, found := bytes.Cut(s.partial[s.scanned:], []byte("\n"))
		s.scanned = len(s.partial) - len(rest)
		s.lineBlank = s.lineBlank && len(bytes.Trim(line, "\r")) == 0
		if !found || s.lineBlank {
			return found
		}
		s.lineBlank = true
	}
}

// endOfSource handles the end of the source, and the event that it may have cut
// off. Most clients ignore such an event, but it passes after all others.
func (s *stream) endOfSource(err error) {
	s.srcErr = err
	if _, end := findData(s.partial); end > 0 {
		s.handleEvent(s.partial)
		s.flush()
	} else {
		s.flush()
		s.ready = append(s.ready, s.partial...)
	}
	s.partial = nil
}

// findData returns where the data of an event is: from the value of its first data
// line to the end of its last one, all 0 if it has none. If it has several, what is
// between the two isn't JSON, and so the event passes unchanged: no model's endpoint
// sends such events.
func findData(ev []byte) (start, end int) {
	at := 0
	for line := range bytes.Lines(ev) {
		text := bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if value, ok := bytes.CutPrefix(text, []byte("data:")); ok {
			end = at + len(text)
			if start == 0 {
				start = end - len(bytes.TrimPrefix(value, []byte(" ")))
			}
		}
		at += len(line)
	}
	return start, end
}

// handleEvent reads one event, and passes it on or holds it back.
func (s *stream) handleEvent(ev []byte) {
	start, end := findData(ev)
	data := ev[start:end]
	if end == 0 || len(s.heldEnds) == 0 && !s.noShortcut && s.surelyUnchanged(data) {
		s.ready = append(s.ready, ev...)
		return
	}
	understood := s.parseChunk(data)
	if understood && !s.isNull(s.get(root, "error")) || string(bytes.TrimSpace(data)) == "[DONE]" {
		s.flush()
		s.ready = append(s.ready, ev...)
		return
	}
	if understood {
		s.readChunk()
	}
	if s.anyUndecided() || len(s.heldEnds) > 0 {
		s.holdBack(ev)
		return
	}
	s.writeEvent(ev, start, end, understood)
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
	if !s.anyUndecided() || len(s.held)+s.heldBytes() > s.limit {
		s.flush()
	}
}

// flush passes on all events that are held back. Calls that aren't decided yet
// pass unchanged.
func (s *stream) flush() {
	s.giveUp(-1)
	from := 0
	for _, to := range s.heldEnds {
		ev := s.held[from:to]
		start, end := findData(ev)
		s.writeEvent(ev, start, end, s.parseChunk(ev[start:end]))
		from = to
	}
	s.markFlushed()
	s.held, s.heldEnds = emptied(s.held), s.heldEnds[:0]
}

// writeEvent passes on an event, with its data, which is at [start, end), edited.
// understood says whether parseChunk has parsed the data.
func (s *stream) writeEvent(ev []byte, start, end int, understood bool) {
	s.edits.reset()
	if understood {
		s.editChunk()
	}
	if !s.edits.sortEdits(end - start) {
		s.ready = append(s.ready, ev...)
		return
	}
	s.ready = append(s.ready, ev[:start]...)
	s.ready = s.edits.appendEdited(s.ready, ev[start:end])
	s.ready = append(s.ready, ev[end:]...)
}
