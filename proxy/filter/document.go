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

// node is one JSON value in the text: where it starts and ends, and the index of
// the node that follows its last descendant. The elements of an array come right
// after it; so do an object's members, as key, value, key, value.
type node struct {
	start, end uint32
	next       uint32
	kind       kind
}

// document is an index of a JSON text: its nodes, in the order of the text.
// Nothing is decoded. Node 0 is the root, so for all other nodes 0 can mean
// "none". The rules read the nodes and record edits; the rest is copied.
//
// Most of a text is inside strings, so these are read as little as possible. parse
// checks the structure. stringsValid, which is called only before an edit is made,
// looks for control characters. Together they find every fault of a JSON text but
// one: an invalid escape such as \q. It stays in the text, and reading it does no
// harm.
type document struct {
	src   []byte
	nodes []node
}

func (d *document) kind(n int) kind  { return d.nodes[n].kind }
func (d *document) start(n int) int  { return int(d.nodes[n].start) }
func (d *document) end(n int) int    { return int(d.nodes[n].end) }
func (d *document) next(n int) int   { return int(d.nodes[n].next) }
func (d *document) raw(n int) []byte { return d.src[d.nodes[n].start:d.nodes[n].end] }

// inner returns what is between the quotes of a string, the brackets of an array or
// the braces of an object.
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

// stringValue returns a string's value. It allocates only if the string has escapes.
func (d *document) stringValue(n int) []byte {
	s := d.inner(n)
	if bytes.IndexByte(s, '\\') < 0 {
		return s
	}
	return appendUnescaped(nil, s)
}

// equals reports whether n is a string with the value s, which has no backslash.
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

// fields finds members of an object by their keys: vals[i] becomes the value of the
// key for which index returns i, 0 if the object has no such key. For other keys
// index returns -1. If a key occurs twice, one parser takes the first value and
// another the last: bit i of duplicates is then set.
func (d *document) fields(obj int, index func(key []byte) int, vals []int) (duplicates uint) {
	clear(vals)
	if d.kind(obj) != object {
		return 0
	}
	for k, v := range d.members(obj) {
		i := index(d.inner(k))
		if i < 0 && bytes.IndexByte(d.inner(k), '\\') >= 0 {
			i = index(d.stringValue(k))
		}
		if i < 0 {
			continue
		}
		if vals[i] != 0 {
			duplicates |= 1 << i
		}
		vals[i] = v
	}
	return duplicates
}

// find returns the value of an object's member, 0 if it has no such key. It isn't
// unique if the key occurs twice.
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

// get is find for callers who treat a key that occurs twice as none.
func (d *document) get(obj int, key string) int {
	v, unique := d.find(obj, key)
	if !unique {
		return 0
	}
	return v
}

// getKind is get for callers who treat a value of another kind as none.
func (d *document) getKind(obj int, key string, k kind) int {
	if v := d.get(obj, key); v != 0 && d.kind(v) == k {
		return v
	}
	return 0
}

func (d *document) getString(obj int, key string) int { return d.getKind(obj, key, str) }
func (d *document) getArray(obj int, key string) int  { return d.getKind(obj, key, array) }
