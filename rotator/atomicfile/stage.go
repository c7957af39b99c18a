package atomicfile

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// stale is the age at which a temporary file counts as left behind, where locks
// don't tell.
const stale = time.Minute

// stage writes content to a new file, durably, and returns it open. It belongs
// to whom the file belongs that it is to replace, if there is one.
func stage(path string, content []byte, old fs.FileInfo) (_ *os.File, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(path)
		}
	}()
	_ = lock(f) // tells a sweep that we are alive; without it, its age does
	if old != nil {
		if err := keepOwner(f, old); err != nil {
			return nil, err
		}
	}
	_ = f.Chmod(0o600) // it is no wider; an odd umask may have taken from it
	if _, err := f.Write(content); err != nil {
		return nil, err
	}
	return f, f.Sync()
}

// stage writes content to a new file that is to replace the target.
func (t *target) stage(tmp string, content []byte) error {
	f, err := stage(tmp, content, t.info)
	if err != nil {
		return err
	}
	return f.Close()
}

// tempName returns a new name beside the target.
func (t *target) tempName() string {
	return filepath.Join(filepath.Dir(t.path), tempPrefix(t.path)+rand.Text())
}

// tempPrefix is what the names of a file's temporary files start with.
func tempPrefix(path string) string {
	return "." + strings.TrimPrefix(filepath.Base(path), ".") + ".patrol-"
}

// sweep removes the temporary files that killed runs have left beside the
// target: they hold tokens. What it can't remove waits for the next time.
func (t *target) sweep() {
	dir := filepath.Dir(t.path)
	ours := regexp.MustCompile("^" + regexp.QuoteMeta(tempPrefix(t.path)) + "[A-Z2-7]{26}$") // as rand.Text
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); ours.MatchString(e.Name()) && t.isLeftover(path) {
			_ = os.Remove(path)
		}
	}
}

// isLeftover reports whether no live run owns the temporary file at path.
// Should it be wrong, that run finds its file gone and starts over.
func (t *target) isLeftover(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() {
		return false
	}
	if t.exists() && os.SameFile(info, t.info) { // the name under which it was made
		return true
	}
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	err = lock(f)
	return err == nil || !isLocked(err) && time.Since(info.ModTime()) > stale
}
