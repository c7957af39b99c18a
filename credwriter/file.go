package credwriter

import (
	"patrol/rotator/atomicfile"
)

// change is what an editor makes of a file.
type change struct {
	content []byte   // the file as it is to be; nil: it is none of our business
	left    []string // what was left alone, and why
}

// editor works out the change. It must not keep or change content. A file
// that is missing has none, and becomes one if there is a change.
type editor func(content []byte, exists bool) (change, error)

// replace brings the file at path to what edit makes of it.
func replace(path string, edit editor) (left []string, err error) {
	warnings, err := atomicfile.Edit(path, func(old []byte, exists bool) ([]byte, error) {
		c, err := edit(old, exists)
		left = c.left
		return c.content, err
	})
	if err != nil {
		return nil, err
	}
	return append(left, warnings...), nil
}

// dryRun does all that replace would do, short of the rename.
func dryRun(path string, edit editor) error {
	return atomicfile.DryRun(path, func(old []byte, exists bool) ([]byte, error) {
		c, err := edit(old, exists)
		return c.content, err
	})
}

// look reads the file at path without changing anything; missing is true if
// there is none.
func look(path string) (content []byte, missing bool, err error) {
	content, exists, err := atomicfile.Read(path)
	return content, !exists, err
}
