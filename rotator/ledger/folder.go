package ledger

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockFolder makes the state folder if it is missing, and locks it.
func lockFolder(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	lock := flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("locking the state folder %s: %w", dir, err)
	}
	if !got {
		return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
	}
	return lock, nil
}

// stands reports whether the file that is written is the one that the next
// start will read. It isn't if somebody has taken the state folder away: what
// is written then goes where nobody finds it, without an error.
func (l *Ledger) stands() bool {
	info, err := l.file.Stat()
	return err == nil && isAt(info, filepath.Join(l.dir, fileName))
}

// settle makes sure that there is a state folder, and that its lock is ours.
func (l *Ledger) settle() error {
	if held, err := l.lock.Stat(); err == nil && isAt(held, l.lock.Path()) {
		return nil
	}
	lock, err := lockFolder(l.dir)
	if err != nil {
		return err
	}
	_ = l.lock.Close() // of a file that is gone
	l.lock = lock
	return nil
}

func isAt(info fs.FileInfo, path string) bool {
	there, err := os.Stat(path)
	return err == nil && os.SameFile(info, there)
}
