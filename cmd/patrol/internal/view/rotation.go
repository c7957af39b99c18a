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
	written := slices.DeleteFunc(r.Files, func(f rotator.FileInfo) bool { return f.Error == "" && !exists(f.Path) })
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
func Logout(s cli.Streams, l rotator.LogoutResult, now time.Time) error {
	t, rows := cli.NewTable(s.Out), map[string]int{}
	row := func(how, what string) {
		rows[how]++
		t.Line("%s\t%s", how, pat.Redact(what))
	}
	for _, f := range l.Files {
		if f.Error != "" {
			row("NOT CLEARED", f.Path+"\t"+f.Error)
		} else if f.Cleared {
			row("cleared", f.Path)
		}
		for _, left := range f.Left {
			row("left", left)
		}
	}
	for _, old := range l.Tokens {
		name := "token " + cli.TokenName(old.ID)
		if len(old.Found) > 0 {
			name += " from " + strings.Join(old.Found, " and ")
		}
		switch old.End {
		case rotator.EndRevoked:
			row("revoked", name)
		case rotator.EndLeft:
			row("left", name+": "+cmp.Or(old.Why, "patrol did not mint it"))
		default:
			row("NOT REVOKED", name+cli.Expires(old.Expires, now)+": "+old.Why)
		}
	}
	_ = t.Flush()
	return concludeLogout(s, rows["cleared"]+rows["revoked"], rows["NOT CLEARED"]+rows["NOT REVOKED"])
}

// concludeLogout says in a sentence how a logout went that did and failed to do so
// many things.
func concludeLogout(s cli.Streams, did, failed int) error {
	switch {
	case failed > 0:
		return cli.Hinted(errors.New("not everything could be revoked or cleared"),
			"what is named above as not revoked stays in the ledger, and dies when it expires; to try again: patrol logout")
	case did == 0:
		s.Printf("there is nothing to do: no token of patrol's is left\n")
	default:
		s.Printf("logged out\n")
	}
	return nil
}
