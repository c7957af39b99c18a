package rotator_test

import (
	"context"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestRevocationHangs: nobody waits for a call that hangs while an old token is revoked, but
// who wants that very token back.
func TestRevocationHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(h.grace - time.Second)
		h.ws.Inject(always(deletePath, workspacetest.Hang))
		for range 60 {
			if len(h.callsAt(deletePath, nil)) > 0 {
				break
			}
			h.pass(time.Second)
		}
		began := time.Now()
		brought := h.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour})
		if _, err := h.r.Login(h.Context(), pat.New(brought.Value, host)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("a login took %v:\n%s", took, h.story())
		}
		ctx, cancel := context.WithTimeout(h.Context(), 2*time.Second)
		defer cancel()
		if _, err := h.r.Logout(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 4*time.Second {
			t.Errorf("a logout that had two seconds, and the login before it, took %v:\n%s", took, h.story())
		}
		h.ws.Heal()
		h.pass(10 * time.Minute)
		if live := h.live(); len(live) != 0 {
			t.Errorf("%v live\n%s", live, h.story())
		}
	})
}

// TestLogoutWithDeadToken: the token in use is dead, and another may have been minted. The
// mint profile revokes that.
func TestLogoutWithDeadToken(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(workspacetest.Fault{Path: createPath, Effect: workspacetest.Reset, After: true})
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			t.Fatal("Rotate worked")
		}
		h.ws.Revoke(h.inUse().ID)
		d := h.logout()
		if live := h.live(); len(live) != 1 || live[0] != minter.ID || ends(d)[rotator.EndPending] != 0 {
			t.Errorf("%v live after %+v\n%s", live, d, h.story())
		}
	})
}
