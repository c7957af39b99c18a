package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"gopkg.in/ini.v1"
)

// iniFile is an ini file as ini.v1 reads it with the options of the Databricks
// SDK for Go, and where in the text everything stands. What differs from
// ini.v1's own reading is refused, so that we never edit what we misread.
type iniFile struct {
	text     []byte
	sections []iniSection // in the order of the text; a name may come again
}

// iniSection is the part of the text under one header, or before the first:
// that belongs to DEFAULT.
type iniSection struct {
	name string
	head iniLine // of the header; none in the part before the first
	keys []iniKey
}

// iniLine is where a line stands; end is before its line end, next behind it.
type iniLine struct{ start, end, next int }

type iniKey struct {
	name, value string
	line        iniLine // all its lines
	start, end  int     // of the value, without quotes
	simple      bool    // the value stands in the text as it is, between start and end
}

// values are the values by section and key, as the SDKs see them.
type values map[string]map[string]string

// parseINI reads an ini file. Its errors name lines and never quote them: any
// line may hold a secret.
func parseINI(text []byte) (*iniFile, error) {
	if err := checkPlainText(text); err != nil {
		return nil, err
	}
	f := &iniFile{text: text, sections: []iniSection{{name: ini.DefaultSection}}}
	s := iniScanner{text: text}
	if bytes.HasPrefix(text, []byte(bom)) {
		s.next = len(bom)
	}
	for s.line() {
		if err := f.add(&s); err != nil {
			return nil, err
		}
	}
	seen, err := parseValues(text)
	if err != nil || !seen.equal(f.values()) {
		return nil, errors.New("it can't be read the way the Databricks tools read it: put each setting on a line of its own, key = value, without quotes")
	}
	return f, nil
}

// add adds what begins on the scanner's line.
func (f *iniFile) add(s *iniScanner) error {
	if strings.Contains(strings.TrimRight(s.raw, "\r\n"), "\r") {
		return s.errorf("it has a carriage return in its middle, which is the end of a line to some of the Databricks tools: take it out, or put each setting on a line of its own")
	}
	trimmed := strings.TrimLeftFunc(s.raw, unicode.IsSpace)
	switch {
	case trimmed == "", trimmed[0] == '#', trimmed[0] == ';':
	case trimmed[0] == '[':
		end := strings.LastIndexByte(trimmed, ']')
		if end < 2 {
			return s.errorf("a section's header needs a name between [ and ]")
		}
		f.sections = append(f.sections, iniSection{name: trimmed[1:end], head: s.here()})
	default:
		key, err := s.key(trimmed, s.next-len(trimmed))
		if err != nil {
			return err
		}
		if bytes.Contains(f.text[key.line.start:key.line.end], []byte("\n[")) {
			return s.errorf("the value that goes on here has a line that begins with [: that is a profile to some of the Databricks tools, so write the value on one line")
		}
		last := &f.sections[len(f.sections)-1]
		last.keys = append(last.keys, key)
	}
	return nil
}

// parseValues reads the values with ini.v1.
func parseValues(text []byte) (values, error) {
	file, err := ini.LoadSources(ini.LoadOptions{SpaceBeforeInlineComment: true}, text)
	if err != nil {
		return nil, err
	}
	all := values{}
	for _, section := range file.Sections() {
		all[section.Name()] = section.KeysHash()
	}
	return all, nil
}

// values returns what the last of each key says.
func (f *iniFile) values() values {
	all := values{ini.DefaultSection: {}}
	for _, section := range f.sections {
		if all[section.name] == nil {
			all[section.name] = map[string]string{}
		}
		for _, key := range section.keys {
			all[section.name][key.name] = key.value
		}
	}
	return all
}

func (v values) equal(w values) bool {
	return maps.EqualFunc(v, w, maps.Equal[map[string]string, map[string]string])
}

// section returns the first part of the text under this name, nil if there is
// none. DEFAULT is there without a header too, if a key is.
func (f *iniFile) section(name string) *iniSection {
	for i, s := range f.sections {
		if s.name == name && (i > 0 || len(s.keys) > 0) {
			return &f.sections[i]
		}
	}
	return nil
}

// keys returns the keys of all sections of this name.
func (f *iniFile) keys(name string) []*iniKey {
	var all []*iniKey
	for _, s := range f.sections {
		for i := range s.keys {
			if s.name == name {
				all = append(all, &s.keys[i])
			}
		}
	}
	return all
}

// iniScanner goes through the text line by line, as ini.v1's parser does.
type iniScanner struct {
	text        []byte
	raw         string // the line, with its line end
	start, next int    // of the line, and of the one after it
	number      int    // of the line, from 1
}

