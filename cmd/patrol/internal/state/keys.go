package state

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

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
)

// Keys are a state folder's client keys, as its file "keys" (0600) had them when it was
// read last. A key opens this folder's proxy and nothing else. The file has a line for
// each, and one for each that was revoked, of which only the hash is kept:
//
//	NAME KEY CREATED
//	revoked:NAME SHA-256-IN-HEX REVOKED
//
// Times are RFC 3339. Blank lines and lines that begin with # are kept. Several
// processes may write the file: each change is made to what stands there then, by the
// rules of package atomicfile. Its methods may be called from several goroutines.
type Keys struct {
	path string

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
	fresh := newKey()
	return k, k.edit(func(f *keysFile) error {
		if _, ok := f.find(DefaultKey); !ok { // another process may have made it
			f.add(DefaultKey, fresh)
		}
		return nil
	})
}

// ReadKeys is OpenKeys, but makes nothing.
func ReadKeys(dir string) (*Keys, error) {
	k := &Keys{path: filepath.Join(dir, keysName)}
	return k, k.Reload()
}

// Reload reads the file again. After an error the keys are those of before.
func (k *Keys) Reload() error {
	text, _, err := atomicfile.Read(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // nor is the folder there
	}
	if err != nil {
		return fmt.Errorf("reading the client keys: %w", err)
	}
	f, err := parseKeys(k.path, text)
	if err == nil {
		k.set(f)
	}
	return err
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

// Revoked returns the keys that were revoked, the oldest first.
func (k *Keys) Revoked() []ClientKey { return k.get().list(true) }

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
func (k *Keys) Replace(name string) (key string, err error) {
	return k.make(func(f *keysFile, key string) error {
		l, ok := f.find(name)
		switch {
		case !ok:
			return noSuchKey(name)
		case l.secret != key:
			f.revoke(name)
			f.add(name, key)
		}
		return nil
	})
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
	var changed keysFile
	var refused error // which says more than that the file can't be written
	_, err := atomicfile.Edit(k.path, func(old []byte, _ bool) ([]byte, error) {
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

// newKey makes a key: 26 letters and digits, which is 130 random bits.
func newKey() string { return keyPrefix + strings.ToLower(rand.Text()) }

// keyName is what a key may be called: it stands in logs, metrics and the file.
var keyName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// reservedNames are what logs and metrics call those who ask without a key of this file.
var reservedNames = []string{"none", "unknown", "client-key-file"}

func checkKeyName(name string) error {
	switch {
	case !keyName.MatchString(name):
		return cli.Usage("for example: patrol keys new laptop", "%s can't be the name of a client key: at most 64 letters, digits, dashes, underscores and dots", cli.Quote(name))
	case slices.Contains(reservedNames, name):
		return cli.Usage("for example: patrol keys new laptop", "%s can't be the name of a client key: it is what patrol calls those who have none of these keys", name)
	}
	return nil
}

// keysFile is the file's lines.
type keysFile []keyLine

// A keyLine is one line: a key, one that was revoked, or what a person has written.
type keyLine struct {
	name    string // "" of a line that is only kept
	revoked bool
	secret  string // "" if it was revoked
	hash    [sha256.Size]byte
	at      time.Time // when it was made, or revoked
	kept    string    // the whole line, if it has no name
}

// parseKeys reads the file's text. Its errors name lines, never their content.
func parseKeys(path string, text []byte) (f keysFile, err error) {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		l, err := parseKeyLine(strings.TrimRight(line, "\r\n"))
		if err == nil && l.name != "" && !l.revoked {
			if _, ok := f.find(l.name); ok {
				err = errors.New("another line has the same name")
			}
		}
		if err != nil {
			return nil, cli.Hinted(fmt.Errorf("the client keys in %s, line %d: %w", path, n, err),
				"mend or remove that line; without the file, patrol makes a new default key")
		}
		f = append(f, l)
	}
	return f, nil
}

func parseKeyLine(line string) (l keyLine, err error) {
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0][0] == '#' {
		return keyLine{kept: line}, nil
	}
	if len(fields) != 3 {
		return l, errors.New("it isn't a name, a key and a time")
	}
	l.name, l.revoked = strings.CutPrefix(fields[0], revokedBy)
	if l.at, err = time.Parse(time.RFC3339, fields[2]); err != nil {
		return l, errors.New("its third word is no time")
	}
	if err := checkKeyName(l.name); err != nil {
		return l, errors.New("its first word is no name of a key")
	}
	if l.revoked {
		sum, err := hex.DecodeString(fields[1])
		if err != nil || copy(l.hash[:], sum) != sha256.Size || len(sum) != sha256.Size {
			return l, errors.New("its second word is no SHA-256")
		}
		return l, nil
	}
	const fewest = len(keyPrefix) + 16
	if l.secret = fields[1]; !strings.HasPrefix(l.secret, keyPrefix) || len(l.secret) < fewest {
		return l, errors.New("its second word is no key")
	}
	l.hash = sha256.Sum256([]byte(l.secret))
	return l, nil
}

func (f keysFile) text() []byte {
	var b []byte
	for _, l := range f {
		at := l.at.UTC().Format(time.RFC3339)
		switch {
		case l.name == "":
			b = fmt.Appendf(b, "%s\n", l.kept)
		case l.revoked:
			b = fmt.Appendf(b, "%s%s %x %s\n", revokedBy, l.name, l.hash, at)
		default:
			b = fmt.Appendf(b, "%s %s %s\n", l.name, l.secret, at)
		}
	}
	return b
}

func (f keysFile) find(name string) (keyLine, bool) {
	i := slices.IndexFunc(f, func(l keyLine) bool { return l.name == name && !l.revoked })
	if name == "" || i < 0 {
		return keyLine{}, false
	}
	return f[i], true
}

func (f keysFile) list(revoked bool) (all []ClientKey) {
	for _, l := range f {
		if l.name != "" && l.revoked == revoked {
			all = append(all, ClientKey{Name: l.name, Created: l.at, Hash: l.hash})
		}
	}
	return all
}

func (f *keysFile) add(name, key string) {
	*f = append(*f, keyLine{name: name, secret: key, hash: sha256.Sum256([]byte(key)), at: time.Now()})
}

// revoke leaves of a key, if it is there, the hash alone.
func (f *keysFile) revoke(name string) {
	l, ok := f.find(name)
	if !ok {
		return
	}
	*f = slices.DeleteFunc(*f, func(l keyLine) bool { return l.name == name && !l.revoked })
	*f = append(*f, keyLine{name: name, revoked: true, hash: l.hash, at: time.Now()})
	excess := len(f.list(true)) - maxRevoked
	*f = slices.DeleteFunc(*f, func(l keyLine) bool {
		excess--
		if !l.revoked {
			excess++
		}
		return l.revoked && excess >= 0
	})
}
