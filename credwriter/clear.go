package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// Clear takes the tokens out of the file that gone knows by their pat.Hash,
// with the lines they stand on, in all profiles. A profile without a token
// line is what all readers of .databrickscfg take best: an empty one counts as
// a way to sign in with some. It reports whether there was one, and what was
// left alone.
func (d *Databrickscfg) Clear(gone func(hash string) bool) (cleared bool, left []string, err error) {
	return clearFile(d.path, d.clearing(gone))
}

// clearing returns the edit that Clear makes of a file that exists.
func (d *Databrickscfg) clearing(gone func(hash string) bool) clearing {
	return func(content []byte) (change, error) {
		f, err := parseINI(content)
		if err != nil {
			return change{}, err
		}
		profile, err := pick(f.values(), d.profile)
		if err != nil {
			return change{}, err
		}
		c := profileClearing{path: d.path, file: f, gone: gone}
		c.run(profile)
		out := apply(content, c.splices)
		if got, err := parseValues(out); err != nil || !got.equal(f.values()) {
			return change{}, errors.New("a token can't be taken out without changing what else is read from the file: put each setting on a line of its own, key = value")
		}
		return c.change(out), nil
	}
}

// clearing takes tokens out of the text of a file.
type clearing func(content []byte) (change, error)

// clearFile takes out of the file at path what edit does. A missing file is
// nothing to do.
func clearFile(path string, edit clearing) (cleared bool, left []string, err error) {
	left, err = replace(path, func(content []byte, exists bool) (change, error) {
		if !exists {
			return change{}, nil
		}
		c, err := edit(content)
		cleared = cleared || err == nil && c.content != nil
		return c, err
	})
	return cleared && err == nil, left, err
}

// profileClearing takes tokens out of an ini file.
type profileClearing struct {
	path    string
	file    *iniFile // without the tokens that were taken out
	gone    func(hash string) bool
	splices []splice
	left    []string
}

// change is the file with out as its text, or nothing to do.
func (c *profileClearing) change(out []byte) change {
	if len(c.splices) == 0 {
		out = nil
	}
	return change{content: out, left: c.left}
}

func (c *profileClearing) run(profile string) {
	for i := range c.file.sections {
		s := &c.file.sections[i]
		keep := s.keys[:0]
		for _, k := range s.keys {
			place := s.name != settings && strings.EqualFold(k.name, "token")
			switch ours := k.value != "" && c.gone(pat.Hash(k.value)); {
			case ours && place:
				if c.take(&k) {
					continue
				}
			case ours:
				c.leave("%s of profile %s in %s holds one of patrol's tokens, in a place that patrol doesn't write", safe(k.name), safe(s.name), c.path)
			case place && s.name == profile && k.value != "":
				c.leave("the token of profile %s in %s isn't one that patrol made", safe(s.name), c.path)
			}
			keep = append(keep, k)
		}
		s.keys = keep
	}
}

func (c *profileClearing) leave(format string, args ...any) {
	c.left = append(c.left, fmt.Sprintf(format, args...))
}

// take takes a key out, with its line. A comment on the line stays. Where the
// next line is indented, Python's reader would add it to the line before: then
// the key stays, without value and comment, and take reports false.
func (c *profileClearing) take(k *iniKey) bool {
	text, end := c.file.text, k.line.end
	if indented(text[end:]) {
		c.splices = append(c.splices, splice{len(bytes.TrimRight(text[:k.start], "\"'`")), end, ""})
		k.value = ""
		return false
	}
	if k.simple {
		after := strings.TrimLeft(string(text[k.end:end]), "\"'` \t")
		if after != "" && (after[0] == '#' || after[0] == ';') {
			c.splices = append(c.splices, splice{k.line.start, end - len(after), ""})
			return true
		}
	}
	for end < len(text) && text[end] == '\r' {
		end++
	}
	if end < len(text) && text[end] == '\n' {
		end++
	}
	c.splices = append(c.splices, splice{k.line.start, end, ""})
	return true
}

