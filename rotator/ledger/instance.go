package ledger

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

const (
	// instanceName is the file with a second copy of the instance: a ledger
	// that is lost must not make this patrol a stranger to its own tokens.
	instanceName = "instance"

	// folderName is the file with the digits that tell this state folder's mints from
	// those of another one whose patrol has the same instance.
	folderName = "folder"
)

// newInstance returns a name that no other patrol has and that a person who
// reads the workspace's list of tokens can place: the machine's name, and
// eight random hex digits.
func newInstance() string {
	host, _ := os.Hostname()
	host = regexp.MustCompile(`[^a-z0-9-]`).ReplaceAllString(strings.ToLower(host), "")
	const longest = 40
	return cmp.Or(host[:min(len(host), longest)], "host") + "-" + RandomNonce()[:8]
}

// instanceOf returns the instance that minted the newest of these tokens; "" if none of
// them was minted.
func instanceOf(entries []Entry) string {
	for _, e := range slices.Backward(entries) {
		if instance, _, ok := pat.ParseComment(e.Comment); ok && e.Ours() {
			return instance
		}
	}
	return ""
}

// readNote returns what is noted beside the ledger in a file of this name; nothing if it
// isn't there or isn't whole.
func readNote(dir, name string) header {
	data, err := readFile(filepath.Join(dir, name))
	var note header
	if err != nil || !decode(bytes.TrimSuffix(data, []byte{'\n'}), &note) {
		return header{}
	}
	return note
}

// writeNotes writes beside the ledger what makes a lost ledger's tokens known again, where
// it isn't there. The ledger does without it, so a disk that fails here is no error.
func (l *Ledger) writeNotes() {
	err := errors.Join(
		writeNote(l.dir, instanceName, header{Version: version, Instance: l.instance}),
		writeNote(l.dir, folderName, header{Version: version, Folder: l.folder}),
	)
	if err != nil {
		l.log.Warn("the name of this patrol can't be noted beside its ledger", "err", err)
	}
}

func writeNote(dir, name string, note header) error {
	if readNote(dir, name) == note {
		return nil
	}
	line, err := appendLine(nil, note)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, name), line)
}

// folderDigits is how many hex digits of a nonce are the state folder's own.
const folderDigits = 6

// RandomNonce returns 16 random hex digits, which name one mint.
func RandomNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	return hex.EncodeToString(b[:])
}

// NewNonce returns a nonce for a mint: 16 hex digits, of which the first six are this
// state folder's own, which it keeps for good.
func (l *Ledger) NewNonce() string { return l.folder + RandomNonce()[folderDigits:] }

// FolderOf returns the digits of a nonce that are its state folder's own. Version 1 gave
// its nonces none: they are random.
func FolderOf(nonce string) string { return nonce[:min(folderDigits, len(nonce))] }

// ReadFolder returns the digits that are the own of the state folder at dir, without
// locking it; "" if none are noted there.
func ReadFolder(dir string) string {
	return readNote(dir, folderName).Folder
}

// MintedHere reports whether this patrol has minted a token with this comment, and by which
// nonce: the ledger knows that, or the nonce bears this state folder's digits.
func (l *Ledger) MintedHere(comment string) (nonce string, ours bool) {
	instance, nonce, ok := pat.ParseComment(comment)
	if !ok || instance != l.instance {
		return nonce, false
	}
	_, known := l.ByNonce(nonce)
	return nonce, known || FolderOf(nonce) == l.folder
}
