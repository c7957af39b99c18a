package filter

import (
	"bytes"
	"encoding/binary"
	"iter"
)

const (
	// maxDepth and maxNodes bound what a document costs. Beyond them it isn't
	// understood and passes untouched. Agents nest some 20 levels deep; a body
	// of 1 MB has about 20,000 nodes.
	maxDepth = 512
	maxNodes = 1 << 20

	// maxBody is the size, in bytes, over which a JSON body isn't looked at.
	maxBody = 64 << 20
)

type kind uint8

const (
	null kind = iota
	boolean
	number
	str
	array
	object
)

// node is one JSON value in the text: where it starts and ends, and the index
// of the node after its whole subtree. The children of an array follow it;
// those of an object too, as key, value, key, value.
type node struct {
	start, end uint32
	next       uint32
	kind       kind
}

// doc is a JSON text and its nodes in the order in which they stand. Node 0 is
// the root, so that 0 can mean "none" for everything below it.
//
// It is the whole of our JSON: an index into the text, nothing decoded. The
// rules look at the nodes and record edits, and what nobody edits is copied.
//
// Most of a text is inside its strings, and they are looked at as little as can
// be. parse finds the structure; valid is asked before an edit is made. Together
// they find all that is wrong with a JSON text but for escapes that are none,
// such as \q: those stay where they are, and reading them does no harm.
type doc struct {
	src   []byte
	nodes []node
}

// parse reads src, which must not change while d is used. It reports whether
// src is one JSON value, as far as its structure goes, and within the bounds.
func (d *doc) parse(src []byte) bool {
	d.src, d.nodes = src, d.nodes[:0]
	if len(src) > maxBody {
		return false
	}
	i := d.parseValue(skipSpace(src, 0), 0)
	return i >= 0 && skipSpace(src, i) == len(src)
}

// valid reports whether the strings are free of control characters.
func (d *doc) valid() bool {
	if !controls(d.src) {
		return true
	}
	for i := range d.nodes {
		if d.kind(i) == str && controls(d.inner(i)) {
			return false
		}
	}
	return true
}

// parseValue reads the value at i and returns where it ends, or -1. So do the
// functions below.
func (d *doc) parseValue(i, depth int) int {
	if i >= len(d.src) || depth > maxDepth || len(d.nodes) >= maxNodes {
		return -1
	}
	switch c := d.src[i]; c {
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
	default:
		end := scanNumber(d.src, i)
		if end >= 0 {
			d.add(i, end, number)
		}
		return end
	}
}

func (d *doc) parseObject(i, depth int) int {
	at := d.opened(i, object)
	i = skipSpace(d.src, i+1)
	if i < len(d.src) && d.src[i] == '}' {
		return d.closed(at, i+1)
	}
	for {
		if i >= len(d.src) || d.src[i] != '"' {
			return -1
		}
		if i = d.parseString(i); i < 0 {
			return -1
		}
		i = skipSpace(d.src, i)
		if i >= len(d.src) || d.src[i] != ':' {
			return -1
		}
		if i = d.parseValue(skipSpace(d.src, i+1), depth+1); i < 0 {
			return -1
		}
		i = skipSpace(d.src, i)
		if i >= len(d.src) {
			return -1
		}
		switch d.src[i] {
		case ',':
			i = skipSpace(d.src, i+1)
		case '}':
			return d.closed(at, i+1)
		default:
			return -1
		}
	}
}

func (d *doc) parseArray(i, depth int) int {
	at := d.opened(i, array)
	i = skipSpace(d.src, i+1)
	if i < len(d.src) && d.src[i] == ']' {
		return d.closed(at, i+1)
	}
	for {
		if i = d.parseValue(i, depth+1); i < 0 {
			return -1
		}
		i = skipSpace(d.src, i)
		if i >= len(d.src) {
			return -1
		}
		switch d.src[i] {
		case ',':
			i = skipSpace(d.src, i+1)
		case ']':
			return d.closed(at, i+1)
		default:
			return -1
		}
	}
}

func (d *doc) parseString(i int) int {
	end := endOfString(d.src, i)
	if end >= 0 {
		d.add(i, end, str)
	}
	return end
}

func (d *doc) parseWord(i int, word string, k kind) int {
	end := i + len(word)
	if end > len(d.src) || string(d.src[i:end]) != word {
		return -1
	}
	d.add(i, end, k)
	return end
}

func (d *doc) add(start, end int, k kind) {
	d.nodes = append(d.nodes, node{uint32(start), uint32(end), uint32(len(d.nodes) + 1), k})
}

func (d *doc) opened(start int, k kind) int {
	d.nodes = append(d.nodes, node{start: uint32(start), kind: k})
	return len(d.nodes) - 1
}

func (d *doc) closed(at, end int) int {
	d.nodes[at].end, d.nodes[at].next = uint32(end), uint32(len(d.nodes))
	return end
}

func (d *doc) kind(n int) kind  { return d.nodes[n].kind }
func (d *doc) start(n int) int  { return int(d.nodes[n].start) }
func (d *doc) end(n int) int    { return int(d.nodes[n].end) }
func (d *doc) next(n int) int   { return int(d.nodes[n].next) }
func (d *doc) raw(n int) []byte { return d.src[d.nodes[n].start:d.nodes[n].end] }

