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
	readSize   = 4 << 10
	keepBuffer = 64 << 10
)

// stream filters a stream of server-sent events as it is read.
//
// It cuts what it reads into events: up to and with the blank line that ends
// each. An event leaves in the Read in which that line's end came, unless it is
// held back (see toolcall.go). One without data, such as a comment that keeps
// the connection alive, is never held back.
type stream struct {
	calls
	src  io.Reader // decoded
	body io.Closer
	err  error // how the source ended

	max  int  // maxEvent, but for tests
	slow bool // for tests: all events are parsed

	in     []byte // what was read of events that aren't complete
	seen   int    // how much of it the scanner has seen
	lines  scanner
	skip   bool // the event is too large: the rest of it passes
	inHeld bool // the last event is the last that is held back

	wait []byte // the events that are held back
	ends []int  // where each of them ends
	out  []byte // what may leave
	left int    // how much of it has left
	data []byte // the data of an event with many data lines
}

func newStream(src io.Reader, body io.Closer, tools toolNames) *stream {
	s := &stream{src: src, body: body, max: maxEvent, lines: scanner{empty: true}}
	s.tools = tools
	return s
}

// Read blocks until some of an event may leave.
func (s *stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for s.left == len(s.out) {
		s.out, s.left = keep(s.out), 0
		if s.err != nil {
			return 0, s.err
		}
		s.fill(p)
	}
	n := copy(p, s.out[s.left:])
	s.left += n
	return n, nil
}

// Close closes the source's body.
func (s *stream) Close() error { return s.body.Close() }

// keep empties a buffer, and lets go of it if it is a large one.
func keep(b []byte) []byte {
	if cap(b) > keepBuffer {
		return nil
	}
	return b[:0]
}

// fill reads once, and deals with the events that are complete. It reads into
// p, its caller's: a buffer of the stream's own would lie there as long as it
// waits, and most events are far smaller.
func (s *stream) fill(p []byte) {
	n, err := s.src.Read(p[:min(len(p), readSize)])
	s.in = append(s.in, p[:n]...)
	s.cut()
	if err != nil {
		s.end(err)
	}
}

// cut takes the complete events off s.in.
func (s *stream) cut() {
	from := 0
	for s.seen < len(s.in) {
		if s.seen == from && !s.skip && s.lines.rest(s.in[s.seen]) {
			s.lineFeed()
			s.seen++
			from = s.seen
			continue
		}
		n, complete := s.lines.scan(s.in[s.seen:])
		s.seen += n
		ev := s.in[from:s.seen]
		switch {
		case s.skip:
			s.out = append(s.out, ev...)
			s.skip = !complete
		case len(ev) > s.max:
			s.flush()
			s.out = append(s.out, ev...)
			s.skip = !complete
		case complete:
			s.event(ev)
		default:
			continue
		}
		from = s.seen
	}
	if from == len(s.in) {
		s.in = keep(s.in)
	} else if from > 0 {
		s.in = append(s.in[:0], s.in[from:]...)
	}
	s.seen -= from
}

// lineFeed passes on a line feed whose carriage return ended an event.
func (s *stream) lineFeed() {
	if s.inHeld {
		s.wait = append(s.wait, '\n')
		s.ends[len(s.ends)-1]++
	} else {
		s.out = append(s.out, '\n')
	}
}

// end deals with the end of the source. What it leaves of an event without its
// last line is no event for most clients, but passes, and last.
func (s *stream) end(err error) {
	s.err = err
	switch {
	case s.skip:
		// The rest of the event has left already.
	case s.payload(s.in).lines > 0:
		s.event(s.in)
		s.flush()
	default:
		s.flush()
		s.out = append(s.out, s.in...)
	}
	s.in = nil
}

// event deals with one event.
func (s *stream) event(ev []byte) {
	s.inHeld = false
	d := s.payload(ev)
	if d.lines == 0 || len(s.ends) == 0 && !s.slow && s.plainText(d.json) {
		s.out = append(s.out, ev...)
		return
	}
	known := s.load(d.json)
	if known && s.failed() || string(bytes.TrimSpace(d.json)) == "[DONE]" {
		s.flush()
		s.out = append(s.out, ev...)
		return
	}
	if known && s.clash() {
		mixed := s.mixed
		s.flush()
		d = s.payload(ev)
		s.load(d.json)
		s.mixed = mixed
	}
	if known {
		s.read()
	}
	if s.pending() || len(s.ends) > 0 {
		s.hold(ev)
		return
	}
	s.release()
	s.write(ev, d, known)
	s.released()
	s.mixed = false
}

// plainText reports whether a chunk surely needs no look, which most don't: they
// carry a piece of text. A tool call, and a content of parts, stand in an array
// inside that of the choices.
func (s *stream) plainText(json []byte) bool {
	return len(s.called) == 0 && bytes.Count(json, []byte("[")) < 2
}

// hold puts an event behind those that are held back. If it was the last that
// they waited for, or they have become too many, all leave.
func (s *stream) hold(ev []byte) {
	s.wait = append(s.wait, ev...)
	s.ends = append(s.ends, len(s.wait))
	s.inHeld = true
	if !s.pending() || len(s.wait)+s.held() > s.max {
		s.flush()
	}
}

// flush lets all leave that is held back. Calls that aren't settled yet leave as
// they came.
func (s *stream) flush() {
	s.settle(-1)
	s.release()
	s.mixed = false
	from := 0
	for _, end := range s.ends {
		ev := s.wait[from:end]
		d := s.payload(ev)
		s.write(ev, d, s.load(d.json))
		from = end
	}
	s.released()
	s.wait, s.ends, s.inHeld = keep(s.wait), s.ends[:0], false
}

// write lets an event leave, with what is to be changed in its data. known says
// whether the data is loaded.
func (s *stream) write(ev []byte, d payload, known bool) {
	s.edits.reset()
	if known {
		s.edit()
	}
	if len(s.edits.list) == 0 || !s.edits.sort(len(d.json)) {
		s.out = append(s.out, ev...)
		return
	}
	s.out = append(s.out, ev[:d.start]...)
	from := len(s.out)
	s.out = s.edits.appendTo(s.out, d.json)
	if d.lines == 1 {
		s.out = append(s.out, ev[d.end:]...)
		return
	}
	// The lines of the data become one: a line feed can only stand between
	// JSON's tokens, where a space does as well.
	for i, c := range s.out[from:] {
		if c == '\n' {
			s.out[from+i] = ' '
		}
	}
	s.out = append(s.out, ev[d.end:d.next]...)
	for l := range lines(ev) {
		if _, isData := dataOf(ev[l.start:l.end]); !isData && l.start >= d.next {
			s.out = append(s.out, ev[l.start:l.next]...)
		}
	}
}
