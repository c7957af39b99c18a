package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"patrol/rotator/pat"
)

// emptyObject is what a new file is made from.
const emptyObject = "{}\n"

// jsonEdit is one edit under way of a JSON text that is an object.
type jsonEdit struct {
	text    []byte
	root    value
	token   string                  // to put; "" if tokens are removed
	ours    func(value string) bool // what is to be replaced, or removed
	applies bool                    // some place holds what belongs there or will, or one is removed
	told    []int                   // the ends of values that were left alone, of which that is said
	edits
}

// setJSON returns the edit by which plan puts the token into a text.
func setJSON(text []byte, token string, o Owner, plan func(*jsonEdit) error) (Edit, error) {
	return editJSON(text, jsonEdit{token: token, ours: func(v string) bool { return v == token || o.ours(v) }}, plan)
}

// removeJSON returns the edit by which plan takes the tokens out of a text that
// gone knows.
func removeJSON(text []byte, gone func(hash string) bool, plan func(*jsonEdit) error) (Edit, error) {
	return editJSON(text, jsonEdit{ours: func(v string) bool { return gone(pat.Hash(v)) }}, plan)
}

func editJSON(text []byte, blank jsonEdit, plan func(*jsonEdit) error) (Edit, error) {
	e, err := blank.withPlan(text, plan)
	if err != nil {
		return Edit{}, err
	}
	e.root.walk("", func(path string, v value) {
		if e.isOurs(v) && v.str != e.token && !e.replaces(v.end) && !slices.Contains(e.told, v.end) {
			e.leaveElsewhere(pat.Redact(path))
		}
	})
	if !e.applies {
		return Edit{Left: e.left}, nil
	}
	out := e.apply(text)
	// What we wrote must read as what we meant: then nothing is left to do.
	if again, err := blank.withPlan(out, plan); err != nil || again.applies != (e.token != "") || len(again.splices) > 0 {
		return Edit{}, errors.New("it can't be changed without changing what else is read from it: lay it out as a JSON formatter would")
	}
	return Edit{Text: out, Left: e.left}, nil
}

// withPlan returns the edit of a text, planned and not made.
func (e jsonEdit) withPlan(text []byte, plan func(*jsonEdit) error) (jsonEdit, error) {
	root, err := parseJSON(text)
	if err != nil {
		return e, err
	}
	e.text, e.root = text, root
	return e, plan(&e)
}

// isOurs reports whether v is one of our tokens, the one to put included.
func (e *jsonEdit) isOurs(v value) bool { return v.isString() && e.ours(v.str) }

func (e *jsonEdit) replace(start, end int, text string) {
	e.applies = true
	e.edits.replace(start, end, text)
}

// put puts a text in place of v.
func (e *jsonEdit) put(v value, text string) {
	e.applies = true
	if v.str != text {
		e.replace(v.start, v.end, quote(text))
	}
}

// leaveValue leaves v alone and says why.
func (e *jsonEdit) leaveValue(v value, format string, args ...any) {
	e.told = append(e.told, v.end)
	e.leave(format, args...)
}

// remove takes members out of an object, and the commas that they leave over.
func (e *jsonEdit) remove(object value, out func(member) bool) {
	var cuts []splice
	kept := 0
	for i, m := range object.members {
		switch {
		case !out(m):
			kept++
		case kept > 0:
			cuts = append(cuts, splice{object.members[i-1].value.end, m.value.end, ""})
		case i+1 < len(object.members):
			cuts = append(cuts, splice{m.start, object.members[i+1].start, ""})
		default:
			cuts = []splice{{object.start, object.end, "{}"}}
		}
	}
	for _, c := range cuts {
		e.replace(c.start, c.end, c.text)
	}
}

// jsonValues returns all strings of a JSON text.
func jsonValues(text []byte) (values []string, err error) {
	root, err := parseJSON(text)
	if err != nil {
		return nil, err
	}
	root.walk("", func(_ string, v value) { values = append(values, v.str) })
	return values, nil
}

// value is a JSON value and where it stands in the text.
type value struct {
	kind       jsontext.Kind
	start, end int
	str        string   // of a string
	members    []member // of an object or a list, in the order of the text; a name may come again
}

type member struct {
	name       string // in a list, its place
	start, end int    // of the name, with its quotes
	value      value
}

// last returns the member that readers take for this name.
func (v value) last(name string) (value, bool) {
	for _, m := range slices.Backward(v.members) {
		if m.name == name {
			return m.value, true
		}
	}
	return value{}, false
}

// isString reports whether v is a string that isn't empty.
func (v value) isString() bool { return v.kind == '"' && v.str != "" }

// isText reports whether v is a string or null, in place of which a string may stand.
func (v value) isText() bool { return v.kind == '"' || v.kind == 'n' }

// parseJSON reads a JSON text that is an object. What no JSON.parse takes, such
// as comments, is refused: Claude Code and OpenCode ignore such a file whole. Its
// errors name places and never quote them.
func parseJSON(text []byte) (root value, err error) {
	if after, ok := bytes.CutPrefix(text, []byte(bom)); ok {
		text = slices.Concat([]byte("   "), after) // so that all stays in its place
	}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return value{}, errors.New("it is empty: put {} in it, or delete it")
	case !utf8.Valid(text):
		return value{}, errors.New("it is not valid UTF-8: save it as UTF-8, or delete it")
	}
	p := jsonParser{jsontext.NewDecoder(bytes.NewReader(text),
		jsontext.AllowDuplicateNames(true),
		// For lone surrogates written as \u escapes, which JSON.parse takes.
		jsontext.AllowInvalidUTF8(true))}
	if root, err = p.value(); err == nil {
		_, err = p.ReadToken()
	}
	switch {
	case err == nil:
		return value{}, errors.New("it holds more than one JSON value: leave one, and no more")
	case err != io.EOF: //nolint:errorlint // io.EOF itself says that nothing follows
		return value{}, explain(text, err)
	case root.kind != '{':
		return value{}, errors.New("it is JSON but no object: put {} in it, or delete it")
	}
	return root, nil
}

