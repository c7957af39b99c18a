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

// inPlaceLocked reports whether the file that is written is the one that the next start
// will read. It isn't if somebody has taken the state folder away: what is written then
// goes where nobody finds it, without an error. The caller holds diskMu.
func (l *Ledger) inPlaceLocked() bool {
	if l.disk.file == nil {
		return false
	}
	info, err := l.disk.file.Stat()
	return err == nil && isAt(info, filepath.Join(l.dir, fileName))
}

// ensureFolderLocked makes sure that there is a state folder, that its lock is ours, and
// that what stands there of another ledger is known before it is overwritten. The caller
// holds diskMu.
func (l *Ledger) ensureFolderLocked() error {
	late := l.disk.lock == nil // another may have used the folder until now
	if err := l.ensureLockLocked(); err != nil {
		return err
	}
	if !late && (l.disk.file == nil || l.inPlaceLocked()) {
		return nil // load has read it, or it is ours
	}
	return l.merge()
}

// ensureLockLocked locks the folder that stands there now. The caller holds diskMu.
func (l *Ledger) ensureLockLocked() error {
	if l.disk.lock != nil {
		if held, err := l.disk.lock.Stat(); err == nil && isAt(held, l.disk.lock.Path()) {
			return nil
		}
	}
	lock, err := lockFolder(l.dir)
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("%w: it began there anew when the folder was taken away or replaced; end one of the two, and what this one knows only in memory is written there", err)
	}
	if err != nil {
		return err
	}
	if l.disk.lock != nil {
		_ = l.disk.lock.Close() // of a file that is gone
	}
	l.disk.lock = lock
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory.unlocked = nil
	return nil
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
	there := newMemory()
	for _, e := range got.entries {
		there.remember(e)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	added := 0
	for _, nonce := range there.order {
		e := there.entries[nonce]
		_, known := l.memory.entries[nonce]
		_, same := l.memory.entries[l.memory.byHash[e.Hash]]
		if known || e.Hash != "" && same {
			continue // ours is of the process that uses the token
		}
		l.memory.remember(e)
		added++
	}
	l.memory.takenOver = l.memory.takenOver || added > 0
	l.memory.incomplete = l.memory.incomplete || got.gaps
	if added > 0 {
		l.log.Warn("another ledger stood where this one was taken away: what it knows was taken over", "folder", l.dir, "instance", got.instance, "entries", added)
	}
	return nil
}

func isAt(info fs.FileInfo, path string) bool {
	there, err := os.Stat(path)
	return err == nil && os.SameFile(info, there)
}
