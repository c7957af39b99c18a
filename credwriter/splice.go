package credwriter

import (
	"bytes"
	"slices"
)

// splice puts text in place of what stands between start and end.
type splice struct {
	start, end int
	text       string
}

// applySplices returns a text with the splices made, which must not overlap.
// Those at one place are made in the order given.
func applySplices(content []byte, splices []splice) []byte {
	splices = slices.Clone(splices)
	slices.SortStableFunc(splices, func(a, b splice) int { return a.start - b.start })
	out := bytes.NewBuffer([]byte{}) // or no text would be nil, which says that nothing is to be done
	at := 0
	for _, s := range splices {
		out.Write(content[at:s.start])
		out.WriteString(s.text)
		at = s.end
	}
	out.Write(content[at:])
	return out.Bytes()
}

// inSplice reports whether a place is within what one of the splices replaces.
func inSplice(splices []splice, end int) bool {
	return slices.ContainsFunc(splices, func(s splice) bool { return s.start < end && end <= s.end })
}
