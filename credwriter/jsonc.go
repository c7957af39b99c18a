package credwriter

import "bytes"

// plainJSON makes plain JSON of JSON with comments: blanks stand where comments and
// commas before a closing bracket stood, so that all else stays in its place.
func plainJSON(text []byte) []byte {
	out := bytes.Clone(text)
	comma := -1 // the place of a comma that nothing has followed yet
	for at := 0; at < len(out); {
		end := at + 1
		switch c := out[at]; {
		case c == '"':
			end = stringEnd(out, at)
			comma = -1
		case bytes.HasPrefix(out[at:], []byte("//")):
			end = blankUntil(out, at, "\n", 0)
		case bytes.HasPrefix(out[at:], []byte("/*")):
			end = blankUntil(out, at, "*/", len("*/"))
		case c == ',':
			comma = at
		case c == '}' || c == ']':
			if comma >= 0 {
				out[comma] = ' '
			}
			comma = -1
		case bytes.IndexByte([]byte(" \t\r\n"), c) < 0:
			comma = -1
		}
		at = end
	}
	return out
}

// stringEnd returns where the string ends that begins at a place.
func stringEnd(text []byte, at int) int {
	for i := at + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// blankUntil puts blanks in place of the comment that begins at a place and ends
// with mark, of which so many bytes are the comment's own. Line ends stay.
func blankUntil(text []byte, at int, mark string, own int) (end int) {
	end = len(text)
	if i := bytes.Index(text[at+len("//"):], []byte(mark)); i >= 0 {
		end = at + len("//") + i + own
	}
	for i := at; i < end; i++ {
		if text[i] != '\n' && text[i] != '\r' {
			text[i] = ' '
		}
	}
	return end
}
