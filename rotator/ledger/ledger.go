// Package ledger is patrol's memory: a crash-safe record of each token that
// was minted, how far it has come, and what is still to be revoked. It holds
// ids and hashes, never a token's value.
//
// The file is append-only. A line is one entry as it stands after a step, the
// last line of a nonce holds, and Put returns once the line is on the disk.
// At Open a torn last line is cut off, a file that has rotted is set aside
// with what is whole in it carried over, and the rest is compacted. That a
// file has rotted is noted in the one that takes its place, until MarkComplete.
//
// Open locks the folder, so that one process at a time has the ledger; Read needs
// no lock. An entry that can't be written is kept in memory until a later Put or Save
// writes it.
package ledger

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

const (
	fileName = "ledger"
	lockName = "lock"

	// instanceName is the file with a second copy of the instance: a ledger
	// that is lost must not make this patrol a stranger to its own tokens.
	instanceName = "instance"

	// folderName is the file with the digits that tell this state folder's mints from
	// those of another one whose patrol has the same instance.
	folderName = "folder"

	// keepEnded is how long the ledger knows a token after its end, so that
	// its value is still known as ours where a file or a client holds it.
	keepEnded = 90 * 24 * time.Hour

	// maxEnded bounds how many ended tokens it knows, whatever their age.
	maxEnded = 2000

	// compactAfter is how many lines may be superseded before the file is
	// written anew.
	compactAfter = 4096
)

// ErrLocked is what Open returns while another process has the ledger open.
var ErrLocked = errors.New("another patrol is using this state folder")

// errClosed is what is returned for what comes after Close.
var errClosed = errors.New("the ledger is closed")

// Config says where a ledger lives and whose it is.
type Config struct {
	Dir      string           // the state folder; made (0700) if it is missing
	Instance string           // overrides the instance in the folder; "" takes that, or makes one
	Now      func() time.Time // nil is time.Now
	Log      *slog.Logger     // nil discards
}

// Ledger is an open ledger. Its methods may be called from several goroutines. Those
// that ask never wait for the disk; those that record wait for it, writeAtMost at most.
type Ledger struct {
	dir      string
	now      func() time.Time
	log      *slog.Logger
	instance string
	folder   string // the first digits of its nonces

	// diskMu is held while the disk is written, for as long as that takes. It is taken
	// before mu.
	diskMu sync.Mutex
	disk   disk // guarded by diskMu

	mu     sync.Mutex // guards memory; held over nothing that blocks
	memory memory
}

// disk is what a Ledger has open on the disk.
type disk struct {
	lock   *flock.Flock // nil: the disk refuses it
	file   *os.File     // nil: there is none yet
	size   int64        // of what is whole in file
	lines  int
	broken bool // the file's end can't be trusted: write it anew
	closed bool
}

// memory is what a Ledger knows.
type memory struct {
	entries    map[string]Entry  // by nonce
	byHash     map[string]string // nonces
	order      []string          // nonces, oldest first
	unsaved    []string          // nonces of entries that are not on the disk yet
	incomplete bool              // entries may be missing: see Incomplete
	takenOver  bool              // entries of another ledger were taken over: see ClearTakenOver
	unlocked   error             // why the state folder can't be locked; nil if it is
	err        error             // how the last write went
}

func newMemory() memory { return memory{entries: map[string]Entry{}, byHash: map[string]string{}} }

// writeAtMost is how long a record waits for the disk. What it couldn't wait for is written
// as soon as the disk takes it.
const writeAtMost = 10 * time.Second

// errSlow says that the disk has not answered yet.
var errSlow = fmt.Errorf("the disk of the state folder has not written the ledger within %v", writeAtMost)

