package filter

import (
	"bytes"
	"iter"
)

// eventScanner finds where the events of a stream end. Lines end with LF, CR or
// CRLF, and an event ends with an empty line. Each byte is read once.
type eventScanner struct {
	lineEmpty bool // no byte of the line has come yet
	afterCR   bool // the last byte was a CR: an LF after it belongs to it
}

// scan looks at b, which follows what it saw before. It returns how many bytes of
// b belong to the event, and whether the event is complete. If the event ends
// with a CR, an LF that would belong to that CR may still follow: see isPairedLF.
func (s *eventScanner) scan(b []byte) (n int, complete bool) {
	ends := lineEnds{text: b}
	for n < len(b) {
		if s.isPairedLF(b[n]) {
			s.afterCR = false
			n++
			continue
		}
		end := ends.next(n)
		if end == len(b) {
			s.lineEmpty, s.afterCR = false, false
			return end, false
		}
		complete = s.lineEmpty && end == n
		n = end + 1
		s.afterCR = b[end] == '\r'
		s.lineEmpty = true
		if complete {
			return n, true
		}
	}
	return n, false
}

// isPairedLF reports whether c, the next byte, is the LF of a CRLF whose CR was
// the last byte.
func (s *eventScanner) isPairedLF(c byte) bool { return s.afterCR && c == '\n' }

// lineEnds finds CRs and LFs from left to right. It searches each byte once for
// either of them, even in a text that has only one of the two.
type lineEnds struct {
	text []byte
	lf   int // where the next LF is, or the end of text; out of date if it is before the search's start
}

// next returns the index of the first CR or LF from at on, or the length of the
// text if there is none.
func (l *lineEnds) next(at int) int {
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

// line is a line of an event: its text is [start, end), and next is where the next
// line starts.
type line struct{ start, end, next int }

// lines yields the lines of an event.
func lines(ev []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		ends := lineEnds{text: ev}
		for at := 0; at < len(ev); {
			end := ends.next(at)
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

// dataStart returns where the value of a data line starts. It isn't ok if l is
// another line.
func dataStart(l []byte) (start int, ok bool) {
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

// eventData is the data of an event, and where it is: the value of its first
// data line is at [start, end) of the event, and the line after it starts at next.
type eventData struct {
	json             []byte
	lineCount        int
	start, end, next int
}

// readData returns an event's data. The values of several data lines are joined in
// s.dataBuf.
func (s *stream) readData(ev []byte) eventData {
	var d eventData
	for l := range lines(ev) {
		text := ev[l.start:l.end]
		if l.start == 0 && bytes.HasPrefix(text, []byte("\ufeff")) {
			l.start += len("\ufeff")
			text = ev[l.start:l.end]
		}
		start, ok := dataStart(text)
		if !ok {
			continue
		}
		if d.lineCount++; d.lineCount == 1 {
			d.json = text[start:]
			d.start, d.end, d.next = l.start+start, l.end, l.next
			continue
		}
		if d.lineCount == 2 {
			s.dataBuf = append(emptied(s.dataBuf), d.json...)
		}
		s.dataBuf = append(append(s.dataBuf, '\n'), text[start:]...)
		d.json = s.dataBuf
	}
	return d
}
