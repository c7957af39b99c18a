//go:build linux || darwin

package atomicfile

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

// isLocked reports whether lock met another patrol.
func isLocked(err error) bool { return errors.Is(err, unix.EWOULDBLOCK) }

// keepOwner gives f the owner and group of the file that it is to replace.
func keepOwner(f *os.File, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	is, was := stat(now), stat(old)
	if is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	err = f.Chown(int(was.Uid), int(was.Gid))
	if err != nil && is.Uid != was.Uid { // with mode 0600 the group has no say
		return fmt.Errorf("it belongs to user %d and patrol runs as user %d: run patrol as its owner, or give the file to user %d", was.Uid, os.Geteuid(), os.Geteuid())
	}
	return nil
}

// stat returns what the system says of a file that was opened.
func stat(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }

// links returns how many names the file has.
func links(info fs.FileInfo) int { return int(stat(info).Nlink) }

// syncDir makes renames in a folder last. Some network and FUSE file systems
// can't sync a folder: they keep its names in order without that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
