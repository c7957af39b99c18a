package filter

import (
	"net/url"
	"slices"
	"strings"
)

// Gemini takes a part of JSON Schema only, and refuses a request whose tools
// use more of it: see the table in quirks.go. A schema that is cut down is
// written anew, without white space between its members; one that needs no
// change stays as it is.

// keyword says what stands under a key of a schema.
type keyword uint8

const (
	data       keyword = iota // nothing that concerns us, such as default or enum
	refused                   // what Gemini refuses
	bound                     // minimum or maximum, refused for integers
	reference                 // $ref
	subschema                 // a schema, or a list of them
	properties                // an object whose values are schemas
)

func keywordOf(key []byte) keyword {
	switch string(key) {
	case "$schema", "$id", "$comment", "$defs", "definitions",
		"additionalProperties", "patternProperties",
		"exclusiveMinimum", "exclusiveMaximum", "multipleOf",
		"minLength", "maxLength", "pattern",
		"minItems", "maxItems", "uniqueItems",
		"minProperties", "maxProperties":
		return refused
	case "minimum", "maximum":
		return bound
	case "$ref":
		return reference
	case "items", "prefixItems", "additionalItems", "unevaluatedItems", "contains",
		"allOf", "anyOf", "oneOf", "not", "if", "then", "else",
		"propertyNames", "unevaluatedProperties":
		return subschema
	case "properties", "dependentSchemas", "dependencies":
		return properties
	}
	return data
}

// cleanTools cuts the schemas of all tools down.
func (r *request) cleanTools(tools int) {
	for t := range r.elements(tools) {
		if r.kind(t) != object {
			continue
		}
		if fn := r.get(t, "function"); fn != 0 && !r.strict(t) {
			r.cleanSchema(fn, "parameters")
		}
		r.cleanSchema(t, "input_schema")
		for _, key := range []string{"functionDeclarations", "function_declarations"} {
			if list := r.get(t, key); list != 0 && r.kind(list) == array {
				for fn := range r.elements(list) {
					r.cleanSchema(fn, "parameters")
				}
			}
		}
	}
}

func (r *request) strict(tool int) bool {
	v := r.get(tool, "strict")
	return v != 0 && string(r.raw(v)) == "true"
}

// cleanSchema cuts down the schema under this key of a tool. In strict mode the
// model is held to the schema as it is, and Gemini has none.
func (r *request) cleanSchema(tool int, key string) {
	v := r.get(tool, key)
	if v == 0 || r.kind(v) != object || r.strict(tool) {
		return
	}
	s := &r.schema
	s.doc, s.root, s.work = &r.doc, v, maxSchemaWork
	s.active, s.chains, s.out = append(s.active[:0], v), s.chains[:0], s.out[:0]
	if !s.dirty(v) {
		return
	}
	if s.write(v); s.work > 0 {
		r.edits.begin(r.start(v), r.end(v))
		r.edits.text = append(r.edits.text, s.out...)
		r.edits.done()
	}
}

// Definitions that each use the next one twice become two to the power of their
// number. A schema that would cost more than this stays as it is.
const (
	maxSchemaWork = 1 << 19 // bytes written, and what takes as long
	maxChain      = 64      // definitions inside one another
)

// schema writes a schema as Gemini takes it.
type schema struct {
	*doc
	root   int   // what "#" refers to
	active []int // the schemas that are being written, outermost first
	chains []int // of those
	out    []byte
	work   int // what it may still cost
}

// dirty reports whether write would change anything.
func (s *schema) dirty(v int) bool {
	switch s.kind(v) {
	case array:
		for e := range s.elements(v) {
			if s.dirty(e) {
				return true
			}
		}
	case object:
		for k, m := range s.members(v) {
			switch keywordOf(s.text(k)) {
			case refused:
				return true
			case bound:
				if s.integer([]int{v}) {
					return true
				}
			case reference:
				if s.target(m) >= 0 {
					return true
				}
			case subschema:
				if s.dirty(m) {
					return true
				}
			case properties:
				if s.anyDirty(m) {
					return true
				}
			}
		}
	}
	return false
}

func (s *schema) anyDirty(v int) bool {
	if s.kind(v) != object {
		return false
	}
	for _, m := range s.members(v) {
		if s.dirty(m) {
			return true
		}
	}
	return false
}

// copy writes a value as it is.
func (s *schema) copy(v int) {
	s.work -= s.end(v) - s.start(v)
	s.out = append(s.out, s.raw(v)...)
}

