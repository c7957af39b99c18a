package filter

import (
	"bytes"
	"iter"
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

// document is a JSON text and its nodes in the order in which they stand. Node 0 is
// the root, so that 0 can mean "none" for everything below it.
//
// It is the whole of our JSON: an index into the text, nothing decoded. The
// rules look at the nodes and record edits, and what nobody edits is copied.
//
// Most of a text is inside its strings, and they are looked at as little as can
// be. parse finds the structure; valid is asked before an edit is made. Together
// they find all that is wrong with a JSON text but for escapes that are none,
// such as \q: those stay where they are, and reading them does no harm.
type document struct {
	src   []byte
	nodes []node
}

func (d *document) kind(n int) kind  { return d.nodes[n].kind }
func (d *document) start(n int) int  { return int(d.nodes[n].start) }
func (d *document) end(n int) int    { return int(d.nodes[n].end) }
func (d *document) next(n int) int   { return int(d.nodes[n].next) }
func (d *document) raw(n int) []byte { return d.src[d.nodes[n].start:d.nodes[n].end] }

// inner returns what stands between the quotes of a string, the brackets of an
// array or the braces of an object.
func (d *document) inner(n int) []byte { return d.src[d.nodes[n].start+1 : d.nodes[n].end-1] }

// members yields the key and the value of each member of an object.
func (d *document) members(obj int) iter.Seq2[int, int] {
	return func(yield func(k, v int) bool) {
		for k := obj + 1; k < d.next(obj); k = d.next(k + 1) {
			if !yield(k, k+1) {
				return
			}
		}
	}
}

// elements yields the values of an array.
func (d *document) elements(arr int) iter.Seq[int] {
	return func(yield func(v int) bool) {
		for v := arr + 1; v < d.next(arr); v = d.next(v) {
			if !yield(v) {
				return
			}
		}
	}
}

// stringValue returns a string's value. It allocates only if there are escapes in it.
func (d *document) stringValue(n int) []byte {
	s := d.inner(n)
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	return appendUnescaped(nil, s)
}

// equals reports whether n is a string of this value, which has no backslash in it.
func (d *document) equals(n int, s string) bool {
	if d.kind(n) != str {
		return false
	}
	raw := d.inner(n)
	if len(raw) <= len(s) { // an escape is longer than what it stands for
		return string(raw) == s
	}
	return bytes.IndexByte(raw, '\\') >= 0 && string(appendUnescaped(nil, raw)) == s
}

// sameString reports whether the strings a and b have the same value.
func (d *document) sameString(a, b int) bool {
	return string(d.inner(a)) == string(d.inner(b)) || string(d.stringValue(a)) == string(d.stringValue(b))
}

// fields finds members of an object by their keys: vals[i] becomes the value of
// keys[i], 0 if the object has no such key. If a key stands twice, one parser
// takes the first value and another the last: bit i of duplicates is then set.
func (d *document) fields(obj int, keys []string, vals []int) (duplicates uint) {
	clear(vals)
	if d.kind(obj) != object {
		return 0
	}
	for k, v := range d.members(obj) {
		for i, key := range keys {
			if !d.equals(k, key) {
				continue
			}
			if vals[i] != 0 {
				duplicates |= 1 << i
			}
			vals[i] = v
			break
		}
	}
	return duplicates
}

// find is fields for one key.
func (d *document) find(obj int, key string) (v int, unique bool) {
	unique = true
	if d.kind(obj) != object {
		return 0, unique
	}
	for k, member := range d.members(obj) {
		if d.equals(k, key) {
			unique = v == 0
			v = member
		}
	}
	return v, unique
}

// get is find for those who treat a doubtful member as none.
func (d *document) get(obj int, key string) int {
	v, unique := d.find(obj, key)
	if !unique {
		return 0
	}
	return v
}

// getKind is get for a member that is of no use unless its value is of kind k.
func (d *document) getKind(obj int, key string, k kind) int {
	if v := d.get(obj, key); v != 0 && d.kind(v) == k {
		return v
	}
	return 0
}

func (d *document) getString(obj int, key string) int { return d.getKind(obj, key, str) }
func (d *document) getArray(obj int, key string) int  { return d.getKind(obj, key, array) }
