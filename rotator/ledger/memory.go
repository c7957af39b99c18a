package ledger

import (
	"slices"
	"time"

	"patrol/rotator/pat"
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
	entries map[string]Entry  // by nonce
	nonces  map[string]string // by hash; those of entries that are forgotten may stand here still
	order   []string          // nonces, oldest first
	unsaved []Entry           // not on the disk yet, in the order of Put
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

func newMemory() memory {
	return memory{entries: map[string]Entry{}, nonces: map[string]string{}}
}

func (m *memory) remember(e Entry) {
	old, known := m.entries[e.Nonce]
	if !known {
		m.order = append(m.order, e.Nonce)
	}
	if e.Hash != old.Hash {
		m.nonces[e.Hash] = e.Nonce
	}
	m.entries[e.Nonce] = e.clone()
}

// byHash returns the entry of the token whose value has this hash.
func (m *memory) byHash(hash string) (Entry, bool) {
	e := m.entries[m.nonces[hash]]
	return e, hash != "" && e.Hash == hash
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

// mintedBy returns the instance that minted the newest of the tokens; "" if none of
// them was minted.
func (m *memory) mintedBy() string {
	for _, nonce := range slices.Backward(m.order) {
		e := m.entries[nonce]
		if instance, _, ok := pat.ParseComment(e.Comment); ok && e.Ours() {
			return instance
		}
	}
	return ""
}
