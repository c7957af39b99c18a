package rotator_test

import (
	"context"
	"testing"
	"time"

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