// write writes a schema, or a list of schemas.
func (s *schema) write(v int) {
	if s.work--; s.work <= 0 {
		return
	}
	switch s.kind(v) {
	case array:
		s.out = append(s.out, '[')
		comma := false
		for e := range s.elements(v) {
			s.comma(&comma)
			s.write(e)
		}
		s.out = append(s.out, ']')
	case object:
		s.out = append(s.out, '{')
		s.writeMembers(v)
		s.out = append(s.out, '}')
	default:
		s.copy(v)
	}
}

func (s *schema) comma(before *bool) {
	if *before {
		s.out = append(s.out, ',')
	}
	*before = true
}

// writeMembers writes the members of a schema, and those of the definition that it
// refers to, and so on. What stands beside a $ref beats what it refers to.
func (s *schema) writeMembers(v int) {
	outer, before := len(s.active), len(s.chains)
	chain, recursive := s.chain(v)
	integer := s.integer(chain)
	comma := false
	for i, v := range chain {
		if i > 0 {
			s.active = append(s.active, v)
		}
		for k, m := range s.members(v) {
			if s.work--; s.work <= 0 {
				break
			}
			key := s.text(k)
			word := keywordOf(key)
			switch {
			case word == refused || word == bound && integer:
			case word == reference && s.target(m) >= 0:
			case s.has(chain[:i], key):
			default:
				s.comma(&comma)
				s.copy(k)
				s.out = append(s.out, ':')
				s.writeValue(word, m)
			}
		}
	}
	s.active, s.chains = s.active[:outer], s.chains[:before]
	if recursive && !s.has(chain, []byte("type")) {
		s.comma(&comma)
		s.out = append(s.out, `"type":"object"`...)
	}
}

// writeValue writes what stands under a keyword.
func (s *schema) writeValue(word keyword, v int) {
	switch {
	case word == subschema:
		s.write(v)
	case word == properties && s.kind(v) == object:
		s.out = append(s.out, '{')
		comma := false
		for k, m := range s.members(v) {
			s.comma(&comma)
			s.copy(k)
			s.out = append(s.out, ':')
			s.write(m)
		}
		s.out = append(s.out, '}')
	default:
		s.copy(v)
	}
}

// chain returns the schema v, the definition that it refers to, that which that
// one refers to, and so on. It ends before a definition that is being written
// already, and says so.
func (s *schema) chain(v int) (chain []int, recursive bool) {
	from := len(s.chains)
	for {
		s.chains = append(s.chains, v)
		chain = s.chains[from:]
		ref, sure := s.find(v, "$ref")
		if ref == 0 || !sure {
			return chain, false
		}
		if v = s.target(ref); v < 0 {
			return chain, false
		}
		if slices.Contains(s.active, v) || slices.Contains(chain, v) {
			return chain, true
		}
		if len(s.active)+len(chain) > maxChain {
			s.work = 0
			return chain, false
		}
	}
}

// integer reports whether the first type in the chain is integer, or a list
// with integer in it.
func (s *schema) integer(chain []int) bool {
	for _, v := range chain {
		typ := s.get(v, "type")
		if typ == 0 {
			continue
		}
		if s.kind(typ) == array {
			for e := range s.elements(typ) {
				if s.is(e, "integer") {
					return true
				}
			}
			return false
		}
		return s.is(typ, "integer")
	}
	return false
}

// has reports whether one of the schemas has this key.
func (s *schema) has(chain []int, key []byte) bool {
	for _, v := range chain {
		for k := range s.members(v) {
			if string(s.text(k)) == string(key) {
				return true
			}
		}
	}
	return false
}

// target returns the schema that a $ref refers to: the root, or something in
// its definitions. It is -1 if it isn't there, or is no object.
func (s *schema) target(ref int) int {
	s.work -= 64 // about what it costs, next to the copying of a byte
	if s.kind(ref) != str {
		return -1
	}
	pointer, ok := strings.CutPrefix(string(s.text(ref)), "#")
	if !ok {
		return -1
	}
	v := s.root
	if pointer == "" {
		return v
	}
	if plain, err := url.PathUnescape(pointer); err == nil {
		pointer = plain
	}
	if !strings.HasPrefix(pointer, "/$defs/") && !strings.HasPrefix(pointer, "/definitions/") {
		return -1
	}
	for token := range strings.SplitSeq(pointer[1:], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		var sure bool
		if v, sure = s.find(v, token); v == 0 || !sure {
			return -1
		}
	}
	if s.kind(v) != object {
		return -1
	}
	return v
}