// Clear takes the token out of env if gone knows it by its pat.Hash. It
// reports whether it did, and what was left alone. The base URL beside it
// stays.
func (c *Claude) Clear(gone func(hash string) bool) (cleared bool, left []string, err error) {
	return clearFile(c.path, c.clearing(gone))
}

func (c *Claude) clearing(gone func(hash string) bool) clearing {
	return clearingJSON(c.path, gone, func(f *jsonFile, ours func(value) bool) (cuts []splice, left []string) {
		for _, m := range f.root.members {
			if m.name != "env" {
				continue
			}
			cuts = append(cuts, cut(m.value, func(v member) bool { return v.name == authVar && ours(v.value) })...)
			if token, ok := m.value.last(authVar); ok && !ours(token) {
				left = append(left, fmt.Sprintf("env.%s in %s isn't one that patrol made", authVar, c.path))
			}
		}
		return cuts, left
	})
}

// Clear takes out the providers whose key gone knows by its pat.Hash. It
// reports whether there was one, and what was left alone.
func (c *OpenCode) Clear(gone func(hash string) bool) (cleared bool, left []string, err error) {
	return clearFile(c.path, c.clearing(gone))
}

func (c *OpenCode) clearing(gone func(hash string) bool) clearing {
	return clearingJSON(c.path, gone, func(f *jsonFile, ours func(value) bool) (cuts []splice, left []string) {
		return cut(f.root, func(m member) bool {
			if m.name != provider && !strings.HasPrefix(m.name, provider+"-") {
				return false
			}
			kind, hasKind := m.value.last("type")
			key, hasKey := m.value.last("key")
			if !hasKey {
				key, hasKey = m.value.last("api_key")
			}
			mine := ours(key) && (!hasKind || kind.str == "api")
			if hasKey && !mine {
				left = append(left, fmt.Sprintf("the key of %s in %s isn't one that patrol made", safe(m.name), c.path))
			}
			return mine
		}), left
	})
}

// clearingJSON takes out of the JSON file at path what plan says.
func clearingJSON(path string, gone func(hash string) bool, plan func(f *jsonFile, ours func(value) bool) (cuts []splice, left []string)) clearing {
	ours := func(v value) bool { return v.isString() && gone(pat.Hash(v.str)) }
	return func(content []byte) (change, error) {
		f, err := parseJSON(content)
		if err != nil {
			return change{}, err
		}
		cuts, left := plan(f, ours)
		for _, s := range f.strings() {
			in := func(c splice) bool { return c.start < s.end && s.end <= c.end }
			if s.value != "" && gone(pat.Hash(s.value)) && !slices.ContainsFunc(cuts, in) {
				left = append(left, fmt.Sprintf("%s in %s holds one of patrol's tokens, in a place that patrol doesn't write", safe(s.path), path))
			}
		}
		if len(cuts) == 0 {
			return change{left: left}, nil
		}
		out := apply(content, cuts)
		again, err := parseJSON(out)
		if err == nil {
			if more, _ := plan(again, ours); len(more) == 0 {
				return change{content: out, left: left}, nil
			}
		}
		return change{}, errors.New("a token can't be taken out as the file stands: lay it out as a JSON formatter would")
	}
}

// cut takes members out of an object, and the commas that they leave over.
func cut(object value, out func(member) bool) []splice {
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
			return []splice{{object.start, object.end, "{}"}}
		}
	}
	return cuts
}

// Left returns what Write would leave alone in the file, in words.
func (d *Databrickscfg) Left() ([]string, error) {
	return survey(d.path, d.editor(d.owner.rehearsal()))
}

// Left returns what Write would leave alone in the file, in words.
func (c *Claude) Left() ([]string, error) { return survey(c.path, c.editor(c.owner.rehearsal())) }

// Left returns what Write would leave alone in the file, in words.
func (c *OpenCode) Left() ([]string, error) { return survey(c.path, c.editor(c.owner.rehearsal())) }

// survey works out an edit and makes none of it.
func survey(path string, edit editor) ([]string, error) {
	content, missing, err := look(path)
	if err != nil {
		return nil, err
	}
	want, err := edit(content, !missing)
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", path, err)
	}
	return want.left, nil
}
