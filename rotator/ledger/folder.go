package ledger

import (
	"errors"
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

// inPlace reports whether the file that is written is the one that the next
// start will read. It isn't if somebody has taken the state folder away: what
// is written then goes where nobody finds it, without an error.
func (l *Ledger) inPlace() bool {
	info, err := l.file.Stat()
	return err == nil && isAt(info, filepath.Join(l.dir, fileName))
}

// ensureFolder makes sure that there is a state folder, that its lock is ours, and
// that what stands there of another ledger is known before it is overwritten.
func (l *Ledger) ensureFolder() error {
	if held, err := l.lock.Stat(); err != nil || !isAt(held, l.lock.Path()) {
		lock, err := lockFolder(l.dir)
		if errors.Is(err, ErrLocked) {
			return fmt.Errorf("%w: it began there anew when the folder was taken away or replaced; end one of the two, and what this one knows only in memory is written there", err)
		}
		if err != nil {
			return err
		}
		_ = l.lock.Close() // of a file that is gone
		l.lock = lock
	}
	if l.file == nil || l.inPlace() {
		return nil // load has read it, or it is ours
	}
	return l.merge()
}

// merge takes over what the ledger in our place knows and we don't: the tokens
// that another patrol minted there have no other record.
func (l *Ledger) merge() error {
	got, err := l.examine(filepath.Join(l.dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	there := &Ledger{entries: map[string]Entry{}, byHash: map[string]string{}}
	for _, e := range got.entries {
		there.remember(e)
	}
	added := 0
	for _, nonce := range there.order {
		e := there.entries[nonce]
		_, known := l.entries[nonce]
		_, same := l.entries[l.byHash[e.Hash]]
		if known || e.Hash != "" && same {
			continue // ours is of the process that uses the token
		}
		l.remember(e)
		added++
	}
	l.taken = l.taken || added > 0
	l.incomplete = l.incomplete || got.gaps
	if added > 0 {
		l.log.Warn("another ledger stood where this one was taken away: what it knows was taken over", "folder", l.dir, "instance", got.instance, "entries", added)
	}
	return nil
}

func isAt(info fs.FileInfo, path string) bool {
	there, err := os.Stat(path)
	return err == nil && os.SameFile(info, there)
}
