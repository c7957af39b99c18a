package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// change is what an editor makes of a file.
type change struct {
	content []byte   // the file as it is to be; nil: it is none of our business
	left    []string // what was left alone, and why
}

// editor works out the change. It must not keep or change content. A file
// that is missing has none, and becomes one if there is a change.
type editor func(content []byte, exists bool) (change, error)

const (
	// attempts is how often a file may change under our hands before we give
	// up, and tooLong for how long.
	attempts = 100
	tooLong  = 10 * time.Second

	// enough is after how many replacements we no longer look whether
	// somebody has undone the last: it may be another patrol doing the same.
	enough = 5
)

// replace brings the file at path to what edit makes of it: a whole new file
// by rename, or nothing if there is nothing to change. Then only its mode is
// tightened.
func replace(path string, edit editor) (left []string, err error) {
	r := replacement{path: path, edit: edit}
	start := time.Now()
	for range attempts {
		left, done, err := r.once()
		switch {
		case errors.Is(err, errChanged) && time.Since(start) < tooLong:
			time.Sleep(pause)
		case err != nil:
			return nil, fmt.Errorf("writing %s: %w", path, err)
		case done, r.made >= enough && r.newer == nil:
			return append(left, r.parted...), nil
		}
	}
	return nil, fmt.Errorf("writing %s: %w", path, errChanged)
}

type replacement struct {
	path string
	edit editor

	// If another program wrote the file while we replaced it, newer is what
	// it wrote and mine what we put there instead.
	newer, mine []byte

	made   int      // replacements
	parted []string // what to say of hard links that the rename has parted
}

// once replaces the file if there is something to change. It is done if there
// isn't: a program that read the file before we replaced it may write it after,
// and the next look, which comes after a sync, finds that out.
func (r *replacement) once() (left []string, done bool, err error) {
	t, err := open(r.path, true)
	if err != nil {
		return nil, false, err
	}
	defer t.close()
	if r.made == 0 {
		t.sweep()
	}
	want, done, err := r.plan(t)
	if err != nil || done {
		return want.left, done, err
	}
	if !t.exists() {
		if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
			return nil, false, advise(err)
		}
	}
	tmp, err := stage(t, want.content)
	if err != nil {
		return nil, false, err
	}
	// By then it is gone, or a second name, or the file that was replaced.
	defer func() { _ = os.Remove(tmp) }()
	if !t.stands(r.path) {
		return nil, false, errChanged
	}
	linked := t.exists() && links(t.info) > 1
	newer, err := t.swap(tmp, exchange)
	if err != nil {
		return nil, false, err
	}
	if linked {
		r.parted = []string{fmt.Sprintf("%s had other names (hard links): they keep the old file, and its old token", t.path)}
	}
	if err := syncDir(filepath.Dir(t.path)); err != nil {
		return nil, false, fmt.Errorf("syncing the folder: %w", err)
	}
	r.newer, r.mine, r.made = newer, want.content, r.made+1
	return want.left, false, nil
}

// plan works out what the target is to become. It is done if that is what it
// is.
func (r *replacement) plan(t *target) (want change, done bool, err error) {
	base, newer := t.content, r.newer
	r.newer = nil
	if newer != nil && bytes.Equal(t.content, r.mine) {
		base = newer
	}
	want, err = r.edit(base, t.exists())
	if err != nil && newer != nil {
		// What the other program left is nothing to build on, perhaps because
		// it was killed: the whole file that we put there stands.
		want, err = r.edit(t.content, t.exists())
	}
	switch {
	case err != nil || want.content == nil:
		return want, true, err
	case t.exists() && bytes.Equal(want.content, t.content):
		want.left = append(want.left, t.tighten()...)
		return want, true, nil
	}
	return want, false, nil
}

// swap puts the file tmp where the target is. If another program changed the
// target since it was read, newer is what it wrote. What tmp leads to
// afterwards is of no use any more. An exchange, unlike a rename, lets us look
// at what it replaced; where there is none a rename must do.
func (t *target) swap(tmp string, exchange func(a, b string) error) (newer []byte, err error) {
	if !t.exists() {
		return nil, t.create(tmp)
	}
	if runtime.GOOS == "windows" {
		t.close() // it can't rename over an open file
		return nil, advise(os.Rename(tmp, t.path))
	}
	if exchange(tmp, t.path) != nil {
		if err := os.Rename(tmp, t.path); errors.Is(err, fs.ErrNotExist) {
			return nil, errChanged // by a sweep of another patrol
		} else if err != nil {
			return nil, advise(err)
		}
		return t.written()
	}
	if info, err := os.Lstat(tmp); err != nil || os.SameFile(info, t.info) {
		return t.written()
	}
	// Another program has put a file of its own there.
	other, err := find(tmp)
	if err == nil && other.exists() && other.path == tmp {
		defer other.close()
		if err = other.read(); err == nil {
			return other.content, nil
		}
	}
	// Or what is no file, or can't be read: it must stay.
	if err := exchange(tmp, t.path); err != nil {
		return nil, fmt.Errorf("undoing the replacement of what another program put there: %w", err)
	}
	return nil, errChanged
}

// create puts the file tmp where there was none, and leaves alone what has
// come to be there.
func (t *target) create(tmp string) error {
	err := os.Link(tmp, t.path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist), errors.Is(err, fs.ErrNotExist):
		return errChanged
	}
	if _, err := os.Lstat(t.path); !errors.Is(err, fs.ErrNotExist) {
		return errChanged
	}
	if err := os.Rename(tmp, t.path); err != nil { // no hard links here
		return advise(err)
	}
	return nil
}

// written returns what another program has written into the target since it
// was read, nil if it hasn't, or has only emptied it.
func (t *target) written() (newer []byte, err error) {
	was := t.content
	if !t.beingWritten() {
		now, err := readAll(t.file)
		if err != nil || bytes.Equal(now, was) {
			return nil, err
		}
	}
	if err := t.read(); err != nil {
		return nil, err
	}
	if bytes.Equal(t.content, was) || len(bytes.TrimSpace(t.content)) == 0 {
		return nil, nil
	}
	return t.content, nil
}

// rehearse does all that replace would do, short of the rename.
func rehearse(path string, edit editor) error {
	t, err := open(path, true)
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	defer t.close()
	want, err := edit(t.content, t.exists())
	if err == nil && want.content != nil {
		err = t.probe(want.content)
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	return nil
}

// probe reports why the target could not be replaced by content.
func (t *target) probe(content []byte) error {
	if mountPoint(t.path) {
		return fmt.Errorf("%s is mounted by itself and can't be replaced: mount its folder instead", t.path)
	}
	at := *t
	for dir := filepath.Dir(t.path); !t.exists(); dir = filepath.Dir(dir) {
		// The folders that are missing would be made in the first that isn't.
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			at.path = filepath.Join(dir, filepath.Base(t.path))
			break
		}
	}
	tmp, err := stage(&at, content)
	if err != nil {
		return err
	}
	return os.Remove(tmp)
}

// look reads the file at path without changing anything; missing is true if
// there is none.
func look(path string) (content []byte, missing bool, err error) {
	t, err := open(path, false)
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", path, err)
	}
	defer t.close()
	return t.content, !t.exists(), nil
}
