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
	for n < len(b) {
		if s.rest(b[n]) {
			n++
			continue
		}
		end := endOfLine(b[n:])
		if end < 0 {
			s.empty = false
			return len(b), false
		}
		n += end + 1
		s.cr = b[n-1] == '\r'
		complete = s.empty && end == 0
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

// endOfLine returns the index of the first CR or LF, -1 if there is none.
func endOfLine(b []byte) int {
	lf := bytes.IndexByte(b, '\n')
	if lf >= 0 {
		b = b[:lf]
	}
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		return cr
	}
	return lf
}

// line is a line of an event: from start to end, and with its end up to next.
type line struct{ start, end, next int }

func lines(ev []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		for at := 0; at < len(ev); {
			l := line{start: at, end: len(ev), next: len(ev)}
			if end := endOfLine(ev[at:]); end >= 0 {
				l.end = at + end
				l.next = l.end + 1
				if ev[l.end] == '\r' && l.next < len(ev) && ev[l.next] == '\n' {
					l.next++
				}
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
