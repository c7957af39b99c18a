package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// edits are what is done to a text: places in it that get another text, and in
// words what is left alone.
type edits struct {
	splices []splice
	left    []string
}

// splice puts text in place of what stands between start and end.
type splice struct {
	start, end int
	text       string
}

// replace puts text in place of what stands between start and end. Places must
// not overlap; what goes to one place goes there in the order of the calls.
func (e *edits) replace(start, end int, text string) {
	e.splices = append(e.splices, splice{start, end, text})
}

// replaces reports whether what ends at end is within a place that gets another
// text.
func (e *edits) replaces(end int) bool {
	return slices.ContainsFunc(e.splices, func(s splice) bool { return s.start < end && end <= s.end })
}

func (e *edits) leave(format string, args ...any) {
	e.left = append(e.left, fmt.Sprintf(format, args...))
}

// leaveElsewhere says that one of our tokens stands where we don't write.
func (e *edits) leaveElsewhere(where string) {
	e.leave("%s holds one of patrol's tokens, in a place that patrol doesn't write", where)
}

// apply returns the text with all places replaced.
func (e *edits) apply(text []byte) []byte {
	slices.SortStableFunc(e.splices, func(a, b splice) int { return a.start - b.start })
	out := bytes.NewBuffer([]byte{}) // or no text would be nil, which says that nothing is to be done
	at := 0
	for _, s := range e.splices {
		out.Write(text[at:s.start])
		out.WriteString(s.text)
		at = s.end
	}
	out.Write(text[at:])
	return out.Bytes()
}

const bom = "\xef\xbb\xbf"

// checkPlainText refuses what is no text in ASCII or UTF-8.
func checkPlainText(text []byte) error {
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) || bytes.IndexByte(text, 0) >= 0 {
		return errors.New("it is no plain text: save it as UTF-8")
	}
	return nil
}

// eolAt returns the line end to use at a place: that of the line there, else
// the text's first.
func eolAt(text []byte, at int) string {
	for _, rest := range [][]byte{text[at:], text} {
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			if i > 0 && rest[i-1] == '\r' {
				return "\r\n"
			}
			return "\n"
		}
	}
	return "\n"
}
