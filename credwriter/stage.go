package credwriter

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stale is the age at which a temporary file counts as left behind, where locks
// don't tell.
const stale = time.Minute

// stage writes content to a new file beside the target, as the target's owner
// and durably, and returns its name.
func stage(t *target, content []byte) (tmp string, err error) {
	dir := filepath.Dir(t.path)
	tmp = filepath.Join(dir, prefix(t.path)+rand.Text())
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", advise(err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp)
			tmp, err = "", advise(err)
		}
	}()
	_ = lock(f) // tells a sweep that we are alive; without it, its age does
	if t.exists() {
		if err := keepOwner(f, t.info); err != nil {
			return tmp, err
		}
	}
	_ = f.Chmod(0o600) // it is no wider; an odd umask may have taken from it
	if _, err := f.Write(content); err != nil {
		return tmp, err
	}
	if err := f.Sync(); err != nil {
		return tmp, err
	}
	return tmp, f.Close()
}

// prefix is what the names of a target's temporary files start with.
func prefix(path string) string {
	return "." + strings.TrimPrefix(filepath.Base(path), ".") + ".patrol-"
}

// sweep removes the temporary files that killed runs have left beside the
// target: they hold tokens. What it can't remove waits for the next time.
func (t *target) sweep() {
	dir := filepath.Dir(t.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix(t.path))
		if !ok || len(rest) != len(rand.Text()) || strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
			continue
		}
		if path := filepath.Join(dir, e.Name()); t.abandoned(path) {
			_ = os.Remove(path)
		}
	}
}

// abandoned reports whether no live run owns the temporary file at path. Should
// it be wrong, that run finds its file gone and starts over.
func (t *target) abandoned(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || !mine(info) {
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
	switch err := lock(f); {
	case held(err):
		return false
	case err != nil:
		return time.Since(info.ModTime()) > stale
	}
	return true
}

// tighten takes the file away from everybody but its owner. If that can't be,
// it returns what to say about it.
func (t *target) tighten() (left []string) {
	if t.info.Mode().Perm()&0o077 == 0 || runtime.GOOS == "windows" {
		return nil
	}
	if err := t.file.Chmod(0o600); err != nil {
		return []string{fmt.Sprintf("other users may read %s, and that could not be changed: %v", t.path, err)}
	}
	return nil
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
