package filter

import (
	"net/url"
	"slices"
	"strings"
)

// Gemini knows only a part of JSON Schema, and refuses a request whose tools use
// more of it: see the table in quirks.go. The schema of such a tool is written anew,
// without what Gemini refuses and without white space between its members. A schema
// that needs no change stays as it is.

// keyword is a kind of key of a schema.
type keyword uint8

const (
	otherKeyword      keyword = iota // no rule needs its value, as with default or enum
	refusedKeyword                   // Gemini refuses it
	boundKeyword                     // minimum or maximum: Gemini refuses it for integers
	refKeyword                       // $ref
	schemaKeyword                    // its value is a schema, or a list of schemas
	propertiesKeyword                // its value is an object whose values are schemas
)

func keywordOf(key []byte) keyword {
	switch string(key) {
	case "$schema", "$id", "$comment", "$defs", "definitions",
		"additionalProperties", "patternProperties",
		"exclusiveMinimum", "exclusiveMaximum", "multipleOf",
		"minLength", "maxLength", "pattern",
		"minItems", "maxItems", "uniqueItems",
		"minProperties", "maxProperties":
		return refusedKeyword
	case "minimum", "maximum":
		return boundKeyword
	case "$ref":
		return refKeyword
	case "items", "prefixItems", "additionalItems", "unevaluatedItems", "contains",
		"allOf", "anyOf", "oneOf", "not", "if", "then", "else",
		"propertyNames", "unevaluatedProperties":
		return schemaKeyword
	case "properties", "dependentSchemas", "dependencies":
		return propertiesKeyword
	}
	return otherKeyword
}

// cleanTools removes what Gemini refuses from the schemas of all tools.
func (r *request) cleanTools(tools int) {
	for t := range r.elements(tools) {
		if !r.isStrict(t) {
			r.cleanSchema(r.get(t, "function"), "parameters")
		}
		r.cleanSchema(t, "input_schema")
		for _, key := range []string{"functionDeclarations", "function_declarations"} {
			for fn := range r.elements(r.get(t, key)) {
				r.cleanSchema(fn, "parameters")
			}
		}
	}
}

func (r *request) isStrict(tool int) bool { return string(r.raw(r.get(tool, "strict"))) == "true" }

// cleanSchema removes what Gemini refuses from the schema under this key of a tool.
// A strict tool is left alone: its caller relies on the whole schema, and Gemini has
// no strict mode.
func (r *request) cleanSchema(tool int, key string) {
	v := r.getKind(tool, key, object)
	if v == 0 || r.isStrict(tool) {
		return
	}
	s := &r.schemaWriter
	s.document, s.root, s.changed = &r.document, v, false
	s.active, s.chains, s.out = append(s.active[:0], v), s.chains[:0], s.out[:0]
	s.writeSchema(v)
	if s.changed && s.exceeded == "" {
		r.edits.begin(r.start(v), r.end(v))
		r.edits.text = append(r.edits.text, s.out...)
		r.edits.end()
	}
}

// maxRefDepth is how many definitions may be inside one another.
const maxRefDepth = 64

// schemaWriter writes a schema in a form that Gemini takes.
type schemaWriter struct {
	*document
	root    int   // what "#" refers to
	active  []int // the schemas that are being written, outermost first
	chains  []int // refChain's working memory: the chains of the active schemas
	depth   int   // how many schemas and lists the one that is being written is in
	out     []byte
	changed bool // something is left out of it, or replaced

	// Definitions are copied to where they are used, so n definitions of which each
	// uses the next one twice become 2^n copies. budget is how many bytes may still
	// be written for the whole request, or steps made that take as long.
	budget int

	keys map[int]map[string]int // the members of objects that are searched often, as get finds them
}

// spend takes n from the budget, and reports whether the request is still within its
// bounds.
func (s *schemaWriter) spend(n int) bool {
	if s.budget -= n; s.budget < 0 {
		s.exceeded = growthBound
	}
	return s.exceeded == ""
}

// writeRaw writes a value as it is.
func (s *schemaWriter) writeRaw(v int) {
	if s.spend(s.end(v) - s.start(v)) {
		s.out = append(s.out, s.raw(v)...)
	}
}

// writeSchema writes a schema, or a list of schemas.
func (s *schemaWriter) writeSchema(v int) {
	if s.depth++; s.depth > maxDepth {
		s.exceeded = depthBound
	}
	if !s.spend(1) {
		return
	}
	switch s.kind(v) {
	case array:
		s.out = append(s.out, '[')
		for e := range s.elements(v) {
			s.writeComma()
			s.writeSchema(e)
		}
		s.out = append(s.out, ']')
	case object:
		s.out = append(s.out, '{')
		s.writeMembers(v)
		s.out = append(s.out, '}')
	default:
		s.writeRaw(v)
	}
	s.depth--
}

