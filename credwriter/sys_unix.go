//go:build linux || darwin

package credwriter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nonblock keeps an open from waiting for the other end of a pipe.
const nonblock = unix.O_NONBLOCK

// lock locks an open file against other patrols until it is closed; it
// doesn't wait.
func lock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// held reports whether lock met another patrol.
func held(err error) bool { return errors.Is(err, unix.EWOULDBLOCK) }

// keepOwner gives f the owner and group of the file that it is to replace.
func keepOwner(f *os.File, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	is, ok := now.Sys().(*syscall.Stat_t)
	was, ok2 := old.Sys().(*syscall.Stat_t)
	if !ok || !ok2 {
		return nil
	}
	if is.Uid != was.Uid {
		if err := f.Chown(int(was.Uid), int(was.Gid)); err != nil {
			return fmt.Errorf("it belongs to user %d and patrol runs as user %d: run patrol as its owner, or give the file to user %d", was.Uid, os.Geteuid(), os.Geteuid())
		}
		return nil
	}
	if is.Gid != was.Gid {
		// With mode 0600 the group has no say.
		_ = f.Chown(-1, int(was.Gid))
	}
	return nil
}

// links returns how many names the file has.
func links(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Nlink)
	}
	return 1
}

// mine reports whether the file belongs to whom patrol runs as.
func mine(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(st.Uid) == os.Geteuid() || os.Geteuid() == 0)
}

// syncDir makes renames in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	// Some file systems can't sync a folder: then they need not.
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
