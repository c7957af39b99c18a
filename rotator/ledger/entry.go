package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"patrol/rotator/pat"
)

// Stage is how far a token has come. Stages go forward, in the order in which
// they stand here; only a Retiring token that is found to be the one in the
// profile at start becomes Current again.
type Stage string

// The stages. Each is recorded before the step after it is begun.
const (
	Intended  Stage = "intended"  // a create bearing the nonce may have been sent
	Minted    Stage = "minted"    // the workspace has answered; the value is known to this process alone
	Probed    Stage = "probed"    // it has made a call that worked
	Published Stage = "published" // the proxy may put it on requests
	Current   Stage = "current"   // it stands in the profile
	Retiring  Stage = "retiring"  // a newer one is current; it is to be revoked
	Revoked   Stage = "revoked"   // the workspace has taken it back, or never had it
	Expired   Stage = "expired"   // it died of its own before it could be revoked
	Left      Stage = "left"      // it isn't ours to revoke; Reason says why
)

// Ended reports whether nothing more is to be done about the token.
func (s Stage) Ended() bool { return s == Revoked || s == Expired || s == Left }

// Entry is what the ledger knows of one token. It has no room for the value.
type Entry struct {
	// Nonce names the entry. A token that we minted bears it at the end of
	// its comment.
	Nonce string `json:"nonce"`
	Stage Stage  `json:"stage"`

	// Found names the places where a token that we did not mint was found;
	// it is empty for a token that we minted. Pinned says that one of them
	// can't be rewritten, as an environment can't.
	Found  []string `json:"found,omitempty"`
	Pinned bool     `json:"pinned,omitempty"`

	pat.Info
	Hash string   `json:"hash,omitempty"` // pat.Hash of the value
	Host pat.Host `json:"host,omitzero"`
	User string   `json:"user,omitempty"` // whose it is, where that is known

	LocalExpiry time.Time `json:"until,omitzero"` // when it expires by this machine's clock, as that stood at the mint

	Files  []string  `json:"files,omitempty"`  // the files that the token was written to, by name
	Reason string    `json:"reason,omitempty"` // why it came to this stage, where that isn't plain
	At     time.Time `json:"at"`               // when it came to this stage, by this machine's clock
}

// Ours reports whether we minted the token.
func (e Entry) Ours() bool { return len(e.Found) == 0 }

func (e Entry) clone() Entry {
	e.Found = slices.Clone(e.Found)
	e.Scopes = slices.Clone(e.Scopes)
	e.Files = slices.Clone(e.Files)
	return e
}

// header is the first line of a ledger file.
type header struct {
	Version  int    `json:"patrol_ledger"`
	Instance string `json:"instance"`

	// Folder is the state folder's own digits. They stand in a file of their own: a
	// ledger's header stays as version 1 wrote it, so that going back to that works.
	Folder string `json:"folder,omitempty"`

	// Gaps says that a file before this one had rotted, and that the entries
	// that were lost with it have not been put back.
	Gaps bool `json:"gaps,omitempty"`
}

const version = 1

// appendLine appends v to lines as one more: the CRC-32 (IEEE) of the JSON text in eight
// hex digits, a space, the JSON text, a line feed. The sum tells a line that
// was torn or has rotted from one that was written.
func appendLine(lines []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a ledger line: %w", err)
	}
	return fmt.Appendf(lines, "%08x %s\n", crc32.ChecksumIEEE(text), text), nil
}

// decode reads a line, without its line feed, into v and reports whether it
// is whole.
func decode(line []byte, v any) bool {
	sum, text, _ := bytes.Cut(line, []byte{' '})
	return string(sum) == fmt.Sprintf("%08x", crc32.ChecksumIEEE(text)) && json.Unmarshal(text, v) == nil
}
