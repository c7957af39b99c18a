package state

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
)

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

// parseKeys reads the file's text, without keys in force that are revoked, too. Its errors name lines, never their content.
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
				"mend or remove that line; without the file patrol would forget which keys there are and which were revoked")
		}
		f = append(f, l)
	}
	f.endRevoked()
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

// remember adds what before, an older state of the same keys, has revoked; all of it
// where f has no line.
func (f *keysFile) remember(before keysFile) {
	if len(*f) == 0 {
		*f = slices.Clone(before)
		return
	}
	lost := slices.DeleteFunc(slices.Clone(before), func(l keyLine) bool { return !l.revoked || f.isRevoked(l.hash) })
	at := slices.IndexFunc(*f, func(l keyLine) bool { return l.revoked })
	if at < 0 {
		at = len(*f)
	}
	*f = slices.Insert(*f, at, lost...) // the oldest stand first, and are forgotten first
	f.forgetOldest()
	f.endRevoked()
}

func (f keysFile) isRevoked(hash [sha256.Size]byte) bool {
	return slices.ContainsFunc(f, func(l keyLine) bool { return l.revoked && l.hash == hash })
}

// endRevoked takes out keys in force that are revoked, too: an editor or a copy of an
// older file may have brought them back.
func (f *keysFile) endRevoked() {
	all := *f
	*f = slices.DeleteFunc(slices.Clone(all), func(l keyLine) bool { return l.name != "" && !l.revoked && all.isRevoked(l.hash) })
}

// revoke leaves of a key, if it is there, the hash alone.
func (f *keysFile) revoke(name string) {
	l, ok := f.find(name)
	if !ok {
		return
	}
	*f = slices.DeleteFunc(*f, func(l keyLine) bool { return l.name == name && !l.revoked })
	*f = append(*f, keyLine{name: name, revoked: true, hash: l.hash, at: time.Now()})
	f.forgetOldest()
}

// forgetOldest leaves maxRevoked of the revoked keys.
func (f *keysFile) forgetOldest() {
	excess := len(f.list(true)) - maxRevoked
	*f = slices.DeleteFunc(*f, func(l keyLine) bool {
		excess--
		if !l.revoked {
			excess++
		}
		return l.revoked && excess >= 0
	})
}
