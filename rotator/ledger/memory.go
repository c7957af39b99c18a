package ledger

import (
	"slices"
	"time"
)

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