func (s *iniScanner) line() bool {
	if s.next >= len(s.text) {
		return false
	}
	s.start, s.number = s.next, s.number+1
	if i := bytes.IndexByte(s.text[s.start:], '\n'); i >= 0 {
		s.next = s.start + i + 1
	} else {
		s.next = len(s.text)
	}
	s.raw = string(s.text[s.start:s.next])
	return true
}

// here returns where the line stands.
func (s *iniScanner) here() iniLine {
	return iniLine{s.start, s.start + len(strings.TrimRight(s.raw, "\r\n")), s.next}
}

func (s *iniScanner) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{s.number}, args...)...)
}

// key reads a key and its value, and the further lines that it may have.
func (s *iniScanner) key(line string, at int) (iniKey, error) {
	name, offset, ok := keyName(line)
	if !ok {
		return iniKey{}, s.errorf("it is no comment, no [section] and no key = value")
	}
	k := iniKey{name: name, line: s.here()}
	rest := strings.TrimLeftFunc(line[offset:], unicode.IsSpace)
	k.start = at + len(line) - len(rest)
	err := s.value(&k, rest)
	k.line.end, k.line.next = s.here().end, s.next
	if rest == "" {
		// The value goes after the blanks behind the delimiter.
		blanks := line[offset:]
		k.start = at + offset + len(blanks) - len(strings.TrimLeft(blanks, " \t"))
		k.end = k.start
	}
	return k, err
}

// keyName returns the name that a line starts with and where its value
// begins. Names may be quoted.
func keyName(line string) (name string, offset int, ok bool) {
	quote := ""
	switch {
	case len(line) > 6 && strings.HasPrefix(line, `"""`):
		quote = `"""`
	case line[0] == '"' || line[0] == '`':
		quote = line[:1]
	}
	rest := line[len(quote):]
	if quote != "" {
		if name, rest, ok = strings.Cut(rest, quote); !ok {
			return "", 0, false
		}
	}
	i := strings.IndexAny(rest, "=:")
	if i < 0 {
		return "", 0, false
	}
	if quote == "" {
		name = rest[:i]
	}
	name = strings.TrimSpace(name)
	return name, len(line) - len(rest) + i + 1, name != ""
}

// value reads the value that begins with rest, which is trimmed on the left.
func (s *iniScanner) value(k *iniKey, rest string) error {
	k.simple = true
	switch {
	case len(rest) > 3 && strings.HasPrefix(rest, `"""`):
		return s.quoted(k, rest[3:], `"""`)
	case strings.HasPrefix(rest, "`"):
		return s.quoted(k, rest[1:], "`")
	}
	rest = strings.TrimSpace(rest)
	if before, ok := strings.CutSuffix(rest, `\`); ok {
		s.continued(k, before)
	} else {
		k.setUnquoted(rest)
	}
	return nil
}

// setUnquoted takes a value without a comment behind it, and without simple quotes
// around it.
func (k *iniKey) setUnquoted(rest string) {
	i := strings.Index(rest, " #")
	if i < 0 {
		i = strings.Index(rest, " ;")
	}
	if i >= 0 {
		rest = strings.TrimSpace(rest[:i])
	}
	if n := len(rest); n >= 2 && (rest[0] == '\'' || rest[0] == '"') && strings.IndexByte(rest[1:], rest[0]) == n-2 {
		k.start++
		rest = rest[1 : n-1]
	}
	k.value, k.end = rest, k.start+len(rest)
}

// quoted reads a value up to the quote that ends it, perhaps lines below.
func (s *iniScanner) quoted(k *iniKey, value, quote string) error {
	k.start += len(quote)
	if end := strings.LastIndex(value, quote); end >= 0 {
		k.value, k.end = value[:end], k.start+end
		return nil
	}
	first := *s
	k.simple = false
	for s.line() {
		end := strings.LastIndex(s.raw, quote)
		if end < 0 || strings.HasSuffix(strings.TrimSpace(s.raw[end+len(quote):]), `\`) {
			value += s.raw
			continue
		}
		k.value = value + s.raw[:end]
		return nil
	}
	return first.errorf("the quote that begins here never ends")
}

// continued reads the lines that follow one with a backslash at its end.
func (s *iniScanner) continued(k *iniKey, value string) {
	k.simple = false
	for s.line() {
		next := strings.TrimSpace(s.raw)
		value += next
		if !strings.HasSuffix(next, `\`) {
			break
		}
		value = strings.TrimSuffix(value, `\`)
	}
	k.value = value
}
