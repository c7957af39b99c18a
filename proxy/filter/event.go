package filter

import (
	"bytes"
	"iter"
)

// eventScanner finds where events end. Lines end with LF, CR or CRLF, and an event
// ends with a line that is empty. It looks at each byte once.
type eventScanner struct {
	lineEmpty bool // nothing of the line has come yet
	afterCR   bool // the last byte was a CR: an LF would belong to it
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

// lineEnds finds CRs and LFs from left to right. It looks at each byte once for
// either, also in a text that has only one of them.
type lineEnds struct {
	text []byte
	lf   int // the next LF, or the end of text; behind at if it isn't known
}

// next returns the index of the first CR or LF from at on, the length of the
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

// line is a line of an event: from start to end, and with its end up to next.
type line struct{ start, end, next int }

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

// dataStart returns where the value of a data line starts, and whether it is one.
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

// eventData is the data of an event. The value of its first line of data stands
// at [start, end) of the event, and the line after it at next.
type eventData struct {
	json             []byte
	lineCount        int
	start, end, next int
}

// readData finds an event's data. That of many lines is put together in s.data.
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
