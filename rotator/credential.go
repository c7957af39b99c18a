package rotator

import (
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// credential is a token that this process has, with what the ledger knows of it.
type credential struct {
	Token pat.Token
	Entry ledger.Entry
	Since time.Time // when this process got it, with its monotonic reading

	// Minted is when this process minted it, with its monotonic reading; zero if it
	// didn't.
	Minted time.Time

	// Lifetime is how long it lives, from its creation on, as the workspace tells;
	// where it doesn't, as long as patrol's own tokens.
	Lifetime time.Duration
}

// newCredential returns t, got just now; lifetime is how long patrol's own
// tokens live.
func newCredential(t pat.Token, e ledger.Entry, lifetime time.Duration) credential {
	if life := e.Expiry.Sub(e.Created); !e.Expiry.IsZero() && !e.Created.IsZero() {
		lifetime = life
	}
	return credential{Token: t, Entry: e, Since: time.Now(), Lifetime: lifetime}
}

// IsZero reports whether there is no token.
func (c credential) IsZero() bool { return c.Token.IsZero() }

// Is reports whether both are the same token, under the same entry.
func (c credential) Is(o credential) bool { return c.Entry.Nonce == o.Entry.Nonce }

// skew is by how much the workspace's clock is ahead of this machine's.
type skew struct {
	Ahead time.Duration
	Known bool
}

// Expiry is when the token expires by this machine's clock. Where the workspace
// doesn't say, it is when a token of patrol's own would.
func (c credential) Expiry(skew skew) time.Time {
	switch {
	case skew.Known && !c.Entry.Expiry.IsZero():
		return c.Entry.Expiry.Add(-skew.Ahead)
	case !c.Entry.LocalExpiry.IsZero():
		return c.Entry.LocalExpiry
	case !c.Entry.Expiry.IsZero():
		return c.Entry.Expiry
	}
	return c.Since.Round(0).Add(c.Lifetime)
}

// Deadline is when the token is rotated, whatever the schedule says.
func (c credential) Deadline(skew skew) time.Time {
	return c.Expiry(skew).Add(UsableLife(c.Lifetime) - c.Lifetime)
}

// NeverExpires reports whether the workspace has named no expiry: the token never
// expires, or nobody knows when.
func (c credential) NeverExpires() bool { return c.Entry.Expiry.IsZero() }

// forProxy is the token for the proxy, with its expiry by this machine's clock:
// the proxy has no other.
func (c credential) forProxy(skew skew) pat.Token {
	t := c.Token
	if !c.Entry.Expiry.IsZero() {
		t.Expiry = c.Expiry(skew)
	}
	return t
}
