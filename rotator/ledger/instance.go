package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// newInstance returns a name that no other patrol has and that a person who
// reads the workspace's list of tokens can place: the machine's name, and
// eight random hex digits.
func newInstance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, strings.ToLower(host))
	const longest = 40
	return host[:min(len(host), longest)] + "-" + RandomNonce()[:8]
}

// instanceOf returns the instance that minted the last of these tokens; "" if
// none of them was minted.
func instanceOf(entries []Entry) string {
	for _, e := range slices.Backward(entries) {
		if instance, _, ok := pat.ParseComment(e.Comment); ok && e.Ours() {
			return instance
		}
	}
	return ""
}

// readNote returns the instance and the folder's own digits that are noted beside the
// ledger in a file of this name; "" where none are, or the file isn't whole.
func readNote(dir, name string) (instance, folder string) {
	data, err := readFile(filepath.Join(dir, name))
	var head header
	if err != nil || !decode(bytes.TrimSuffix(data, []byte{'\n'}), &head) {
		return "", ""
	}
	return head.Instance, head.Folder
}

// writeNotes writes beside the ledger what makes a lost ledger's tokens known again, where
// it isn't there. The ledger does without it, so a disk that fails here is no error.
func (l *Ledger) writeNotes() {
	instance, _ := readNote(l.dir, instanceName)
	_, folder := readNote(l.dir, folderName)
	var err error
	if instance != l.instance {
		err = l.writeNote(instanceName, header{Version: version, Instance: l.instance})
	}
	if folder != l.folder {
		err = errors.Join(err, l.writeNote(folderName, header{Version: version, Folder: l.folder}))
	}
	if err != nil {
		l.log.Warn("the name of this patrol can't be noted beside its ledger", "err", err)
	}
}

func (l *Ledger) writeNote(name string, note header) error {
	line, err := encode(note)
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(l.dir, name), line)
}

// folderDigits is how many hex digits of a nonce are the state folder's own.
const folderDigits = 6

// NewNonce returns a nonce for a mint: 16 hex digits, of which the first six are this
// state folder's own, which it keeps for good.
func (l *Ledger) NewNonce() string { return l.folder + RandomNonce()[folderDigits:] }

// FolderOf returns the digits of a nonce that are its state folder's own. Version 1 gave
// its nonces none: they are random.
func FolderOf(nonce string) string { return nonce[:min(folderDigits, len(nonce))] }

// ReadFolder returns the digits that are the own of the state folder at dir, without
// locking it; "" if none are noted there.
func ReadFolder(dir string) string {
	_, folder := readNote(dir, folderName)
	return folder
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
