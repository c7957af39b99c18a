package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"patrol/rotator/pat"
)

// iniEdit is one edit of an ini text under way. Its iniFile keeps the text as
// it was, and becomes what is to be read from it afterwards.
type iniEdit struct {
	*iniFile
	edits
}

// setting is a line to be.
type setting struct{ name, value string }

// result makes the edit, if what is read from the file is what it is to be.
func (e *iniEdit) result() (Edit, error) {
	out := e.apply(e.text)
	if got, err := parseValues(out); err != nil || !got.equal(e.values()) {
		return Edit{}, errors.New("it can't be changed without changing what else is read from it: put each setting on a line of its own, key = value, without quotes")
	}
	return Edit{Text: out, Left: e.left}, nil
}

// set replaces the value of a key.
func (e *iniEdit) set(k *iniKey, value string) error {
	if !k.simple {
		return fmt.Errorf("its %s goes over several lines: write it on one", k.name)
	}
	start, end, text := k.start, k.end, value
	if start == end {
		start, end = e.aroundQuotes(start)
		if before := e.text[:start]; bytes.HasSuffix(before, []byte(" =")) || bytes.HasSuffix(before, []byte(" :")) {
			text = " " + value
		}
	}
	e.replace(start, end, text)
	k.value = value
	return nil
}

// remove takes a key out, with its line. A comment on the line stays. Where the
// next line is indented, Python's reader would add it to the line before: then
// the key stays, without value and comment, and remove reports false.
func (e *iniEdit) remove(k *iniKey) bool {
	end := k.line.end
	if indented(e.text[end:]) {
		e.replace(len(bytes.TrimRight(e.text[:k.start], "\"'`")), end, "")
		k.value = ""
		return false
	}
	if k.simple {
		after := strings.TrimLeft(string(e.text[k.end:end]), "\"'` \t")
		if after != "" && (after[0] == '#' || after[0] == ';') {
			e.replace(k.line.start, end-len(after), "")
			return true
		}
	}
	e.replace(k.line.start, k.line.next, "")
	return true
}

// add adds settings to a section, after its last one.
func (e *iniEdit) add(name string, missing []setting) error {
	if len(missing) == 0 {
		return nil
	}
	if err := e.extensible(); err != nil {
		return err
	}
	for _, k := range e.keys(name) {
		// Python's reader may see keys in them.
		if bytes.ContainsRune(e.text[k.line.start:k.line.end], '\n') {
			return fmt.Errorf("nothing can be added to profile %s: its %s goes over several lines: write it on one", name, pat.Redact(k.name))
		}
	}
	s := e.section(name)
	at := s.head.end
	for _, k := range s.keys {
		at = k.line.end
	}
	if s.head.end > 0 && e.text[s.head.start] != '[' || indented(e.text[at:]) {
		return fmt.Errorf("nothing can be added to profile %s: its header or a line below it is indented, and Python's reader would take what is added for something else: take the indentation away", name)
	}
	e.replace(at, at, e.addLines(s, missing, eolAt(e.text, at)))
	return nil
}

// addSection adds a section at the end of the text.
func (e *iniEdit) addSection(name string, wanted []setting) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == '[' || r == ']' }
	if !utf8.ValidString(name) || strings.ContainsFunc(name, odd) || name != strings.TrimSpace(name) {
		return errors.New("a profile's name has only what can be printed, no brackets in it, and no blanks at its ends")
	}
	if err := e.extensible(); err != nil {
		return err
	}
	eol := eolAt(e.text, len(e.text))
	lines := ""
	if said := bytes.TrimPrefix(e.text, []byte(bom)); len(said) > 0 {
		if said[len(said)-1] != '\n' {
			lines = eol
		}
		if len(bytes.TrimSpace(said)) > 0 {
			lines += eol
		}
	}
	s := iniSection{name: name}
	lines += "[" + name + "]" + e.addLines(&s, wanted, eol) + eol
	e.sections = append(e.sections, s)
	e.replace(len(e.text), len(e.text), lines)
	return nil
}

// addLines notes that a section gets settings, and returns their lines, each after
// a line end.
func (e *iniEdit) addLines(s *iniSection, settings []setting, eol string) string {
	var b strings.Builder
	for _, set := range settings {
		s.keys = append(s.keys, iniKey{name: set.name, value: set.value})
		b.WriteString(eol + set.name + " = " + set.value)
	}
	return b.String()
}

// extensible reports why no line can be added anywhere: Go's reader and
// Python's see lines begin and end at different places.
func (f *iniFile) extensible() error {
	for i, c := range f.text {
		bare := c == '\r' && i+1 < len(f.text) && f.text[i+1] != '\n'
		if bare || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			return fmt.Errorf("a control character in line %d keeps patrol from adding a setting, since Python's reader may see another line there: take it out", 1+bytes.Count(f.text[:i], []byte("\n")))
		}
	}
	return nil
}

// indented reports whether the first line that says something is indented:
// Python's reader takes it for a part of the setting before it.
func indented(text []byte) bool {
	for line := range bytes.Lines(bytes.TrimLeft(text, "\r\n")) {
		said := bytes.TrimLeftFunc(line, isPythonSpace)
		if len(said) == 0 || said[0] == '#' || said[0] == ';' {
			continue
		}
		return len(said) < len(line)
	}
	return false
}

// isPythonSpace reports whether r is a blank to Python, which counts ASCII's
// separators too.
func isPythonSpace(r rune) bool { return unicode.IsSpace(r) || '\x1c' <= r && r <= '\x1f' }

// aroundQuotes returns where the quotes around an empty value stand, if a line
// ends with them: to Python they would be a part of what is put between them.
func (f *iniFile) aroundQuotes(at int) (start, end int) {
	line, _, _ := bytes.Cut(f.text[at:], []byte("\n"))
	after := string(bytes.TrimSpace(line))
	if after == "" || strings.Trim(after, "`'\"") != "" || !bytes.HasSuffix(f.text[:at], []byte(after)) {
		return at, at
	}
	return at - len(after), at + len(after)
}
