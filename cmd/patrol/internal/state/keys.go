package state

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/atomicfile"
)

const (
	// DefaultKey is the name of the client key that each state folder has: patrol
	// itself hands it to agents.
	DefaultKey = "default"

	keysName  = "keys"     // the file in the state folder
	keyPrefix = "patrol-"  // of each key
	revokedBy = "revoked:" // before the name of a key that was revoked

	// maxRevoked is how many revoked keys are remembered, the newest.
	maxRevoked = 1000

	// lockPatience is how long we wait for another patrol that changes the keys.
	lockPatience = 10 * time.Second
)

// Keys are a state folder's client keys, as its file "keys" (0600) had them when it was
// read last. A key opens this folder's proxy and nothing else. The file has a line for
// each, and one for each that was revoked, of which only the hash is kept:
//
//	NAME KEY CREATED
//	revoked:NAME SHA-256-IN-HEX REVOKED
//
// Times are RFC 3339. Blank lines and lines that begin with # are kept. What stands there
// as revoked isn't in force, whatever other lines say. Several processes may write the
// file: one patrol at a time, by a lock on "keys.lock", and each change is made to what
// stands there then, by the rules of package atomicfile. Its methods may be called from several goroutines.
type Keys struct {
	path string

	// taking is held from a read or a write of the file until what it had is in memory,
	// so that no older read comes after a newer one; it is taken before mu.
	taking sync.Mutex

	mu   sync.Mutex // guards file; held over nothing that blocks
	file keysFile
}

// A ClientKey is one of Keys, without the key itself.
type ClientKey struct {
	Name    string
	Created time.Time
	Hash    [sha256.Size]byte // of the key
}

// OpenKeys reads the client keys of a state folder. Where it has no default key, one is
// made, and the folder if that is missing. With an error the Keys are fit for Reload.
func OpenKeys(dir string) (*Keys, error) {
	k, err := ReadKeys(dir)
	if err != nil {
		return k, err
	}
	if _, ok := k.Key(DefaultKey); ok {
		return k, nil // the disk may be read-only
	}
	return k, k.Save()
}

// ReadKeys is OpenKeys, but makes nothing.
func ReadKeys(dir string) (*Keys, error) {
	k := &Keys{path: filepath.Join(dir, keysName)}
	return k, k.Reload()
}

// Reload reads the file again. What was revoked stays so, and where the file is gone or
// empty, all keys stay as they are: see Save. After an error the keys are those of before.
func (k *Keys) Reload() error {
	k.taking.Lock()
	defer k.taking.Unlock()
	f, err := k.read()
	if err != nil {
		return err
	}
	f.remember(k.get())
	k.set(f)
	return nil
}

// Save writes what the file has lost of what is known: all of it where the file is gone or
// empty, else what was revoked. Where there is no default key, one is made.
func (k *Keys) Save() error {
	f, err := k.read()
	if err != nil {
		return err
	}
	known, fresh := k.get(), newKey()
	add := func(f *keysFile) error {
		f.remember(known)
		if _, ok := f.find(DefaultKey); !ok {
			f.add(DefaultKey, fresh)
		}
		return nil
	}
	added := slices.Clone(f)
	if _ = add(&added); slices.Equal(added, f) {
		return nil // the disk may be read-only
	}
	return k.edit(add)
}

// Missing reports whether the file is gone.
func (k *Keys) Missing() bool {
	_, err := os.Stat(k.path)
	return errors.Is(err, fs.ErrNotExist)
}

func (k *Keys) read() (keysFile, error) {
	text, _, err := atomicfile.Read(k.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // the folder may be missing, too
		return nil, fmt.Errorf("reading the client keys: %w", err)
	}
	return parseKeys(k.path, text)
}

func (k *Keys) set(f keysFile) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.file = f
}

func (k *Keys) get() keysFile {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.file
}

// Key returns the key of this name.
func (k *Keys) Key(name string) (key string, ok bool) {
	l, ok := k.get().find(name)
	return l.secret, ok
}

// List returns the keys that are in force, in the order of the file.
func (k *Keys) List() []ClientKey { return k.get().list(false) }