// inner returns what stands between the quotes of a string, the brackets of an
// array or the braces of an object.
func (d *doc) inner(n int) []byte { return d.src[d.nodes[n].start+1 : d.nodes[n].end-1] }

// members yields the key and the value of each member of an object.
func (d *doc) members(obj int) iter.Seq2[int, int] {
	return func(yield func(k, v int) bool) {
		for k := obj + 1; k < d.next(obj); k = d.next(k + 1) {
			if !yield(k, k+1) {
				return
			}
		}
	}
}

// elements yields the values of an array.
func (d *doc) elements(arr int) iter.Seq[int] {
	return func(yield func(v int) bool) {
		for v := arr + 1; v < d.next(arr); v = d.next(v) {
			if !yield(v) {
				return
			}
		}
	}
}

// text returns a string's value. It allocates only if there are escapes in it.
func (d *doc) text(n int) []byte {
	s := d.inner(n)
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	return appendUnescaped(nil, s)
}

// is reports whether n is a string of this value, which has no backslash in it.
func (d *doc) is(n int, s string) bool {
	if d.kind(n) != str {
		return false
	}
	raw := d.inner(n)
	if len(raw) <= len(s) { // an escape is longer than what it stands for
		return string(raw) == s
	}
	return bytes.IndexByte(raw, '\\') >= 0 && string(appendUnescaped(nil, raw)) == s
}

// same reports whether the strings a and b have the same value.
func (d *doc) same(a, b int) bool {
	return string(d.text(a)) == string(d.text(b))
}

// fields finds members of an object by their keys: vals[i] becomes the value of
// keys[i], 0 if there is none. A key that stands twice means one thing to one
// parser and another to the next: bit i of twice is set then.
func (d *doc) fields(obj int, keys []string, vals []int) (twice uint) {
	clear(vals)
	if d.kind(obj) != object {
		return 0
	}
	for k, v := range d.members(obj) {
		for i, key := range keys {
			if d.is(k, key) {
				if vals[i] != 0 {
					twice |= 1 << i
				}
				vals[i] = v
				break
			}
		}
	}
	return twice
}

// find is fields for one key.
func (d *doc) find(obj int, key string) (v int, sure bool) {
	var vals [1]int
	twice := d.fields(obj, []string{key}, vals[:])
	return vals[0], twice == 0
}

// get is find for those who treat a doubtful member as none.
func (d *doc) get(obj int, key string) int {
	v, sure := d.find(obj, key)
	if !sure {
		return 0
	}
	return v
}

// getString is get for a member that is of no use unless it is a string.
func (d *doc) getString(obj int, key string) int {
	if v := d.get(obj, key); v != 0 && d.kind(v) == str {
		return v
	}
	return 0
}

func skipSpace(src []byte, i int) int {
	for i < len(src) && (src[i] == ' ' || src[i] == '\n' || src[i] == '\t' || src[i] == '\r') {
		i++
	}
	return i
}

// endOfString returns where the string ends whose opening quote is at i, after
// the closing quote, or -1. Nearly all of a body is in strings, so the speed of
// the filter is that of bytes.IndexByte.
func endOfString(src []byte, i int) int {
	for {
		i++
		n := bytes.IndexByte(src[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		from := i
		for src[from-1] == '\\' {
			from--
		}
		if (i-from)%2 == 0 {
			return i + 1
		}
	}
}

// controls reports whether there is a control character in s.
func controls(s []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x80 * ones
	)
	// Eight bytes at a time. The subtraction sets the high bit of those less
	// than a space, and of none if there is no such byte.
	var found uint64
	for ; len(s) >= 8; s = s[8:] {
		x := binary.LittleEndian.Uint64(s)
		found |= (x - ' '*ones) &^ x
	}
	for _, c := range s {
		if c < ' ' {
			return true
		}
	}
	return found&highs != 0
}

// escapeLen returns the length of the escape that s starts with, 0 if it isn't a
// valid one.
func escapeLen(s []byte) int {
	if len(s) < 2 {
		return 0
	}
	switch s[1] {
	case 'n', '"', 't', '\\', '/', 'b', 'f', 'r':
		return 2
	case 'u':
		if _, ok := hex4(s[2:]); ok {
			return 6
		}
	}
	return 0
}

func scanNumber(src []byte, i int) int {
	if i < len(src) && src[i] == '-' {
		i++
	}
	if i < len(src) && src[i] == '0' {
		i++
	} else if i = digits(src, i); i < 0 {
		return -1
	}
	if i < len(src) && src[i] == '.' {
		if i = digits(src, i+1); i < 0 {
			return -1
		}
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		return digits(src, i)
	}
	return i
}

// digits returns where the digits from i on end, -1 if there is none.
func digits(src []byte, i int) int {
	from := i
	for i < len(src) && src[i]-'0' < 10 {
		i++
	}
	if i == from {
		return -1
	}
	return i
}
