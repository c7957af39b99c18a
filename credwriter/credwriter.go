// Package credwriter keeps a Databricks token current in the files that other
// tools read: the Databricks profile (.databrickscfg), Claude Code's settings
// and OpenCode's credentials.
//
// Three promises hold for each of them, across a kill at any instant:
//
//   - A file is whole at every instant: the old one or the new one. Only the
//     token changed in it; every other byte stays, comments, line ends, key
//     order and odd numbers included.
//   - A value is replaced only if it is ours to replace: Owner.Ours knows it,
//     or the host beside it is this workspace, its gateway or our proxy.
//     Anything else is left alone and reported.
//   - A token is put only beside the host that it came with, or where its
//     user has put one of ours before.
//
// A file is replaced by rename, so that its readers never see a part of it,
// and afterwards it belongs to whom it did before, with mode 0600. Links are
// followed: what they lead to is replaced, not they. A hard link can't
// survive a rename; Write reports that it was parted. Access lists and
// extended attributes aren't carried over.
//
// Other programs write these files too, some in place and none with a lock
// that we could share. Before the rename the file is read once more, and after
// it the file that was replaced is looked at again: what another writer did in
// between is taken over, with our token in it.
//
// All methods may be used from several goroutines and processes at once. They
// block on the disk, and up to some seconds on another program that is just
// writing the file.
package credwriter

import (
	"errors"
	"fmt"
	"strings"

	"patrol/rotator/pat"
)

// Owner says what is ours.
type Owner struct {
	// Host is this workspace, "https://…". Its tokens go nowhere else.
	Host string

	// WorkspaceID is the workspace's number, by which its dedicated gateway's
	// host is known. Empty: taken from Host where that says it (Azure, ?o=);
	// a gateway that can't be tied to this workspace isn't ours.
	WorkspaceID string

	// ProxyURL is where agents reach our proxy, "http://127.0.0.1:4000";
	// empty if it isn't known.
	ProxyURL string

	// Ours reports whether the value with this pat.Hash is or was one of our
	// tokens. nil: none is.
	Ours func(hash string) bool
}

// ours reports whether a value is known as one of our tokens.
func (o Owner) ours(value string) bool {
	return value != "" && o.Ours != nil && o.Ours(pat.Hash(value))
}

// admit returns the value that is to be written, if it may be.
func (o Owner) admit(t pat.Token) (string, error) {
	value := t.Expose()
	ours, _ := pat.ParseHost(o.Host)
	switch {
	case value == "":
		return "", errors.New("there is no token to write")
	case !t.Host.MaySame(ours):
		return "", fmt.Errorf("the token came with %q: it isn't written for %q", t.Host.String(), o.Host)
	case !plain(value):
		return "", errors.New("the token has a character that the readers of .databrickscfg read differently")
	}
	return value, nil
}

// plain reports whether Go's, Python's and JavaScript's readers of
// .databrickscfg agree on an unquoted value.
func plain(value string) bool {
	for _, r := range value {
		if r <= ' ' || r > '~' || strings.ContainsRune("\"'`#;%", r) {
			return false
		}
	}
	return !strings.HasSuffix(value, `\`)
}

// safe returns a name or host from a file without what may be a token that
// was put in its place.
func safe(s string) string { return pat.Redact(s) }

// rehearsal is a token that is never written: Check tries the edit with it.
func (o Owner) rehearsal() pat.Token {
	return pat.New("dapi"+strings.Repeat("0", 32), o.Host)
}