// Open locks the state folder and reads its ledger. It doesn't wait for a lock that
// another process holds: it returns ErrLocked. The lock goes with the process, however
// that ends.
//
// A disk that is full, read-only or failing is no error: the ledger is kept in memory,
// Err says why, and Save writes it once that works. Locked tells whether the folder is
// ours alone.
func Open(cfg Config) (*Ledger, error) {
	l := &Ledger{dir: cfg.Dir, now: cfg.Now, log: cfg.Log, memory: newMemory()}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil && !atomicfile.IsDiskError(err) {
		return nil, err
	}
	l.disk.lock, l.memory.unlocked = lock, err
	if err := l.load(cfg.Instance); err != nil {
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
		return nil, err
	}
	if l.memory.unlocked != nil {
		l.memory.err = l.memory.unlocked
		l.log.Error("the state folder can't be locked: patrol serves, and mints and revokes nothing until it can be", "folder", l.dir, "err", err)
		return l, nil
	}
	l.diskMu.Lock()
	defer l.diskMu.Unlock()
	if err := l.saveLocked(l.rewriteLocked); err != nil && !atomicfile.IsDiskError(err) {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

// RandomNonce returns 16 random hex digits, which name one mint.
func RandomNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// Instance is the name by which this patrol knows its tokens from those of
// the same user's other patrols.
func (l *Ledger) Instance() string { return l.instance }

// Incomplete reports whether the ledger was corrupt or gone at an Open, this one
// or an earlier one, and MarkComplete was not called since: entries may be missing.
func (l *Ledger) Incomplete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.incomplete
}

// MarkComplete records that what was missing has been put back as far as it can be.
// If that can't be written, the ledger stays incomplete.
func (l *Ledger) MarkComplete() error {
	if !l.Incomplete() {
		return nil
	}
	return l.save(func() error {
		l.setIncomplete(false)
		err := l.rewriteLocked()
		l.setIncomplete(err != nil)
		return err
	})
}

func (l *Ledger) setIncomplete(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory.incomplete = yes
}

// Err returns why the last record could not be written; nil once all that the
// ledger knows is on the disk.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.err
}

// Locked returns why the state folder can't be locked; nil if it is ours alone. Without
// the lock another process may mint and revoke with the same ledger.
func (l *Ledger) Locked() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.unlocked
}

// Save writes what could not be written, and all anew if the file has been taken
// away. It returns what Err does then.
func (l *Ledger) Save() error {
	return l.save(func() error {
		if l.Err() == nil && l.inPlaceLocked() {
			return nil
		}
		return l.rewriteLocked()
	})
}

// Put records e in place of what its nonce's entry was, sets its At, and
// returns once the record is on the disk. If the disk fails, or takes longer than
// writeAtMost, e is remembered all the same, and is written later.
func (l *Ledger) Put(e Entry) error {
	e.At = l.now().Round(0).UTC()
	l.mu.Lock()
	l.memory.remember(e)
	l.memory.unsaved = append(l.memory.unsaved, e.Nonce)
	l.mu.Unlock()
	return l.save(l.appendLocked)
}

// save has write bring the disk up to date, and waits for it, writeAtMost at most. The
// disk goes on with it after that: who asks for another save meanwhile waits behind it.
func (l *Ledger) save(write func() error) error {
	done := make(chan error, 1)
	go func() { // ends once the disk answers, or with the process
		l.diskMu.Lock()
		defer l.diskMu.Unlock()
		done <- l.saveLocked(write)
	}()
	timer := time.NewTimer(writeAtMost)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		l.setErr(errSlow)
		return errSlow
	}
}

// setErr notes how a write went, and logs it if that is new.
func (l *Ledger) setErr(err error) {
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
}

// saveLocked writes, and notes how that went. The caller holds diskMu.
func (l *Ledger) saveLocked(write func() error) error {
	if l.disk.closed {
		return errClosed
	}
	err := write()
	l.setErr(err)
	return err
}

// appendLocked appends the entries that are not on the disk yet. The caller holds diskMu.
func (l *Ledger) appendLocked() error {
	l.mu.Lock()
	entries := l.memory.takeUnsaved()
	rewrite := l.disk.broken || l.disk.lines-len(l.memory.entries) > compactAfter
	if rewrite {
		l.memory.prune(l.now().Add(-keepEnded))
	}
	l.mu.Unlock()
	if rewrite || !l.inPlaceLocked() {
		return l.rewriteLocked()
	}
	var lines []byte
	for _, e := range entries {
		line, err := encode(e)
		if err != nil {
			return err
		}
		lines = append(lines, line...)
	}
	if len(lines) == 0 {
		return l.Err() // another save has written them
	}
	_, err := l.disk.file.WriteAt(lines, l.disk.size)
	if err == nil {
		err = l.disk.file.Sync()
	}
	if err != nil {
		l.disk.broken = true
		return fmt.Errorf("recording %s of token %s in the ledger: %w", entries[0].Stage, entries[0].Nonce, err)
	}
	l.disk.size += int64(len(lines))
	l.disk.lines += len(entries)
	return nil
}

