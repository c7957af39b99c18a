package credwriter

import (
	"errors"
	"fmt"

	"patrol/rotator/pat"
)

// jsonEdit is one edit of a JSON file under way.
type jsonEdit struct {
	path  string
	owner Owner
	token string // the value to write
	file  *jsonFile

	holds   bool // some place holds the token, or will
	splices []splice
	left    []string
}

// editJSON returns the edit by which plan puts t into the file at path. With
// create, a file that is missing is taken for an empty object.
func editJSON(path string, o Owner, t pat.Token, create bool, plan func(*jsonEdit) error) editor {
	return func(content []byte, exists bool) (change, error) {
		token, err := o.admit(t)
		if err != nil {
			return change{}, err
		}
		if !exists {
			if !create {
				return change{}, nil
			}
			content = []byte("{}\n")
		}
		run := func(content []byte) (jsonEdit, error) {
			e := jsonEdit{path: path, owner: o, token: token}
			if e.file, err = parseJSON(content); err != nil {
				return e, err
			}
			return e, plan(&e)
		}
		e, err := run(content)
		if err != nil {
			return change{}, err
		}
		e.report()
		if !e.holds {
			return change{left: e.left}, nil
		}
		out := apply(content, e.splices)
		// What we wrote must read as what we meant: then nothing is left to do.
		if again, err := run(out); err != nil || !again.holds || len(again.splices) > 0 {
			return change{}, errors.New("it can't be changed without changing what else is read from it: lay it out as a JSON formatter would")
		}
		return change{content: out, left: e.left}, nil
	}
}

// mine reports whether v is one of our tokens, the one to write included.
func (e *jsonEdit) mine(v value) bool {
	return v.isString() && (v.str == e.token || e.owner.ours(v.str))
}

// put puts the token in place of v.
func (e *jsonEdit) put(v value) {
	e.holds = true
	if v.str != e.token {
		e.splices = append(e.splices, splice{v.start, v.end, quote(e.token)})
	}
}

// add adds members to an object depth levels deep.
func (e *jsonEdit) add(object value, depth int, pairs ...pair) {
	e.holds = true
	e.splices = append(e.splices, e.file.add(object, depth, pairs...))
}

func (e *jsonEdit) leave(format string, args ...any) {
	e.left = append(e.left, fmt.Sprintf(format, args...))
}

// report adds to what was left alone our tokens in places that we don't write.
func (e *jsonEdit) report() {
	for _, s := range e.file.strings() {
		if s.value == e.token || !e.owner.ours(s.value) {
			continue
		}
		replaced := false
		for _, sp := range e.splices {
			replaced = replaced || sp.start < s.end && s.end <= sp.end
		}
		if !replaced {
			e.leave("%s in %s holds one of patrol's tokens, in a place that patrol doesn't write", safe(s.path), e.path)
		}
	}
}

// holdsJSON reports whether any string in a JSON file has this hash.
func holdsJSON(path, hash string) (bool, error) {
	content, missing, err := look(path)
	if err != nil || missing {
		return false, err
	}
	f, err := parseJSON(content)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, s := range f.strings() {
		if s.value != "" && pat.Hash(s.value) == hash {
			return true, nil
		}
	}
	return false, nil
}