// explain says where a text is no JSON.
func explain(text []byte, err error) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return errors.New("it is not valid JSON: mend it, or delete it")
	}
	at := min(int(syntax.ByteOffset), len(text))
	line := 1 + bytes.Count(text[:at], []byte("\n"))
	column := at - bytes.LastIndexByte(text[:at], '\n')
	why := "it"
	if bytes.HasPrefix(text[at:], []byte("/")) {
		why = "comments aren't; it"
	}
	return fmt.Errorf("it is not valid JSON at line %d, column %d (%s is ignored as it stands by the tool that it is for): mend it, or delete it", line, column, why)
}

type jsonParser struct{ *jsontext.Decoder }

// value reads the next value.
func (p jsonParser) value() (value, error) {
	v := value{kind: p.PeekKind()}
	if v.kind != '{' && v.kind != '[' {
		return p.scalar()
	}
	if _, err := p.ReadToken(); err != nil {
		return v, err
	}
	v.start = int(p.InputOffset()) - 1
	for p.PeekKind() != v.kind+2 { // '}' or ']'
		m := member{name: strconv.Itoa(len(v.members))}
		if v.kind == '{' {
			name, err := p.scalar()
			if err != nil {
				return v, err
			}
			m.name, m.start, m.end = name.str, name.start, name.end
		}
		var err error
		if m.value, err = p.value(); err != nil {
			return v, err
		}
		v.members = append(v.members, m)
	}
	_, err := p.ReadToken()
	v.end = int(p.InputOffset())
	return v, err
}

// scalar reads a value that has no members, or a member's name.
func (p jsonParser) scalar() (value, error) {
	raw, err := p.ReadValue()
	end := int(p.InputOffset())
	v := value{kind: raw.Kind(), start: end - len(raw), end: end}
	if v.kind == '"' {
		v.str = unquote(raw)
	}
	return v, err
}

func unquote(raw []byte) string {
	s, _ := jsontext.AppendUnquote(nil, raw) // fails on lone surrogates only, and replaces them
	return string(s)
}

func quote(s string) string {
	b, _ := jsontext.AppendQuote(nil, s) // fails on invalid UTF-8 only, and replaces it
	return string(b)
}

// walk calls visit for each string at any depth that isn't a name.
func (v value) walk(path string, visit func(path string, v value)) {
	if v.kind == '"' {
		visit(path, v)
	}
	for _, m := range v.members {
		m.value.walk(path+"/"+m.name, visit)
	}
}

// newMember returns a member that is a string, and newObject one that is an
// object, as add takes them.
func newMember(name, value string) string { return quote(name) + ": " + quote(value) }

func newObject(name string, members ...string) string {
	return quote(name) + ": {\n\t\t" + strings.Join(members, ",\n\t\t") + "\n\t}"
}

// add adds members at the end of an object depth levels deep, laid out as its
// others are.
func (e *jsonEdit) add(object value, depth int, members ...string) {
	n := len(object.members)
	if n == 0 {
		eol := "\n" + strings.Repeat("\t", depth)
		text := "{" + eol + strings.Join(members, ","+eol) + eol[:depth] + "}"
		e.replace(object.start, object.end, e.layOut(text))
		return
	}
	var b strings.Builder
	for _, m := range members {
		b.WriteString(e.separator(object) + e.layOut(m))
	}
	end := object.members[n-1].value.end
	e.replace(end, end, b.String())
}

// layOut takes what is to be added, with line ends, tabs and ": ", and lays it out
// as the file is: each member on a line of its own or all on one, indented by
// tabs or blanks.
func (e *jsonEdit) layOut(text string) string {
	eol, indent, colon := "\n", "  ", ": "
	if len(e.root.members) > 0 {
		first := e.root.members[0]
		colon = string(e.text[first.end:first.value.start])
		blank := string(e.text[e.root.start+1 : first.start])
		eol, indent = "", ""
		if i := strings.LastIndexByte(blank, '\n'); i >= 0 {
			eol, indent = "\n", blank[i+1:]
			if strings.HasSuffix(blank[:i], "\r") {
				eol = "\r\n"
			}
		}
	}
	comma := "," + eol
	if eol == "" && strings.HasSuffix(colon, " ") {
		comma = ", "
	}
	return strings.NewReplacer(",\n", comma, "\n", eol, "\t", indent, ": ", colon).Replace(text)
}

// separator returns what separates the members of an object, comma included.
func (e *jsonEdit) separator(object value) string {
	m := object.members
	if n := len(m); n > 1 {
		return string(e.text[m[n-2].value.end:m[n-1].start])
	}
	blank := string(e.text[object.start+1 : m[0].start])
	if blank == "" && strings.HasSuffix(e.layOut(": "), " ") {
		blank = " "
	}
	return "," + blank
}
