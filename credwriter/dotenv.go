package credwriter

import (
	"errors"
	"regexp"
	"slices"

	"patrol/rotator/pat"
)

// dotenv is one variable of a .env file. It is added if it is missing and set if
// it is empty; a value is replaced if Owner.Ours knows it. All other bytes stay,
// the quotes around a value and an "export" before the name included.
type dotenv struct {
	owner    Owner
	variable string
}

// NewDotenv returns the variable of this name in the .env file at path, which is
// made if it is missing.
func NewDotenv(path, variable string, o Owner) *File {
	return &File{name: "dotenv", path: path, owner: o, create: true, format: dotenv{o, variable}}
}

// assignment finds NAME=value as the readers of .env files do: a quoted value
// may go over several lines, another ends at a blank with a # behind it. Its
// groups are the name, the value in each kind of quotes and in none, and the comment.
var assignment = regexp.MustCompile(`(?m)^(?:\x{feff})?[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*=[ \t]*` +
	`(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|` + "`([^`]*)`" + `|([^#\s][^\r\n]*?|))` +
	`(?:[ \t]+(#[^\r\n]*))?[ \t]*\r?$`)

// envVar is an assignment in a .env file.
type envVar struct {
	name, value string
	start, end  int // of the value, without quotes
	line, next  int // where its lines begin, and where what is left without it does
}

func parseDotenv(text []byte) (all []envVar, err error) {
	for _, m := range assignment.FindAllSubmatchIndex(text, -1) {
		v := envVar{name: string(text[m[2]:m[3]]), line: m[0], next: min(m[1]+1, len(text))}
		for value := 4; value < 12; value += 2 {
			if m[value] >= 0 {
				v.start, v.end = m[value], m[value+1]
			}
		}
		if comment := m[12]; comment >= 0 {
			v.next = comment
		}
		v.value = string(text[v.start:v.end])
		all = append(all, v)
	}
	return all, checkPlainText(text)
}

func (d dotenv) Set(text []byte, token string, _ func(hash string) bool) (Edit, error) {
	all, err := parseDotenv(text)
	if err != nil {
		return Edit{}, err
	}
	var e edits
	last := -1 // the assignment that readers take
	for i, v := range all {
		if v.name == d.variable {
			last = i
		}
	}
	for i := range all {
		v := &all[i]
		ours := v.value == token || d.owner.ours(v.value)
		switch {
		case v.name == d.variable && (ours || i == last && v.value == ""):
			e.replace(v.start, v.end, token)
			v.value = token
		case i == last:
			e.leave("%s isn't patrol's", d.variable)
		case ours && v.value != token:
			e.leaveElsewhere(pat.Redact(v.name))
		}
	}
	if last < 0 {
		e.replace(len(text), len(text), d.newLine(text, token))
		all = append(all, envVar{name: d.variable, value: token})
	}
	return d.result(text, e, all)
}

// newLine returns what is to be added at the end of a text.
func (d dotenv) newLine(text []byte, token string) string {
	eol := eolAt(text, len(text))
	line := d.variable + "=" + token + eol
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return eol + line
	}
	return line
}

// Remove takes out the whole line of the variable, but for a comment on it.
func (d dotenv) Remove(text []byte, gone func(hash string) bool) (Edit, error) {
	all, err := parseDotenv(text)
	if err != nil {
		return Edit{}, err
	}
	var e edits
	all = slices.DeleteFunc(all, func(v envVar) bool {
		ours := v.value != "" && gone(pat.Hash(v.value))
		switch {
		case ours && v.name == d.variable:
			e.replace(v.line, v.next, "")
			return true
		case ours:
			e.leaveElsewhere(pat.Redact(v.name))
		case v.name == d.variable && v.value != "":
			e.leave("%s isn't one that patrol made", d.variable)
		}
		return false
	})
	return d.result(text, e, all)
}

func (dotenv) Values(text []byte) (values []string, err error) {
	all, err := parseDotenv(text)
	for _, v := range all {
		values = append(values, v.value)
	}
	return values, err
}

// result makes the edit, if all is what is then read from the text.
func (dotenv) result(text []byte, e edits, all []envVar) (Edit, error) {
	if len(e.splices) == 0 {
		return Edit{Left: e.left}, nil
	}
	out := e.apply(text)
	same := func(a, b envVar) bool { return a.name == b.name && a.value == b.value }
	if got, err := parseDotenv(out); err != nil || !slices.EqualFunc(got, all, same) {
		return Edit{}, errors.New("it can't be changed without changing what else is read from it: put each NAME=value on a line of its own")
	}
	return Edit{Text: out, Left: e.left}, nil
}
