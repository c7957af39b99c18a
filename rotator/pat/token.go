// Package pat holds the one thing that patrol guards, a Databricks personal
// access token (PAT), the Handover by which a new one reaches the proxy, and
// the facts that every room shares: whether two hosts are one workspace (Host),
// what an answer says (Message) and whether that is that a token is invalid
// (SaysInvalid), what a token looks like (Redact), and what it bears in the workspace's list (Comment).
//
// A Token prints as its id in every form that fmt, slog and the encoders
// know. Its value is reached by Expose alone, so that a search for that word
// finds every place where it leaves the type.
package pat

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Token is a personal access token. The zero Token is no token.
//
// Two Tokens must be compared with Same: == compares where the values stand
// in memory.
type Token struct {
	ID     string    // the workspace's token_id; empty if it isn't known
	Host   Host      // the workspace that it came with; it goes nowhere else
	Expiry time.Time // by this machine's clock; zero if it isn't known or the token never expires

	// The value stands behind a pointer: fmt prints the fields of a struct
	// that holds a Token in an unexported field without asking the Token, and
	// of a pointer below the top it prints the address only.
	value *string
}

// ErrForeign says that a credential file holds a token that patrol has neither
// minted nor taken over, and that it was left there.
var ErrForeign = errors.New("a token that isn't patrol's")

// New returns a token with this value, which came with this host. A host that
// ParseHost doesn't take is the zero Host: such a token goes nowhere.
func New(value, host string) Token {
	var t Token
	t.Host, _ = ParseHost(host)
	if value != "" {
		t.value = &value
	}
	return t
}

// Expose returns the token's value, "" for the zero Token. Whoever calls it
// answers for where the value goes.
func (t Token) Expose() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero reports whether t is no token.
func (t Token) IsZero() bool { return t.value == nil }

// Same reports whether both have the same value.
func (t Token) Same(u Token) bool { return t.Expose() == u.Expose() }

// Hash returns Hash of the token's value, "" for the zero Token.
func (t Token) Hash() string { return Hash(t.Expose()) }

// Hash returns the hex SHA-256 of a token's value: what may stand in the
// ledger. The hash of "" is "".
func Hash(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Expired reports whether the token's expiry is known and has come by now.
// Both times lose their monotonic reading: a laptop that sleeps stops that
// clock, and not the workspace's.
func (t Token) Expired(now time.Time) bool {
	return !t.Expiry.IsZero() && !now.Round(0).Before(t.Expiry.Round(0))
}

// String returns the start of the token's id, which says which token it is
// and nothing of its value. A token whose id isn't known is "PAT (id unknown)".
func (t Token) String() string {
	switch {
	case t.IsZero() && t.ID == "":
		return "no PAT"
	case t.ID == "":
		return "PAT (id unknown)"
	}
	return "PAT " + ShortID(t.ID)
}

// ShortID returns as much of a token's id as a person needs to find it in the
// workspace's list.
func ShortID(id string) string {
	const enough = 12
	if len(id) <= enough {
		return id
	}
	return id[:enough] + "…"
}

// Format prints String for every verb and flag.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// GoString prints String for %#v where Format isn't asked.
func (t Token) GoString() string { return t.String() }

// LogValue logs String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText encodes String, for encoding/json and the like.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Info is what a workspace tells about a token: all but its value.
type Info struct {
	ID      string    `json:"id,omitempty"` // the workspace's token_id; empty if it isn't known
	Comment string    `json:"comment,omitempty"`
	Scopes  []string  `json:"scopes,omitempty"` // nil if it has none or they aren't known
	Created time.Time `json:"created,omitzero"` // by the workspace's clock; zero if it isn't known
	Expiry  time.Time `json:"expiry,omitzero"`  // by the workspace's clock; zero if it isn't known or the token never expires
}

// String returns the start of the token's id, as Token's does.
func (i Info) String() string { return Token{ID: i.ID}.String() }
