package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"patrol/rotator/atomicfile"
)

const (
	fileName = "ledger"
	lockName = "lock"

	// compactAfter is how many lines may be superseded before the file is
	// written anew.
	compactAfter = 4096

	// writeAtMost is how long a record waits for the disk. What it couldn't wait for is
	// written as soon as the disk takes it.
	writeAtMost = 10 * time.Second
)

// errSlow says that the disk has not answered yet.
var errSlow = fmt.Errorf("the disk of the state folder has not written the ledger within %v", writeAtMost)

// disk is what a Ledger has open on the disk.
type disk struct {
	lock   *flock.Flock // nil: the disk refuses it
	file   *os.File     // nil: there is none yet
	size   int64        // of file
	lines  int
	closed bool
}

// close closes the file and gives the lock back.
func (d *disk) close() (err error) {
	d.closed = true
	if d.file != nil {
		err = d.file.Close()
	}
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// Save writes what could not be written, and all anew if the file has been taken
// away. It returns what Err does then. It waits for the disk, writeAtMost at most. The
// disk goes on with it after that: who asks for another Save meanwhile waits behind it.
func (l *Ledger) Save() error {
	done := make(chan error, 1)
	go func() { // ends once the disk answers, or with the process
		l.diskMu.Lock()
		defer l.diskMu.Unlock()
		if l.disk.closed {
			done <- errClosed
			return
		}
		done <- l.setErr(l.writeLocked())
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(writeAtMost):
		return l.setErr(errSlow)
	}
}

// setErr notes how a write went, logs it if that is new, and returns it.
func (l *Ledger) setErr(err error) error {
	l.mu.Lock()
	before := l.memory.err
	l.memory.err = err
	l.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		l.log.Error("the ledger can't be written: it is kept in memory and will be tried again", "folder", l.dir, "err", err)
	case err == nil && before != nil:
		l.log.Info("the ledger is written again", "folder", l.dir)
	}
	return err
}

// writeLocked brings the disk up to date: it appends the entries that are not there yet
// or, where that won't do, writes all anew. The caller holds diskMu.
func (l *Ledger) writeLocked() error {
	l.mu.Lock()
	unsaved := l.memory.unsaved
	l.memory.unsaved = nil
	// After a write that failed the end of the file can't be trusted.
	rewrite := l.memory.outdated || l.memory.err != nil || l.disk.lines-len(l.memory.entries) > compactAfter
	if rewrite {
		l.memory.prune(l.now().Add(-keepEnded))
	}
	l.mu.Unlock()
	switch {
	case rewrite || !l.inPlaceLocked():
		return l.rewriteLocked()
	case len(unsaved) == 0:
		return nil
	}
	return l.appendLocked(unsaved)
}

// appendLocked appends entries to the file. The caller holds diskMu.
func (l *Ledger) appendLocked(entries []Entry) error {
	var lines []byte
	var err error
	for _, e := range entries {
		if lines, err = appendLine(lines, e); err != nil {
			return err
		}
	}
	if _, err = l.disk.file.WriteAt(lines, l.disk.size); err == nil {
		err = l.disk.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("recording %s of token %s in the ledger: %w", entries[0].Stage, entries[0].Nonce, err)
	}
	l.disk.size += int64(len(lines))
	l.disk.lines += len(entries)
	return nil
}

// rewriteLocked writes the ledger anew, in place of the file that is there, and
// opens it for appending. The old file stays whole until the new one is on
// the disk. The caller holds diskMu.
func (l *Ledger) rewriteLocked() error {
	if err := l.lockLocked(); errors.Is(err, ErrLocked) {
		return fmt.Errorf("%w: it began there anew when the folder was taken away or replaced; end one of the two, and what this one knows only in memory is written there", err)
	} else if err != nil {
		return err
	}
	// Without the lock another may have written there since load.
	if l.Locked() != nil || l.disk.file != nil && !l.inPlaceLocked() {
		if err := l.takeOverLocked(); err != nil {
			return err
		}
	}
	data, lines, err := l.snapshot()
	if err != nil {
		return err
	}
	file, err := atomicfile.Create(filepath.Join(l.dir, fileName), data)
	if err != nil {
		return fmt.Errorf("writing the ledger anew: %w", err)
	}
	if l.disk.file != nil {
		_ = l.disk.file.Close() // superseded: nothing in it is needed
	}
	l.disk.file, l.disk.size, l.disk.lines = file, int64(len(data)), lines
	l.writeNotes()
	return nil
}

// snapshot returns the file's content as it should be, and how many entries it holds.
func (l *Ledger) snapshot() (data []byte, lines int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if data, err = appendLine(nil, header{Version: version, Instance: l.instance, Gaps: l.memory.incomplete}); err != nil {
		return nil, 0, err
	}
	for _, e := range l.memory.entries {
		if data, err = appendLine(data, e); err != nil {
			return nil, 0, err
		}
	}
	l.memory.unsaved, l.memory.outdated = nil, false
	return data, len(l.memory.entries), nil
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

// lockLocked locks the folder that stands there now, which is made if it is missing.
// The caller holds diskMu.
func (l *Ledger) lockLocked() error {
	old := l.disk.lock
	if old != nil {
		if held, err := old.Stat(); err == nil && isAt(held, old.Path()) {
			return nil
		}
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return fmt.Errorf("making the state folder: %w", err)
	}
	if err := l.checkOwner(); err != nil {
		return err
	}
	lock := flock.New(filepath.Join(l.dir, lockName), flock.SetPermissions(0o600))
	switch got, err := lock.TryLock(); {
	case err != nil:
		return fmt.Errorf("locking the state folder %s: %w", l.dir, err)
	case !got:
		return fmt.Errorf("%s: %w", l.dir, ErrLocked)
	}
	if old != nil {
		_ = old.Close() // of a file that is gone
	}
	l.disk.lock = lock
	return nil
}

// checkOwner makes sure that the folder that stands there now, and the ledger in it, are
// ours. What can't be seen fails later, with a better error.
func (l *Ledger) checkOwner() error {
	for _, path := range []string{l.dir, filepath.Join(l.dir, fileName)} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if err := checkOwner(path, info); err != nil {
			return err
		}
	}
	return nil
}

// takeOverLocked adds what the ledger in our place knows and we don't: the tokens
// that another patrol minted there have no other record. The folder is ours alone
// then. The caller holds diskMu.
func (l *Ledger) takeOverLocked() error {
	got, err := l.readOrSetAside()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory.unlocked = nil
	// Where both know a token, ours is of the process that uses it.
	theirs := got.list(func(e Entry) bool {
		return !slices.ContainsFunc(l.memory.entries, hasNonce(e.Nonce)) && !slices.ContainsFunc(l.memory.entries, hasHash(e.Hash))
	})
	for _, e := range theirs {
		l.memory.remember(e)
	}
	l.memory.incomplete = l.memory.incomplete || got.incomplete
	if len(theirs) > 0 {
		l.memory.takenOver = true
		l.log.Warn("another ledger stood where this one was taken away: what it knows was taken over", "folder", l.dir, "instance", got.instance, "entries", len(theirs))
	}
	return nil
}

func isAt(info fs.FileInfo, path string) bool {
	there, err := os.Stat(path)
	return err == nil && os.SameFile(info, there)
}