// writeComma writes a comma, except before the first element or member.
func (s *schemaWriter) writeComma() {
	if last := s.out[len(s.out)-1]; last != '{' && last != '[' {
		s.out = append(s.out, ',')
	}
}

// writeKey writes what goes before a member's value.
func (s *schemaWriter) writeKey(k int) {
	s.writeComma()
	s.writeRaw(k)
	s.out = append(s.out, ':')
}

// writeMembers writes the members of a schema, then those of the definition that its
// $ref names, and so on along the chain. If several of them have a key, the first
// one counts.
func (s *schemaWriter) writeMembers(v int) {
	outer, before := len(s.active), len(s.chains)
	chain, recursive := s.refChain(v)
	integer := s.isInteger(chain)
	for i, v := range chain {
		if i > 0 {
			s.active = append(s.active, v)
		}
		for k, m := range s.members(v) {
			if !s.spend(s.end(k) - s.start(k) + i) {
				return
			}
			key := s.stringValue(k)
			word := keywordOf(key)
			switch {
			case word == refusedKeyword, word == boundKeyword && integer, word == refKeyword && s.refTarget(m) != 0:
				s.changed = true
			case s.hasKey(chain[:i], key):
			default:
				s.writeKey(k)
				s.writeValue(word, m)
			}
		}
	}
	s.active, s.chains = s.active[:outer], s.chains[:before]
	if recursive && !s.hasKey(chain, []byte("type")) {
		s.writeComma()
		s.out = append(s.out, `"type":"object"`...)
	}
}

// writeValue writes the value of a key that is such a keyword.
func (s *schemaWriter) writeValue(word keyword, v int) {
	switch {
	case word == schemaKeyword:
		s.writeSchema(v)
	case word == propertiesKeyword && s.kind(v) == object:
		s.out = append(s.out, '{')
		for k, m := range s.members(v) {
			s.writeKey(k)
			s.writeSchema(m)
		}
		s.out = append(s.out, '}')
	default:
		s.writeRaw(v)
	}
}

// refChain follows $ref: it returns the schema v, the definition that v refers to,
// the definition that this one refers to, and so on. It stops before a definition
// that is already being written; recursive is then true.
func (s *schemaWriter) refChain(v int) (chain []int, recursive bool) {
	from := len(s.chains)
	for {
		s.chains = append(s.chains, v)
		chain = s.chains[from:]
		if v = s.refTarget(s.get(v, "$ref")); v == 0 {
			return chain, false
		}
		if slices.Contains(s.active, v) || slices.Contains(chain, v) {
			return chain, true
		}
		if len(s.active)+len(chain) > maxRefDepth {
			s.exceeded = depthBound
			return chain, false
		}
	}
}

// maxTypes is how many types a list is searched for: there are seven.
const maxTypes = 8

// isInteger reports whether the first type in the chain is integer, or a list that
// has integer in it.
func (s *schemaWriter) isInteger(chain []int) bool {
	for _, v := range chain {
		typ := s.get(v, "type")
		if typ == 0 {
			continue
		}
		read := 0
		for e := range s.elements(typ) {
			if s.equals(e, "integer") {
				return true
			}
			if read++; read == maxTypes {
				break
			}
		}
		return s.equals(typ, "integer")
	}
	return false
}

// hasKey reports whether one of the schemas has this key.
func (s *schemaWriter) hasKey(chain []int, key []byte) bool {
	for _, v := range chain {
		if _, ok := s.keysOf(v)[string(key)]; ok {
			return true
		}
	}
	return false
}

// keysOf returns the members of an object by their keys. A key that occurs twice has no
// value.
func (s *schemaWriter) keysOf(obj int) map[string]int {
	if keys, ok := s.keys[obj]; ok {
		return keys
	}
	keys := make(map[string]int)
	for k, v := range s.members(obj) {
		key := string(s.stringValue(k))
		if _, twice := keys[key]; twice {
			v = 0
		}
		keys[key] = v
	}
	if s.keys == nil {
		s.keys = make(map[int]map[string]int)
	}
	s.keys[obj] = keys
	return keys
}

// refTarget returns the schema that a $ref refers to: the root, or a schema in its
// definitions. It is 0 if that isn't there or isn't an object.
func (s *schemaWriter) refTarget(ref int) int {
	if s.kind(ref) != str {
		return 0
	}
	if !s.spend(s.end(ref) - s.start(ref) + 32) { // it takes about as long as writing that
		return 0
	}
	pointer := string(s.stringValue(ref))
	if decoded, err := url.PathUnescape(pointer); err == nil {
		pointer = decoded
	}
	if pointer == "#" {
		return s.root
	}
	if !strings.HasPrefix(pointer, "#/$defs/") && !strings.HasPrefix(pointer, "#/definitions/") {
		return 0
	}
	v := s.root
	for token := range strings.SplitSeq(pointer[len("#/"):], "/") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		v = s.keysOf(v)[token]
	}
	if s.kind(v) != object {
		return 0
	}
	return v
}
