package view

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// Rotation prints what a rotation did. A file that wasn't written is an error.
func Rotation(s cli.Streams, r control.Rotation) error {
	if r.Another {
		s.Printf("another patrol has just rotated: token %s is current\n", pat.ShortID(r.Token.ID))
		return nil
	}
	what := "rotated"
	if r.Joined {
		what = "joined a rotation that was under way"
	}
	what += ": token " + pat.ShortID(r.Token.ID)
	if r.Old.ID != "" {
		what += " replaces " + pat.ShortID(r.Old.ID)
	}
	s.Printf("%s%s\n", what, cli.Expires(r.Token.Expires, time.Now()))
	t := cli.NewTable(s.Out)
	written := slices.DeleteFunc(r.Files, func(f control.File) bool { return f.Error == "" && !exists(f.Path) })
	failed := printFiles(t, "  ", written)
	_ = t.Flush()
	if failed > 0 {
		return cli.Hinted(fmt.Errorf("%d of %d files could not be written", failed, len(written)),
			"the old token stays alive while a file holds it; a running service tries again")
	}
	return nil
}

// Login prints what a login did, and for whom.
func Login(s cli.Streams, r control.Rotation) error {
	switch {
	case r.User == "":
	case r.UserBefore == "" || r.UserBefore == r.User:
		s.Printf("signed in as %s\n", r.User)
	default:
		s.Printf("signed in as %s: ANOTHER USER than before, %s\n", r.User, r.UserBefore)
	}
	return Rotation(s, r)
}

// Logout prints what a logout did. What it could not do is an error.
func Logout(s cli.Streams, l control.Logout, now time.Time) error {
	t := cli.NewTable(s.Out)
	did, failed := false, 0
	for _, f := range l.Files {
		switch {
		case f.Error != "":
			failed++
			t.Line("NOT CLEARED\t%s\t%s", f.Path, pat.Redact(f.Error))
		case f.Cleared:
			did = true
			t.Line("cleared\t%s", f.Path)
		}
		for _, left := range f.Left {
			t.Line("left\t%s", pat.Redact(left))
		}
	}
	for _, old := range l.Tokens {
		name := "token " + cli.TokenName(old.ID)
		if len(old.Found) > 0 {
			name += " from " + strings.Join(old.Found, " and ")
		}
		switch old.End {
		case rotator.EndRevoked:
			did = true
			t.Line("revoked\t%s", name)
		case rotator.EndLeft:
			t.Line("left\t%s: %s", name, cmp.Or(old.Why, "patrol did not mint it"))
		default:
			failed++
			t.Line("NOT REVOKED\t%s%s: %s", name, cli.Expires(old.Expires, now), pat.Redact(old.Why))
		}
	}
	_ = t.Flush()
	switch {
	case failed > 0:
		return cli.Hinted(errors.New("not everything could be revoked or cleared"),
			"what is named above as not revoked stays in the ledger, and dies when it expires; to try again: patrol logout")
	case !did:
		s.Printf("there is nothing to do: no token of patrol's is left\n")
	default:
		s.Printf("logged out\n")
	}
	return nil
}
