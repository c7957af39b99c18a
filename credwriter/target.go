package credwriter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// most is the size of the largest file that is read. The files have some
	// kilobytes; a larger one is something else.
	most = 16 << 20

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

func (t *target) close() {
	if t.file != nil {
		_ = t.file.Close() // it was only read
	}
}

// open finds and reads the file that path leads to. A missing one is no
// error. With exclusive, other patrols wait until it is closed.
func open(path string, exclusive bool) (*target, error) {
	deadline := time.Now().Add(patience)
	for {
		t, err := find(path)
		if err != nil || !t.exists() {
			return t, err
		}
		// What we can't lock, and what another patrol doesn't let go of, is
		// compared before it is replaced anyway.
		if exclusive && held(lock(t.file)) && time.Now().Before(deadline) {
			t.close()
			time.Sleep(pause)
			continue
		}
		if !t.leads() && time.Now().Before(deadline) {
			t.close() // another patrol replaced it while we waited for it
			continue
		}
		if err := t.read(); err != nil {
			t.close()
			return nil, err
		}
		return t, nil
	}
}

// find opens the file that path leads to.
func find(path string) (*target, error) {
	end, err := follow(path)
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(end)
	if errors.Is(err, fs.ErrNotExist) {
		return &target{path: end}, nil
	}
	if err != nil {
		return nil, advise(err)
	}
	if err := regular(end, info); err != nil { // before the open: opening a device may act on it
		return nil, err
	}
	f, err := os.OpenFile(end, os.O_RDONLY|nonblock, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return &target{path: end}, nil
	}
	if err != nil {
		return nil, advise(err)
	}
	if info, err = f.Stat(); err == nil {
		err = regular(end, info)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &target{path: end, file: f, info: info}, nil
}

func regular(path string, info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return fmt.Errorf("%s is a folder: move it away, or name another file", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file (%s): move it away, or name another file", path, info.Mode().Type())
	case info.Size() > most:
		return fmt.Errorf("%s has %d bytes, which is too large for a credential file (at most %d)", path, info.Size(), most)
	}
	return nil
}

// follow returns where the links of path end; the last element need not
// exist. The folder of a path that is no link need not either.
func follow(path string) (string, error) {
	const enough = 40 // as Linux
	start := path
	for range enough {
		dir, base := filepath.Split(path)
		if dir == "" {
			dir = "."
		}
		// The folder is resolved before ".." in a link is applied to it.
		folder, err := filepath.EvalSymlinks(dir)
		if errors.Is(err, fs.ErrNotExist) {
			if path == start && !dangling(dir) {
				return filepath.Clean(path), nil
			}
			return "", fmt.Errorf("%s leads to %s, whose folder is missing: make the folder, or take the link away", start, path)
		}
		if err != nil {
			return "", advise(err)
		}
		full := filepath.Join(folder, base)
		link, err := os.Readlink(full)
		if err != nil { // no link: the caller finds out what it is
			return full, nil //nolint:nilerr // as the line above says
		}
		if !filepath.IsAbs(link) {
			link = folder + string(filepath.Separator) + link
		}
		path = link
	}
	return "", fmt.Errorf("%s leads through too many links", start)
}

// dangling reports whether a folder that can't be reached is behind a link:
// then making the folder would not help.
func dangling(dir string) bool {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err == nil {
			return info.Mode()&fs.ModeSymlink != 0 && !isDir(dir)
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// leads reports whether the path still leads to the open file.
func (t *target) leads() bool {
	info, err := os.Lstat(t.path)
	return err == nil && os.SameFile(info, t.info)
}

// read reads the whole file, once nobody is writing it. A file that somebody
// writes for longer than patience is read as it is then.
func (t *target) read() error {
	deadline := time.Now().Add(patience)
	for {
		before, err := t.file.Stat()
		if err != nil {
			return err
		}
		content, err := readAll(t.file)
		if err != nil {
			return fmt.Errorf("reading %s: %w", t.path, err)
		}
		t.info, err = t.file.Stat()
		if err != nil {
			return err
		}
		t.content = content
		still := before.Size() == t.info.Size() && before.ModTime().Equal(t.info.ModTime())
		t.shared = time.Now().After(deadline)
		if t.shared || still && !t.beingWritten() {
			return regular(t.path, t.info)
		}
		time.Sleep(pause)
	}
}

// beingWritten reports whether another program has the file open for writing,
// or seems to have.
func (t *target) beingWritten() bool {
	if yes, known := writing(t.file); known {
		return yes
	}
	info, err := t.file.Stat()
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime())
	return age >= 0 && age < quiet
}

// readAll reads a file from its start, of which it may have been read before.
func readAll(f *os.File) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, 0, most+1))
}

// stands reports whether path still leads to the target as it was read, and
// nobody is writing it.
func (t *target) stands(path string) bool {
	end, err := follow(path)
	if err != nil || end != t.path {
		return false
	}
	if !t.exists() {
		_, err := os.Lstat(end)
		return errors.Is(err, fs.ErrNotExist)
	}
	if yes, known := writing(t.file); known && yes && !t.shared {
		return false
	}
	if t.info, err = t.file.Stat(); err != nil {
		return false
	}
	content, err := readAll(t.file)
	return err == nil && bytes.Equal(content, t.content) && t.leads()
}