// All returns the keys that are in force, in the order of the file, and those that were
// revoked, the oldest first, both of the same moment.
func (k *Keys) All() (inForce, revoked []ClientKey) {
	f := k.get()
	return f.list(false), f.list(true)
}

// New makes a key of this name, which must be free, and returns it once it is on the
// disk.
func (k *Keys) New(name string) (key string, err error) {
	if err := checkKeyName(name); err != nil {
		return "", err
	}
	return k.make(func(f *keysFile, key string) error {
		l, ok := f.find(name)
		switch {
		case !ok:
			f.add(name, key)
		case l.secret != key:
			return cli.Usage("choose another name, or: patrol keys replace "+name, "there is a client key of the name %s already", name)
		}
		return nil
	})
}

// Replace revokes the key of this name and returns a new one.
func (k *Keys) Replace(name string) (key string, err error) { return k.make(replaceKey(name)) }

// replaceKey returns the change that puts key in place of the one of this name.
func replaceKey(name string) func(f *keysFile, key string) error {
	var before string // the key that is replaced
	return func(f *keysFile, key string) error {
		l, ok := f.find(name)
		switch {
		case !ok && before == "":
			return noSuchKey(name)
		case ok && l.secret == key:
			return nil
		case before == "":
			before = l.secret
		case l.secret != before: // or each would undo the other's
			return cli.Hinted(fmt.Errorf("another program has changed the client key %s at the same time", name), "see what it is now: patrol keys; or do it again")
		}
		f.revoke(name)
		f.add(name, key)
		return nil
	}
}

// make makes a key and has change put it into the file.
func (k *Keys) make(change func(f *keysFile, key string) error) (key string, err error) {
	key = newKey()
	if err := k.edit(func(f *keysFile) error { return change(f, key) }); err != nil {
		return "", err
	}
	return key, nil
}

// Revoke ends the key of this name. Who asks with it is refused from then on, even
// where no key is needed.
func (k *Keys) Revoke(name string) error {
	if name == DefaultKey {
		return cli.Usage("patrol keys replace "+DefaultKey+" revokes it and makes a new one", "the key %s can't do without a successor: patrol itself hands it to agents", DefaultKey)
	}
	revoked := false
	return k.edit(func(f *keysFile) error {
		if _, ok := f.find(name); !ok && !revoked {
			return noSuchKey(name)
		}
		f.revoke(name)
		revoked = true
		return nil
	})
}

func noSuchKey(name string) error {
	return cli.Usage("patrol keys lists them; patrol keys new NAME makes one", "there is no client key of the name %s", cli.Quote(name))
}

// edit makes a change to the file. The change may be made several times, each time to
// what stands in the file by then.
func (k *Keys) edit(change func(*keysFile) error) error {
	k.taking.Lock()
	defer k.taking.Unlock()
	unlock, err := k.lockFile()
	if err != nil {
		return err
	}
	defer unlock()
	var changed keysFile
	var refused error // which says more than that the file can't be written
	_, err = atomicfile.Edit(k.path, func(old []byte, _ bool) ([]byte, error) {
		changed, refused = parseKeys(k.path, old)
		if refused == nil {
			refused = change(&changed)
		}
		return changed.text(), refused
	})
	if err = cmp.Or(refused, err); err != nil {
		return err
	}
	k.set(changed)
	return nil
}

// lockFile lets one patrol at a time change the file, until unlock is called. Where the
// disk has no locks the rules of package atomicfile have to do.
func (k *Keys) lockFile() (unlock func(), err error) {
	const pause = 5 * time.Millisecond
	lock := flock.New(k.path+".lock", flock.SetPermissions(0o600))
	unlock = func() { _ = lock.Close() }
	_ = os.MkdirAll(filepath.Dir(k.path), 0o700) // where it can't be made, the edit says why
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	if _, err := lock.TryLockContext(ctx, pause); errors.Is(err, context.DeadlineExceeded) {
		unlock()
		return nil, cli.Hinted(fmt.Errorf("another patrol has been changing the client keys in %s for %v", k.path, lockPatience), "end it, and try again")
	}
	return unlock, nil
}

// newKey makes a key: 26 letters and digits, which is 130 random bits.
func newKey() string { return keyPrefix + strings.ToLower(rand.Text()) }