// takeUnsaved returns the entries that are not on the disk yet, each once.
func (m *memory) takeUnsaved() (entries []Entry) {
	for i, nonce := range m.unsaved {
		if e, known := m.entries[nonce]; known && !slices.Contains(m.unsaved[:i], nonce) {
			entries = append(entries, e.clone())
		}
	}
	m.unsaved = nil
	return entries
}

func (m *memory) remember(e Entry) {
	old, known := m.entries[e.Nonce]
	if !known {
		m.order = append(m.order, e.Nonce)
	}
	if e.Hash != old.Hash {
		m.byHash[e.Hash] = e.Nonce
	}
	m.entries[e.Nonce] = e.clone()
}

// prune forgets what ended before oldest, and mints that came to nothing: there is
// no value to be known again. Who has logged out stays so, however long ago.
func (m *memory) prune(oldest time.Time) {
	ended := 0
	for _, nonce := range slices.Backward(m.order) {
		e := m.entries[nonce]
		if !e.Stage.Ended() || nonce == logout && e.Stage == Left {
			continue
		}
		if ended++; ended > maxEnded || e.At.Before(oldest) || e.Hash == "" {
			delete(m.entries, nonce)
			if m.byHash[e.Hash] == nonce {
				delete(m.byHash, e.Hash)
			}
		}
	}
	m.order = slices.DeleteFunc(m.order, func(nonce string) bool {
		_, known := m.entries[nonce]
		return !known
	})
}

func (m *memory) list(keep func(Entry) bool) []Entry {
	var out []Entry
	for _, nonce := range m.order {
		if e := m.entries[nonce]; keep(e) {
			out = append(out, e.clone())
		}
	}
	return out
}

// ByHash returns the entry of the token whose value has this hash.
func (l *Ledger) ByHash(hash string) (Entry, bool) {
	if hash == "" {
		return Entry{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.memory.entries[l.memory.byHash[hash]]; ok && e.Hash == hash {
		return e.clone(), true
	}
	return Entry{}, false
}

// ByNonce returns the entry of this nonce, ended ones included.
func (l *Ledger) ByNonce(nonce string) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.memory.entries[nonce]
	return e.clone(), ok
}

// Knows reports whether the token whose value has this hash is or was ours to
// handle, ended ones included.
func (l *Ledger) Knows(hash string) bool {
	_, ok := l.ByHash(hash)
	return ok
}

// Pending returns the entries that have not ended, oldest first: the tokens
// about which something is still to be done.
func (l *Ledger) Pending() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.list(func(e Entry) bool { return !e.Stage.Ended() })
}

// ClearTakenOver reports whether entries of another ledger, which stood where this
// one was taken away, have joined those of Pending since it was last asked.
func (l *Ledger) ClearTakenOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.memory.takenOver
	l.memory.takenOver = false
	return taken
}

// Close does what Save does, closes the file and gives the lock back. If not all
// could be written, the log says what is lost. It waits for the disk, writeAtMost at
// most.
func (l *Ledger) Close() error {
	err := l.Save()
	if err != nil {
		l.logUnsaved(err)
	}
	if errors.Is(err, errSlow) {
		return err // the disk has the file still; the lock goes with the process
	}
	l.diskMu.Lock()
	defer l.diskMu.Unlock()
	l.disk.closed = true
	err = nil
	if l.disk.file != nil {
		err = l.disk.file.Close()
	}
	if l.disk.lock != nil {
		err = errors.Join(err, l.disk.lock.Close())
	}
	return err
}

// logUnsaved says which tokens may be known to nobody after Close.
func (l *Ledger) logUnsaved(why error) {
	var tokens []string
	for _, e := range l.Pending() {
		tokens = append(tokens, cmp.Or(pat.ShortID(e.ID), "of mint "+e.Nonce))
	}
	l.log.Error("the ledger can't be written, and this process ends: the next start may not know these tokens, and leaves them to expire unless somebody revokes them by hand",
		"folder", l.dir, "tokens", tokens, "err", why)
}
