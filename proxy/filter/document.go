package filter

import (
	"bytes"
	"iter"
)

type kind uint8

const (
	none kind = iota // there is no such value
	null
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
// Nothing is decoded. The rules read the nodes and record edits; the rest is copied.
//
// Node 0 is no value: what a function returns that finds none. It has no kind, no
// text and nothing in it, so that only few callers need to ask for it.
//
// Most of a text is inside strings, so these are read as little as possible. parse
// checks the structure. stringsValid, which is called only before an edit is made,
// looks for control characters. Together they find every fault of a JSON text but
// one: an invalid escape such as \q. It stays in the text, and reading it does no
// harm.
type document struct {
	src      []byte
	nodes    []node
	exceeded string // the bound that the text exceeds, "" if it is within all of them
}

// root is the node of the whole text.
const root = 1

func (d *document) kind(n int) kind  { return d.nodes[n].kind }
func (d *document) start(n int) int  { return int(d.nodes[n].start) }
func (d *document) end(n int) int    { return int(d.nodes[n].end) }
func (d *document) next(n int) int   { return int(d.nodes[n].next) }
func (d *document) raw(n int) []byte { return d.src[d.nodes[n].start:d.nodes[n].end] }

// isNull reports whether n is null, or no value.
func (d *document) isNull(n int) bool { return d.nodes[n].kind <= null }

// isEmpty reports whether n has nothing in it.
func (d *document) isEmpty(n int) bool { return d.next(n) == n+1 }

// inner returns what is between the quotes of a string, the brackets of an array or
// the braces of an object.
func (d *document) inner(n int) []byte { return d.src[d.nodes[n].start+1 : d.nodes[n].end-1] }

// members yields the key and the value of each member of an object, and nothing for
// another value.
func (d *document) members(obj int) iter.Seq2[int, int] {
	return func(yield func(k, v int) bool) {
		if d.kind(obj) != object {
			return
		}
		for k := obj + 1; k < d.next(obj); k = d.next(k + 1) {
			if !yield(k, k+1) {
				return
			}
		}
	}
}

// elements yields the values of an array, and nothing for another value.
func (d *document) elements(arr int) iter.Seq[int] {
	return func(yield func(v int) bool) {
		if d.kind(arr) != array {
			return
		}
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
	return len(raw) <= longestEscape*len(s) && bytes.IndexByte(raw, '\\') >= 0 && string(appendUnescaped(nil, raw)) == s
}

// fields finds members of an object by their keys: vals[i] becomes the value of the
// key for which index returns i, 0 if the object has no such key. For other keys
// index returns -1. If a key occurs twice, one parser takes the first value and
// another the last: bit i of duplicates is then set.
func (d *document) fields(obj int, index func(key []byte) int, vals []int) (duplicates uint) {
	clear(vals)
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
	v := d.get(obj, key)
	if d.kind(v) != k {
		return 0
	}
	return v
}

func (d *document) getString(obj int, key string) int { return d.getKind(obj, key, str) }
func (d *document) getArray(obj int, key string) int  { return d.getKind(obj, key, array) }
