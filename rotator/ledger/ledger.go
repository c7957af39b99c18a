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

// Ledger is an open ledger. Its methods may be called from several
// goroutines.
type Ledger struct {
	dir  string
	now  func() time.Time
	log  *slog.Logger
	lock *flock.Flock

	mu         sync.Mutex
	file       *os.File
	size       int64 // of what is whole in file
	lines      int
	broken     bool // the file's end can't be trusted: write it anew
	instance   string
	folder     string // the first digits of its nonces
	entries    map[string]Entry
	byHash     map[string]string // nonces
	order      []string          // nonces, oldest first
	incomplete bool
	taken      bool  // entries of another ledger were taken over: see ClearTakenOver
	err        error // how the last write went
}

// Open locks the state folder and reads its ledger. It doesn't wait for a
// lock that another process holds: it returns ErrLocked. The lock goes with
// the process, however that ends.
func Open(cfg Config) (*Ledger, error) {
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{dir: cfg.Dir, now: cfg.Now, log: cfg.Log, lock: lock, entries: map[string]Entry{}, byHash: map[string]string{}}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if err := l.load(cfg.Instance); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return l, nil
}

// NewNonce returns 16 random hex digits, which name one mint.
func NewNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// Instance is the name by which this patrol knows its tokens from those of
// the same user's other patrols.
func (l *Ledger) Instance() string { return l.instance }

// Incomplete reports whether the ledger was corrupt or gone at an Open, this one
// or an earlier one, and has not been MarkComplete since: entries may be missing.
func (l *Ledger) Incomplete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.incomplete
}

// MarkComplete records that what was missing has been put back as far as it can be.
// If that can't be written, the ledger stays incomplete.
func (l *Ledger) MarkComplete() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.incomplete:
		return nil
	case l.file == nil:
		return errClosed
	}
	l.incomplete = false
	l.err = l.rewrite()
	l.incomplete = l.err != nil
	return l.err
}

// Err returns why the last record could not be written; nil once all that the
// ledger knows is on the disk.
func (l *Ledger) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Save writes what could not be written, and all anew if the file has been taken
// away. It returns what Err does then.
func (l *Ledger) Save() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && (l.err != nil || !l.inPlace()) {
		l.err = l.rewrite()
	}
	return l.err
}

// Put records e in place of what its nonce's entry was, sets its At, and
// returns once the record is on the disk. If the disk fails, e is remembered
// all the same, and the next Put or Save writes it.
func (l *Ledger) Put(e Entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = l.now().Round(0).UTC()
	l.remember(e)
	if l.file == nil {
		return errClosed
	}
	l.err = l.write(e)
	return l.err
}

func (l *Ledger) write(e Entry) error {
	if l.broken || !l.inPlace() || l.lines-len(l.entries) > compactAfter {
		l.prune()
		return l.rewrite()
	}
	line, err := encode(e)
	if err != nil {
		return err
	}
	if err := l.append(line); err != nil {
		l.broken = true
		return fmt.Errorf("recording %s of token %s in the ledger: %w", e.Stage, e.Nonce, err)
	}
	return nil
}

// append writes a line and waits until the disk has it.
func (l *Ledger) append(line []byte) error {
	if _, err := l.file.WriteAt(line, l.size); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.size += int64(len(line))
	l.lines++
	return nil
}

func (l *Ledger) remember(e Entry) {
	old, known := l.entries[e.Nonce]
	if !known {
		l.order = append(l.order, e.Nonce)
	}
	if e.Hash != old.Hash {
		l.byHash[e.Hash] = e.Nonce
	}
	l.entries[e.Nonce] = e.clone()
}

// prune forgets what ended long ago, and mints that came to nothing: there is
// no value to be known again. Who has logged out stays so, however long ago.
func (l *Ledger) prune() {
	oldest := l.now().Add(-keepEnded)
	ended := 0
	for _, nonce := range slices.Backward(l.order) {
		e := l.entries[nonce]
		if !e.Stage.Ended() || nonce == logout && e.Stage == Left {
			continue
		}
		if ended++; ended > maxEnded || e.At.Before(oldest) || e.Hash == "" {
			delete(l.entries, nonce)
			if l.byHash[e.Hash] == nonce {
				delete(l.byHash, e.Hash)
			}
		}
	}
	l.order = slices.DeleteFunc(l.order, func(nonce string) bool {
		_, known := l.entries[nonce]
		return !known
	})
}

// ByHash returns the entry of the token whose value has this hash.
func (l *Ledger) ByHash(hash string) (Entry, bool) {
	if hash == "" {
		return Entry{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[l.byHash[hash]]
	if !ok && l.file != nil && !l.inPlace() {
		l.err = l.rewrite() // what stands there now may know it: see merge
		e, ok = l.entries[l.byHash[hash]]
	}
	if ok && e.Hash == hash {
		return e.clone(), true
	}
	return Entry{}, false
}

// Has reports whether there is an entry of this nonce, ended ones included.
func (l *Ledger) Has(nonce string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.entries[nonce]
	return ok
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
	return l.list(func(e Entry) bool { return !e.Stage.Ended() })
}

func (l *Ledger) list(keep func(Entry) bool) []Entry {
	var out []Entry
	for _, nonce := range l.order {
		if e := l.entries[nonce]; keep(e) {
			out = append(out, e.clone())
		}
	}
	return out
}

// ClearTakenOver reports whether entries of another ledger, which stood where this
// one was taken away, have joined those of Pending since it was last asked.
func (l *Ledger) ClearTakenOver() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.taken
	l.taken = false
	return taken
}

// Close does what Save does, closes the file and gives the lock back. If not all
// could be written, the log says what is lost.
func (l *Ledger) Close() error {
	if err := l.Save(); err != nil {
		l.logUnsaved(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.file != nil {
		err = l.file.Close()
		l.file = nil
	}
	return errors.Join(err, l.lock.Close())
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
