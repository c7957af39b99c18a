package filter

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

const (
	// maxDepth and maxNodes bound what a document costs. A larger one passes
	// unchanged. Agents nest some 20 levels deep; a body of 1 MB has about 20,000
	// nodes.
	maxDepth = 512
	maxNodes = 1 << 20

	// maxBody is the size, in bytes, above which a JSON body passes unread.
	maxBody = 64 << 20
)

// parse indexes src, which must not change while d is used. It reports whether the
// structure of src is that of one JSON value, and within the bounds.
func (d *document) parse(src []byte) bool {
	i := d.parsePrefix(src)
	if i < 0 {
		return false
	}
	_, end := d.nextToken(i)
	return end == len(src)
}

// parsePrefix is parse for a text that may go on after the value. It returns where
// the value ends, -1 if there is none.
func (d *document) parsePrefix(src []byte) int {
	d.src, d.nodes, d.exceeded = src, append(d.nodes[:0], node{next: root}), ""
	if len(src) > maxBody {
		d.exceeded = sizeBound
		return -1
	}
	return d.parseValue(0, 0)
}

// stringsValid reports whether no string has a control character in it. parse has
// found all other faults.
func (d *document) stringsValid() bool {
	if !hasControl(d.src) {
		return true
	}
	for i := range d.nodes {
		if d.kind(i) == str && hasControl(d.inner(i)) {
			return false
		}
	}
	return true
}

// parseValue reads the value that starts at i, or after white space there. It
// returns where the value ends, -1 if there is none. The functions below do the
// same for one kind of value.
func (d *document) parseValue(i, depth int) int {
	if depth > maxDepth {
		d.exceeded = depthBound
		return -1
	}
	if len(d.nodes) >= maxNodes {
		d.exceeded = valuesBound
		return -1
	}
	c, i := d.nextToken(i)
	switch c {
	case '"':
		return d.parseString(i)
	case '{':
		return d.parseObject(i, depth)
	case '[':
		return d.parseArray(i, depth)
	case 't':
		return d.parseWord(i, "true", boolean)
	case 'f':
		return d.parseWord(i, "false", boolean)
	case 'n':
		return d.parseWord(i, "null", null)
	}
	end := scanNumber(d.src, i)
	if end >= 0 {
		d.addNode(i, end, number)
	}
	return end
}

func (d *document) parseObject(i, depth int) int {
	at := len(d.nodes)
	d.addNode(i, 0, object)
	c, i := d.nextToken(i + 1)
	if c == '}' {
		return d.closeNode(at, i+1)
	}
	for {
		if c != '"' {
			return -1
		}
		if i = d.parseString(i); i < 0 {
			return -1
		}
		if c, i = d.nextToken(i); c != ':' {
			return -1
		}
		if i = d.parseValue(i+1, depth+1); i < 0 {
			return -1
		}
		if c, i = d.nextToken(i); c == '}' {
			return d.closeNode(at, i+1)
		}
		if c != ',' {
			return -1
		}
		c, i = d.nextToken(i + 1)
	}
}

func (d *document) parseArray(i, depth int) int {
	at := len(d.nodes)
	d.addNode(i, 0, array)
	if c, end := d.nextToken(i + 1); c == ']' {
		return d.closeNode(at, end+1)
	}
	for {
		if i = d.parseValue(i+1, depth+1); i < 0 {
			return -1
		}
		var c byte
		if c, i = d.nextToken(i); c == ']' {
			return d.closeNode(at, i+1)
		}
		if c != ',' {
			return -1
		}
	}
}

func (d *document) parseString(i int) int {
	end := endOfString(d.src, i)
	if end >= 0 {
		d.addNode(i, end, str)
	}
	return end
}

func (d *document) parseWord(i int, word string, k kind) int {
	end := i + len(word)
	if end > len(d.src) || string(d.src[i:end]) != word {
		return -1
	}
	d.addNode(i, end, k)
	return end
}

func (d *document) addNode(start, end int, k kind) {
	d.nodes = append(d.nodes, node{uint32(start), uint32(end), uint32(len(d.nodes) + 1), k})
}

func (d *document) closeNode(at, end int) int {
	d.nodes[at].end, d.nodes[at].next = uint32(end), uint32(len(d.nodes))
	return end
}

// nextToken returns the first byte from i on that isn't white space, and its index;
// at the end of the text, 0 and the length.
func (d *document) nextToken(i int) (c byte, at int) {
	for ; i < len(d.src); i++ {
		if c = d.src[i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c, i
		}
	}
	return 0, i
}

// endOfString returns the index after the closing quote of the string whose opening
// quote is at i, or -1. Nearly all of a body is in strings, so the filter's speed
// depends on this function. In short strings and in code the next quote is near,
// and searching 16 bytes at a time finds it soonest. After a few steps without one
// the string is likely prose, and bytes.IndexByte is faster.
func endOfString(src []byte, i int) int {
	const near = 4 // steps
	i++
	for steps := 0; ; {
		if steps == near || i+16 > len(src) {
			n := bytes.IndexByte(src[i:], '"')
			if n < 0 {
				return -1
			}
			i += n
		} else {
			s := src[i : i+16]
			a := zeroBytes(binary.LittleEndian.Uint64(s) ^ '"'*ones)
			b := zeroBytes(binary.LittleEndian.Uint64(s[8:]) ^ '"'*ones)
			if a|b == 0 {
				i += 16
				steps++
				continue
			}
			if a != 0 {
				i += bits.TrailingZeros64(a) / 8
			} else {
				i += 8 + bits.TrailingZeros64(b)/8
			}
		}
		if src[i-1] != '\\' || !isEscaped(src, i) {
			return i + 1
		}
		i++
		steps = 0
	}
}

// isEscaped reports whether an odd number of backslashes stands before i.
func isEscaped(src []byte, i int) bool {
	from := i
	for src[from-1] == '\\' {
		from--
	}
	return (i-from)%2 == 1
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// zeroBytes finds the first byte of x, from the lowest, that is zero: the lowest bit
// that is set in the result is the highest bit of that byte. No bit is set if there
// is none. The bits above can be wrong because of the subtraction's borrow.
func zeroBytes(x uint64) uint64 { return (x - ones) &^ x & highs }

// hasControl reports whether s has a control character in it.
func hasControl(s []byte) bool {
	all := uint64(highs)
	for ; len(s) >= 64; s = s[64:] {
		all &= noControlBits(s) & noControlBits(s[8:]) & noControlBits(s[16:]) & noControlBits(s[24:]) &
			noControlBits(s[32:]) & noControlBits(s[40:]) & noControlBits(s[48:]) & noControlBits(s[56:])
	}
	for _, c := range s {
		if c < ' ' {
			return true
		}
	}
	return all != highs
}

// noControlBits returns eight bytes whose high bits are all set if and only if none
// of the first eight bytes of s is less than a space.
func noControlBits(s []byte) uint64 {
	x := binary.LittleEndian.Uint64(s)
	return ' '*ones - 1 - x | x // the first three terms are ^(x - ' '*ones)
}

// scanNumber returns where the number at i ends, -1 if there is none.
func scanNumber(src []byte, i int) int {
	if i < len(src) && src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if i = skipDigits(src, i); i < 0 {
		return -1
	}
	if i < len(src) && src[i] == '.' {
		if i = skipDigits(src, i+1); i < 0 {
			return -1
		}
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		return skipDigits(src, i)
	}
	return i
}

// skipDigits returns where the digits from i on end, -1 if there are none.
func skipDigits(src []byte, i int) int {
	from := i
	for i < len(src) && src[i]-'0' < 10 {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
