// Package credwriter keeps a Databricks token current in the files that other
// tools read: the Databricks profile (.databrickscfg), Claude Code's settings,
// OpenCode's credentials, a variable in a .env file, or a file that holds the
// token alone.
//
// Three promises hold for each of them, across a kill at any instant:
//
//   - A file is whole at every instant: the old one or the new one. Only the
//     token changed in it; every other byte stays, comments, line ends, key
//     order and odd numbers included.
//   - A value is replaced only if it is ours to replace: Owner.Ours knows it,
//     or the host beside it is this workspace, its gateway or our proxy.
//     Anything else is left alone and reported.
//   - A token is put only beside the host that it came with, or where its
//     user has put one of ours before. Beside our own proxy's URL a token never
//     stands: there a client key does, which opens that proxy and nothing else.
//
// A File is the disk side, and the same for all: atomicfile replaces the file,
// takes over what other programs write to it meanwhile, and says what that means
// for links, owners and modes. A Format is what one kind of file looks like: it
// makes text of text. A new kind of file is a new Format, and a function that
// returns its File.
package credwriter

import (
	"fmt"
	"slices"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// A Format knows where in a kind of file tokens stand. Its methods are pure:
// they don't keep or change the text that they get, and touch no disk. Their
// errors say what is wrong with the text, and quote no value of it.
type Format interface {
	// Set puts the token where ours stand, or belong. mayReplace is as for
	// File.Write.
	Set(text []byte, token string, mayReplace func(hash string) bool) (Edit, error)

	// Remove takes out the tokens that gone knows by their pat.Hash, where
	// Set would put one.
	Remove(text []byte, gone func(hash string) bool) (Edit, error)

	// Values returns all values that may be a token, where Set puts none too.
	Values(text []byte) ([]string, error)
}

// Edit is what a Format makes of a text.
type Edit struct {
	Text []byte   // as it is to be; nil: it is none of our business
	Left []string // what was left alone, and why
}

// File is a credential file. Its methods may be used from several goroutines
// and processes at once. They block on the disk, and up to some seconds on
// another program that is just writing the file.
type File struct {
	name, path string
	owner      Owner
	create     bool   // the file if it is missing
	blank      string // what a new file is made from
	format     Format

	// look, if not nil, is called for the format and for create each time: they
	// depend on another file.
	look func() (f Format, create bool)
}

// current returns the format, and whether a file that is missing is made.
func (f *File) current() (format Format, create bool) {
	if f.look != nil {
		return f.look()
	}
	return f.format, f.create
}

// Name returns the file's short name, as --write takes it.
func (f *File) Name() string { return f.name }

// Path returns the path as it was given.
func (f *File) Path() string { return f.path }

// Check reports why a token could not be written now; it changes nothing. It
// is nil if there is nothing to replace.
func (f *File) Check() error {
	return atomicfile.DryRun(f.path, func(old []byte, exists bool) ([]byte, error) {
		e, err := f.set(old, exists, f.owner.dummyToken(), nil)
		return e.Text, err
	})
}

// Write puts t where our tokens stand, and returns in words what it left alone.
// In a profile, mayReplace says by its pat.Hash whether the token that stands
// there may be replaced: if not, the error is pat.ErrForeign, and nothing is
// written. A nil mayReplace allows any.
func (f *File) Write(t pat.Token, mayReplace func(hash string) bool) (left []string, err error) {
	_, left, err = f.edit(func(old []byte, exists bool) (Edit, error) { return f.set(old, exists, t, mayReplace) })
	return left, err
}

// Clear takes out the tokens that gone knows by their pat.Hash, where Write
// would put one. It reports whether there was one, and what it left alone.
func (f *File) Clear(gone func(hash string) bool) (cleared bool, left []string, err error) {
	return f.edit(func(old []byte, exists bool) (Edit, error) {
		if !exists {
			return Edit{}, nil
		}
		format, _ := f.current()
		return format.Remove(old, gone)
	})
}

// Holds reports whether any value in the file is the token with this pat.Hash:
// where Write would leave it alone, too, somebody may use it.
func (f *File) Holds(hash string) (bool, error) {
	text, exists, err := atomicfile.Read(f.path)
	if err != nil || !exists {
		return false, err
	}
	format, _ := f.current()
	values, err := format.Values(text)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", f.path, err)
	}
	return slices.ContainsFunc(values, func(v string) bool { return v != "" && pat.Hash(v) == hash }), nil
}

// Left returns in words what Write would leave alone; it changes nothing.
func (f *File) Left() ([]string, error) {
	text, exists, err := atomicfile.Read(f.path)
	if err != nil {
		return nil, err
	}
	e, err := f.set(text, exists, f.owner.dummyToken(), nil)
	if err != nil {
		return nil, fmt.Errorf("looking at %s: %w", f.path, err)
	}
	return f.located(e.Left), nil
}

// set returns the edit that puts t into the file.
func (f *File) set(old []byte, exists bool, t pat.Token, mayReplace func(hash string) bool) (Edit, error) {
	token, err := f.owner.checkToken(t)
	if err != nil {
		return Edit{}, err
	}
	format, create := f.current()
	switch {
	case !exists && !create:
		return Edit{}, nil
	case !exists:
		old = []byte(f.blank)
	}
	return format.Set(old, token, mayReplace)
}

// edit brings the file to what change makes of it.
func (f *File) edit(change func(old []byte, exists bool) (Edit, error)) (changed bool, left []string, err error) {
	warnings, err := atomicfile.Edit(f.path, func(old []byte, exists bool) ([]byte, error) {
		e, err := change(old, exists)
		changed = changed || e.Text != nil
		left = f.located(e.Left)
		return e.Text, err
	})
	if err != nil {
		return false, nil, err
	}
	return changed, append(left, warnings...), nil
}

// located adds the file's path to what was left alone in it.
func (f *File) located(left []string) (all []string) {
	for _, l := range left {
		all = append(all, f.path+": "+l)
	}
	return all
}
