package guard

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// What clients are called that ask without a client key of SetKeys: no key may have one
// of these names.
const (
	None        = "none"            // they send no credential
	Unknown     = "unknown"         // what they send is no client key
	FromKeyFile = "client-key-file" // they send a key of Config.KeyFile, where keys have no names
)

// A ClientKey is a key that lets its client in, or one that was revoked.
type ClientKey struct {
	Name string
	Hash [sha256.Size]byte // of the key
}

// A ClientUse tells how often a client has asked since the start.
type ClientUse struct {
	Name     string    `json:"name"`
	Requests uint64    `json:"requests"` // that were let in
	LastUsed time.Time `json:"last_used,omitzero"`
}

// clientKeys are the keys in force.
type clientKeys struct {
	mu  sync.Mutex // held while set is replaced
	set atomic.Pointer[keySet]
}

// A keySet never changes; the counts do that its keyUses hold.
type keySet struct {
	live                  []liveKey
	revoked               map[[sha256.Size]byte]string
	none, unknown, ofFile *keyUse
}

type liveKey struct {
	hash [sha256.Size]byte
	use  *keyUse
}

// keyUse counts the requests of a client.
type keyUse struct {
	name     string
	isKey    bool
	requests atomic.Uint64
	last     atomic.Int64 // in Unix time; 0: never
}

// SetKeys puts client keys into force, in place of those that were. From its return on
// the revoked ones are refused. A name's counts go on.
func (g *Guard) SetKeys(live, revoked []ClientKey) {
	g.keys.mu.Lock()
	defer g.keys.mu.Unlock()
	before := g.keys.set.Load()
	if before == nil {
		before = &keySet{none: &keyUse{name: None}, unknown: &keyUse{name: Unknown}, ofFile: &keyUse{name: FromKeyFile, isKey: true}}
	}
	next := &keySet{revoked: make(map[[sha256.Size]byte]string, len(revoked)), none: before.none, unknown: before.unknown, ofFile: before.ofFile}
	uses := make(map[string]*keyUse, len(before.live))
	for _, k := range before.live {
		uses[k.use.name] = k.use
	}
	for _, k := range live {
		if uses[k.Name] == nil {
			uses[k.Name] = &keyUse{name: k.Name, isKey: true}
		}
		next.live = append(next.live, liveKey{hash: k.Hash, use: uses[k.Name]})
	}
	for _, k := range revoked {
		next.revoked[k.Hash] = k.Name
	}
	g.keys.set.Store(next)
}

// Clients returns what each client has asked: those of the keys in force, in their
// order, and the ones without a key.
func (g *Guard) Clients() []ClientUse {
	set := g.keys.set.Load()
	uses := make([]*keyUse, 0, len(set.live)+3)
	for _, k := range set.live {
		uses = append(uses, k.use)
	}
	if uses = append(uses, set.unknown, set.none); g.keyFile != nil {
		uses = append(uses, set.ofFile)
	}
	all := make([]ClientUse, len(uses))
	for i, use := range uses {
		all[i] = ClientUse{Name: use.name, Requests: use.requests.Load(), LastUsed: unixTime(use.last.Load())}
	}
	return all
}
