package atomicfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// maxSize is the size of the largest file that is read. The files have
	// some kilobytes; a larger one is something else.
	maxSize = 16 << 20

	// patience is how long we wait for another program that is writing the
	// file, or for another patrol.
	patience = time.Second

	// quiet is for how long a file must not have changed to count as
	// written, where the system can't tell whether somebody is writing it.
	quiet = 20 * time.Millisecond

	pause = time.Millisecond
)

// errChanged says that the file is no longer the one that was read.
var errChanged = errors.New("other programs keep changing it: it is tried again later")

// target is the file that a path leads to, as it was found.
type target struct {
	path    string      // where the links of the path end
	file    *os.File    // nil if there is none
	info    fs.FileInfo // of file
	content []byte
	shared  bool // somebody keeps it open for writing, for longer than we wait
}

func (t *target) exists() bool { return t.file != nil }

func (t *target) close() { _ = t.file.Close() } // it was only read, if there is one

// open finds and reads the file that path leads to, once nobody is writing it. A
// missing one is no error. With exclusive, other patrols wait until it is closed.
func open(path string, exclusive bool) (*target, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(pause) {
		t, err := find(path)
		if err != nil || !t.exists() {
			return t, err
		}
		// After that the file is taken as it is, written and locked by others or not:
		// it is compared before it is replaced anyway.
		late := time.Now().After(deadline)
		locked := exclusive && isLocked(lock(t.file))
		written, err := t.read()
		if err == nil && late {
			t.shared = !written
			return t, nil
		}
		// A path that leads to another file by now was replaced while we waited.
		if err == nil && written && !locked && t.isAt(t.path) {
			return t, nil
		}
		t.close()
		if err != nil {
			return nil, err
		}
	}
}

// find opens the file that path leads to.
func find(path string) (*target, error) {
	end, err := follow(path)
	if err != nil {
		return nil, err
	}
	t := &target{path: end}
	info, err := os.Lstat(end)
	if err == nil {
		err = CheckRegular(end, info) // before the open: opening a device may act on it
	}
	if err == nil {
		t.file, err = os.OpenFile(end, os.O_RDONLY|nonblock, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &target{path: end}, nil
	}
	if err != nil {
		return nil, err
	}
	if t.info, err = t.file.Stat(); err != nil {
		t.close()
	}
	return t, err
}

// CheckRegular says why what stands at path can't be a credential file.
func CheckRegular(path string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return fmt.Errorf("%s is a folder: move it away, or name another file", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file (%s): move it away, or name another file", path, info.Mode().Type())
	case info.Size() > maxSize:
		return fmt.Errorf("%s has %d bytes, which is too large for a credential file (at most %d)", path, info.Size(), maxSize)
	}
	return nil
}

// follow returns where the links of path end; the last element need not
// exist. The folder of a path that is no link need not either.
func follow(path string) (string, error) {
	const maxLinks = 40 // as Linux
	start := path
	for range maxLinks {
		dir, base := filepath.Split(path)
		// The folder is resolved before ".." in a link is applied to it.
		folder, err := filepath.EvalSymlinks(cmp.Or(dir, "."))
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == start && !isBrokenLink(firstExisting(dir)):
			return filepath.Clean(path), nil // its folders are made
		case errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("%s leads to %s, whose folder is missing: make the folder, or take the link away", start, path)
		case err != nil:
			return "", err
		}
		full := filepath.Join(folder, base)
		link, err := os.Readlink(full)
		if err != nil { // no link: the caller finds out what it is
			return full, nil //nolint:nilerr // as the line above says
		}
		if path = link; !filepath.IsAbs(link) {
			path = folder + string(filepath.Separator) + link
		}
	}
	return "", fmt.Errorf("%s leads through too many links", start)
}

// firstExisting returns the folder at or above dir that is there, or the link.
func firstExisting(dir string) string {
	dir = filepath.Clean(dir)
	for isMissing(dir) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
	}
	return dir
}

// isBrokenLink reports whether what is there leads nowhere.
func isBrokenLink(path string) bool {
	_, err := os.Stat(path)
	return err != nil
}

// isMissing reports whether there is nothing at path, no link either.
func isMissing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// isAt reports whether the open file is at path.
func (t *target) isAt(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && os.SameFile(info, t.info)
}

// read reads the whole file. It reports whether nobody was writing it meanwhile.
func (t *target) read() (written bool, err error) {
	before := t.info
	if t.content, err = t.readAll(); err != nil {
		return false, err
	}
	if t.info, err = t.file.Stat(); err != nil {
		return false, err
	}
	still := before.Size() == t.info.Size() && before.ModTime().Equal(t.info.ModTime())
	return still && !t.beingWritten(), CheckRegular(t.path, t.info)
}

// readAll reads the file from its start, of which it may have been read before.
func (t *target) readAll() ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(t.file, 0, maxSize+1))
}

// beingWritten reports whether another program has the file open for writing,
// or seems to have.
func (t *target) beingWritten() bool {
	if yes, known := hasWriter(t.file); known {
		return yes
	}
	info, err := t.file.Stat()
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < quiet
}

// unchanged reports whether the target is at path as it was read, and nobody is
// writing it: once the path is known to nobody else, it never changes again.
func (t *target) unchanged(path string) bool {
	if !t.exists() {
		return isMissing(path)
	}
	if !t.isAt(path) || t.beingWritten() && !t.shared {
		return false
	}
	content, err := t.readAll()
	return err == nil && bytes.Equal(content, t.content)
}
