// Package atomicfile replaces files as a whole, durably: a new file is written
// beside the old one, synced, and renamed over it, and the folder is synced. A
// reader sees the old file or the new one, never a part of one, and so does
// whoever comes after a crash. All files have mode 0600.
//
// Write and Create are for files that only one process at a time writes. Edit
// is for files that other programs write too, some in place and none with a
// lock that we could share: it reads the file once more before the rename, and
// looks at the replaced file after it. What another program wrote in between
// is put back, and the edit is made anew on top of it. On a file system that
// can neither exchange two files nor make hard links nothing can be put back.
//
// Edit follows links: the file that they lead to is replaced, not they. The new
// file belongs to whom the old one did. A hard link can't survive a rename;
// Edit reports that it was broken. Access lists and extended attributes aren't
// carried over.
package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// Write puts a file with this content in place of what is at path. Only one
// process at a time may write to a path.
func Write(path string, content []byte) error {
	f, err := Create(path, content)
	if err != nil {
		return err
	}
	return f.Close()
}

// Create does what Write does, and returns the new file open for reading and
// writing.
func Create(path string, content []byte) (*os.File, error) {
	tmp := path + ".new" // a fixed name: what a killed process left is overwritten
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, advise(err)
	}
	f, err := stage(tmp, content, nil)
	if err != nil {
		return nil, advise(err)
	}
	err = os.Rename(tmp, path)
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = f.Close()
		_ = os.Remove(tmp)
		return nil, advise(err)
	}
	return f, nil
}

// Func works out what a file is to become; nil leaves it alone. It must not
// keep or change old. A file that is missing is made if the result isn't nil.
type Func func(old []byte, exists bool) ([]byte, error)

const (
	// editLimit is for how long a file may change under our hands before we
	// give up.
	editLimit = 3 * time.Second

	// maxReplaced is after how many replacements we no longer look whether
	// somebody has undone the last: it may be another patrol doing the same.
	maxReplaced = 5
)

// Edit brings the file at path to what edit makes of it, and calls edit as
// often as the file changes meanwhile. If there is nothing to change, only its
// mode is tightened. It returns what its user should know, in words. It blocks
// on the disk, and up to some seconds on a program that is writing the file.
func Edit(path string, edit Func) (warnings []string, err error) {
	e := editing{path: path, edit: edit}
	deadline := time.Now().Add(editLimit)
	for e.replaced < maxReplaced {
		done, err := e.attempt()
		switch {
		case errors.Is(err, errChanged) && time.Now().Before(deadline):
			time.Sleep(pause)
		case err != nil:
			return nil, fmt.Errorf("writing %s: %w", path, advise(err))
		case done:
			return e.warnings, nil
		}
	}
	return e.warnings, nil
}

// editing is an Edit under way.
type editing struct {
	path     string
	edit     Func
	replaced int // how often it was
	warnings []string
}

// attempt replaces the file if there is something to change. It is done if
// there isn't: a program that read the file before we replaced it may write it
// after, and the next attempt, which comes after a sync, finds that out.
func (e *editing) attempt() (done bool, err error) {
	t, err := open(e.path, true)
	if err != nil {
		return false, err
	}
	defer t.close()
	if e.replaced == 0 {
		t.sweep()
	}
	content, err := e.edit(t.content, t.exists())
	switch {
	case err != nil || content == nil:
		return true, err
	case t.exists() && bytes.Equal(content, t.content):
		e.tighten(t)
		return true, nil
	}
	return false, e.replace(t, content)
}

// replace puts a file with this content where the target is.
func (e *editing) replace(t *target, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
		return err
	}
	tmp := t.tempName()
	// In the end it is gone, or a second name, or the file that was replaced.
	defer func() { _ = os.Remove(tmp) }()
	if err := t.stage(tmp, content); err != nil {
		return err
	}
	if end, err := follow(e.path); err != nil || end != t.path || !t.unchanged(t.path) {
		return errChanged
	}
	if err := t.swap(tmp, exchange); err != nil {
		return err
	}
	e.replaced++
	if t.exists() && links(t.info) > 1 {
		e.warn("%s had other names (hard links): they keep the old file, and its old token", t.path)
	}
	if err := syncDir(filepath.Dir(t.path)); err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	return nil
}

// tighten takes the file away from everybody but its owner.
func (e *editing) tighten(t *target) {
	if t.info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" {
		return
	}
	if err := t.file.Chmod(0o600); err != nil {
		e.warn("other users may read %s, and that could not be changed: %v", t.path, err)
	}
}

