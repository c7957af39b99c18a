package filter

import (
	"bytes"
	"iter"
)

// scanner finds where events end. Lines end with LF, CR or CRLF, and an event
// ends with a line that is empty. It looks at each byte once.
type scanner struct {
	empty bool // nothing of the line has come yet
	cr    bool // the last byte was a CR: an LF would belong to it
}

// scan looks at b, which follows what it saw before, and returns how much of it
// belongs to the event, and whether that is all of the event. An LF that would
// belong to the CR at its end isn't waited for: see rest.
func (s *scanner) scan(b []byte) (n int, complete bool) {
	ends := lineEnds{text: b}
	for n < len(b) {
		if s.rest(b[n]) {
			n++
			continue
		}
		end := ends.after(n)
		if end == len(b) {
			s.empty = false
			return end, false
		}
		complete = s.empty && end == n
		n = end + 1
		s.cr = b[end] == '\r'
		s.empty = true
		if complete {
			return n, true
		}
	}
	return n, false
}

// rest reports whether c, the next byte, is the LF of a CRLF whose CR has been
// seen.
func (s *scanner) rest(c byte) bool {
	lf := s.cr && c == '\n'
	s.cr = false
	return lf
}

// lineEnds finds CRs and LFs from left to right. It looks at each byte once for
// either, also in a text that has only one of them.
type lineEnds struct {
	text []byte
	lf   int // the next LF, or the end of text; behind at if it isn't known
}

// after returns the index of the first CR or LF from at on, the length of the
// text if there is none.
func (l *lineEnds) after(at int) int {
	if l.lf < at || l.lf == 0 {
		l.lf = len(l.text)
		if i := bytes.IndexByte(l.text[at:], '\n'); i >= 0 {
			l.lf = at + i
		}
	}
	if i := bytes.IndexByte(l.text[at:l.lf], '\r'); i >= 0 {
		return at + i
	}
	return l.lf
}

// line is a line of an event: from start to end, and with its end up to next.
type line struct{ start, end, next int }

func lines(ev []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		ends := lineEnds{text: ev}
		for at := 0; at < len(ev); {
			end := ends.after(at)
			l := line{at, end, min(end+1, len(ev))}
			if end < len(ev) && ev[end] == '\r' && l.next < len(ev) && ev[l.next] == '\n' {
				l.next++
			}
			if !yield(l) {
				return
			}
			at = l.next
		}
	}
}

// dataOf returns where the value of a data line starts, and whether it is one.
func dataOf(l []byte) (start int, ok bool) {
	switch {
	case !bytes.HasPrefix(l, []byte("data")):
		return 0, false
	case len(l) == len("data"):
		return len(l), true
	case l[len("data")] != ':':
		return 0, false
	case len(l) > len("data:") && l[len("data:")] == ' ':
		return len("data: "), true
	}
	return len("data:"), true
}

// payload is the data of an event. The value of its first line of data stands
// at [start, end) of the event, and the line after it at next.
type payload struct {
	json             []byte
	lines            int
	start, end, next int
}

// payload finds an event's data. That of many lines is put together in s.data.
func (s *stream) payload(ev []byte) payload {
	var d payload
	for l := range lines(ev) {
		text := ev[l.start:l.end]
		if l.start == 0 && bytes.HasPrefix(text, []byte("\ufeff")) {
			l.start += len("\ufeff")
			text = ev[l.start:l.end]
		}
		start, ok := dataOf(text)
		if !ok {
			continue
		}
		if d.lines++; d.lines == 1 {
			d.json = text[start:]
			d.start, d.end, d.next = l.start+start, l.end, l.next
			continue
		}
		if d.lines == 2 {
			s.data = append(keep(s.data), d.json...)
		}
		s.data = append(append(s.data, '\n'), text[start:]...)
		d.json = s.data
	}
	return d
}
