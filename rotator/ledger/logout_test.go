package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"patrol/rotator/ledger"
)

// TestLogoutIsNotForgotten, however long ago it was, and whatever has ended
// since. Otherwise a machine that was logged out would sign in by itself.
func TestLogoutIsNotForgotten(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	reopen := func() *ledger.Ledger {
		t.Helper()
		l, err := ledger.Open(ledger.Config{Dir: dir, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	l := reopen()
	seen := []string{"a hash", "another"}
	if err := l.LogOut(seen); err != nil {
		t.Fatal(err)
	}
	for i := range 2100 {
		put(t, l, ledger.Entry{Nonce: fmt.Sprint(i), Hash: fmt.Sprint(i), Stage: ledger.Revoked})
	}
	for range 3 {
		l.Close()
		if l = reopen(); len(l.Pending()) != 0 {
			t.Errorf("pending: %v", l.Pending())
		}
		if out, got := l.LoggedOut(); !out || !slices.Equal(got, seen) {
			t.Errorf("on %s: logged out %v, with %q", now.Format(time.DateOnly), out, got)
		}
		now = now.AddDate(0, 0, 100)
	}
	if err := l.LogIn(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if out, _ := reopen().LoggedOut(); out {
		t.Error("a login is forgotten")
	}
}
