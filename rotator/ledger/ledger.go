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
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
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

// Open locks the state folder and reads its ledger. It doesn't wait for a lock that
// another process holds: it returns ErrLocked. The lock goes with the process, however
// that ends.
//
// A disk that is full, read-only, failing or slow is no error: the ledger is kept in
// memory, Err says why, and Save writes it once that works. Locked tells whether the
// folder is ours alone.
func Open(cfg Config) (*Ledger, error) {
	l := &Ledger{dir: cfg.Dir, now: cfg.Now, log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))}
	if l.now == nil {
		l.now = time.Now
	}
	lockErr := l.lockLocked() // nobody else has l yet
	if lockErr != nil && !atomicfile.IsDiskError(lockErr) {
		return nil, lockErr
	}
	if err := l.load(cfg.Instance); err != nil {
		return nil, errors.Join(err, l.disk.close())
	}
	l.memory.unlocked, l.memory.err = lockErr, lockErr
	if lockErr != nil {
		l.log.Error("the state folder can't be locked: patrol serves, and mints and revokes nothing until it can be", "folder", l.dir, "err", lockErr)
		return l, nil
	}
	if err := l.Save(); err != nil && !atomicfile.IsDiskError(err) && !errors.Is(err, errSlow) {
		return nil, errors.Join(err, l.disk.close())
	}
	return l, nil
}

// Instance is the name by which this patrol knows its tokens from those of
// the same user's other patrols.
func (l *Ledger) Instance() string { return l.instance }

// Put records e in place of what its nonce's entry was, sets its At, and
// returns once the record is on the disk. If the disk fails, or takes longer than
// writeAtMost, e is remembered all the same, and is written later.
func (l *Ledger) Put(e Entry) error {
	e.At = l.now().Round(0).UTC()
	l.mu.Lock()
	l.memory.remember(e)
	l.memory.unsaved = append(l.memory.unsaved, e.clone())
	l.mu.Unlock()
	return l.Save()
}

// find returns the newest entry that matches.
func (l *Ledger) find(matches func(Entry) bool) (Entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.memory.entries) {
		if matches(e) {
			return e.clone(), true
		}
	}
	return Entry{}, false
}

// ByHash returns the entry of the token whose value has this hash.
func (l *Ledger) ByHash(hash string) (Entry, bool) { return l.find(hasHash(hash)) }

// Knows reports whether the token whose value has this hash is or was ours to
// handle, ended ones included.
func (l *Ledger) Knows(hash string) bool {
	_, ok := l.ByHash(hash)
	return ok
}

// ByNonce returns the entry of this nonce, ended ones included.
func (l *Ledger) ByNonce(nonce string) (Entry, bool) { return l.find(hasNonce(nonce)) }

// Pending returns the entries that have not ended, oldest first: the tokens
// about which something is still to be done.
func (l *Ledger) Pending() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.list(func(e Entry) bool { return !e.Stage.Ended() })
}

// condition returns how complete the ledger is, and how its disk does.
func (l *Ledger) condition() condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.condition
}

// Err returns why the last record could not be written; nil once all that the
// ledger knows is on the disk.
func (l *Ledger) Err() error { return l.condition().err }

// Locked returns why the state folder can't be locked; nil if it is ours alone. Without
// the lock another process may mint and revoke with the same ledger.
func (l *Ledger) Locked() error { return l.condition().unlocked }

// Incomplete reports whether the ledger was corrupt or gone at an Open, this one
// or an earlier one, and MarkComplete was not called since: entries may be missing.
func (l *Ledger) Incomplete() bool { return l.condition().incomplete }

// MarkComplete records that what was missing has been put back as far as it can be.
func (l *Ledger) MarkComplete() error {
	l.mu.Lock()
	l.memory.outdated = l.memory.outdated || l.memory.incomplete
	l.memory.incomplete = false
	l.mu.Unlock()
	return l.Save()
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
	if err := l.Save(); err != nil {
		l.logUnsaved(err)
		if errors.Is(err, errSlow) {
			return err // the disk has the file still; the lock goes with the process
		}
	}
	l.diskMu.Lock()
	defer l.diskMu.Unlock()
	return l.disk.close()
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

// logout is the nonce of the entry that says whether the user has logged out.
// It is about no token.
const logout = "logout"

// LogOut records that the user has logged out, and the hashes of the tokens
// that were on the machine then and that the ledger has no entry for. It returns
// once that is on the disk, and holds across restarts.
func (l *Ledger) LogOut(seen []string) error {
	// Without a hash the entry would be forgotten as one of no token.
	return l.Put(Entry{Nonce: logout, Hash: logout, Stage: Left, Reason: "the user has logged out", Files: seen})
}

// LogIn records that there is a token again.
func (l *Ledger) LogIn() error {
	return l.Put(Entry{Nonce: logout, Hash: logout, Stage: Revoked, Reason: "there is a token again"})
}

// LoggedOut reports whether the user has logged out and not in again, and what
// LogOut was told.
func (l *Ledger) LoggedOut() (out bool, seen []string) {
	e, _ := l.find(hasNonce(logout))
	return e.Stage == Left, e.Files
}

const (
	// keepEnded is how long the ledger knows a token after its end, so that
	// its value is still known as ours where a file or a client holds it.
	keepEnded = 90 * 24 * time.Hour

	// maxEnded bounds how many ended tokens it knows, whatever their age.
	maxEnded = 2000
)

// memory is what a Ledger knows.
type memory struct {
	entries []Entry // one of each nonce, oldest first
	unsaved []Entry // not on the disk yet, in the order of Put
	condition
}

// condition is how complete a memory is, and how its disk does.
type condition struct {
	incomplete bool  // entries may be missing: see Incomplete
	takenOver  bool  // entries of another ledger were taken over: see ClearTakenOver
	outdated   bool  // more than the file's end is to be written
	unlocked   error // why the state folder can't be locked; nil if it is
	err        error // how the last write went
}

// list returns the entries that match, oldest first.
func (m *memory) list(matches func(Entry) bool) (all []Entry) {
	for _, e := range m.entries {
		if matches(e) {
			all = append(all, e.clone())
		}
	}
	return all
}

// remember puts e in place of what its nonce's entry was.
func (m *memory) remember(e Entry) {
	if i := slices.IndexFunc(m.entries, hasNonce(e.Nonce)); i >= 0 {
		m.entries[i] = e.clone()
		return
	}
	m.entries = append(m.entries, e.clone())
}

// prune forgets what ended before oldest, and mints that came to nothing: there is
// no value to be known again. Who has logged out stays so, however long ago.
func (m *memory) prune(oldest time.Time) {
	ended := 0
	for i, e := range slices.Backward(m.entries) {
		if !e.Stage.Ended() || e.Nonce == logout && e.Stage == Left {
			continue
		}
		if ended++; ended > maxEnded || e.At.Before(oldest) || e.Hash == "" {
			m.entries = slices.Delete(m.entries, i, i+1)
		}
	}
}

func hasNonce(nonce string) func(Entry) bool {
	return func(e Entry) bool { return e.Nonce == nonce }
}

// hasHash matches the token whose value has this hash.
func hasHash(hash string) func(Entry) bool {
	return func(e Entry) bool { return hash != "" && e.Hash == hash }
}