func (e *editing) warn(format string, args ...any) {
	e.warnings = append(e.warnings, fmt.Sprintf(format, args...))
}

// swap puts the file tmp where the target is. If another program changed the
// target since it was read, swap puts that back and returns errChanged. What
// tmp leads to afterwards is of no use any more.
func (t *target) swap(tmp string, exchange func(a, b string) error) error {
	if !t.exists() {
		return t.create(tmp)
	}
	if runtime.GOOS == "windows" {
		t.close() // it can't rename over an open file
		return os.Rename(tmp, t.path)
	}
	kept, err := t.exchange(tmp, exchange)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errChanged // another patrol took tmp for a leftover
	case err != nil:
		return err
	case !kept || t.unchanged(tmp):
		return nil
	}
	if _, err := t.exchange(tmp, exchange); err != nil {
		return fmt.Errorf("putting back what another program wrote: %w", err)
	}
	return errChanged
}

// exchange swaps what tmp and the target's path lead to; kept is false if what
// was at the path is gone. Where the file system has no such step, a hard link
// keeps it.
func (t *target) exchange(tmp string, exchange func(a, b string) error) (kept bool, err error) {
	if exchange(tmp, t.path) == nil {
		return true, nil
	}
	spare := t.tempName()
	linked := os.Link(t.path, spare) == nil
	if err := os.Rename(tmp, t.path); err != nil {
		_ = os.Remove(spare)
		return false, err
	}
	return linked && os.Rename(spare, tmp) == nil, nil
}

// create puts the file tmp where there was none, and leaves alone what has
// come to be there.
func (t *target) create(tmp string) error {
	err := os.Link(tmp, t.path)
	if err != nil && isMissing(t.path) { // no hard links here
		err = os.Rename(tmp, t.path)
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return errChanged
	}
	return err
}

// DryRun does all that Edit would do, short of the rename, and leaves nothing
// behind.
func DryRun(path string, edit Func) error {
	t, err := open(path, true)
	if err == nil {
		defer t.close()
		err = t.tryEdit(edit)
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, advise(err))
	}
	return nil
}

// tryEdit reports why the target could not be edited.
func (t *target) tryEdit(edit Func) error {
	content, err := edit(t.content, t.exists())
	switch {
	case err != nil || content == nil:
		return err
	case isMountPoint(t.path):
		return fmt.Errorf("%s is mounted by itself and can't be replaced: mount its folder instead", t.path)
	}
	// Folders that are missing would be made in the first that isn't.
	tmp := filepath.Join(firstExisting(filepath.Dir(t.path)), filepath.Base(t.tempName()))
	if err := t.stage(tmp, content); err != nil {
		return err
	}
	return os.Remove(tmp)
}

// Read returns the content of the file at path, once no other program is
// writing it. A file that is missing is no error.
func Read(path string) (content []byte, exists bool, err error) {
	t, err := open(path, false)
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", path, advise(err))
	}
	defer t.close()
	return t.content, t.exists(), nil
}

// advise adds to an error of the disk what to do about it.
func advise(err error) error {
	for _, a := range []struct {
		err  error
		todo string
	}{
		{syscall.ENOSPC, "free some space on its disk"},
		{syscall.EDQUOT, "free some of your space on its disk"},
		{syscall.EROFS, "its file system is read-only: mount it writable, or name another place for the file"},
		{syscall.EBUSY, "it may be mounted by itself: mount its folder instead"},
		{fs.ErrPermission, fmt.Sprintf("give user %d the right to it and to write its folder", os.Geteuid())},
		{syscall.ENOTDIR, "a part of its path is a file, not a folder"},
	} {
		if errors.Is(err, a.err) {
			return fmt.Errorf("%w: %s", err, a.todo)
		}
	}
	return err
}

// diskErrors are what a disk says that is full, read-only or failing, or that has no locks.
var diskErrors = []error{syscall.ENOSPC, syscall.EROFS, syscall.EIO, syscall.EDQUOT, syscall.ENOLCK, syscall.EOPNOTSUPP}

// IsDiskError reports whether an error is the disk's (full, read-only, failing), and no
// mistake in how things are set up: it may pass.
func IsDiskError(err error) bool {
	return slices.ContainsFunc(diskErrors, func(e error) bool { return errors.Is(err, e) })
}
