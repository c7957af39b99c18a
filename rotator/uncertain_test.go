package rotator_test

import (
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestThreeUncertainMints: the workspace mints whenever it is asked, and nobody gets
// its answers. At most three tokens of which nothing is known may live at a time,
// also if somebody asks for more.
func TestThreeUncertainMints(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "*/10 * * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(65 * time.Minute)
		h.ws.Inject(lostAnswer(createPath))
		h.ws.Inject(always("", workspacetest.Reset))
		before := len(h.ours())
		for i := range 20 {
			h.pass(5 * time.Minute)
			if i%4 == 3 {
				_, _ = h.r.Rotate(h.Context(), "asked")
			}
			if n := len(h.ours()) - before; n > 3 {
				t.Fatalf("%d tokens live of which patrol doesn't know, want 3 at most", n)
			}
		}
		h.ws.Heal()
		h.pass(30 * time.Minute)
		h.wantOneInTheEnd()
	})
}

// TestOneListForAllUncertainMints: whether mints have made tokens is asked in one
// list for all of them.
func TestOneListForAllUncertainMints(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		before := h.wantOne()
		h.ws.Inject(always("", workspacetest.Reset))
		for range 3 {
			if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
				t.Error("Rotate worked")
			}
		}
		if n := len(h.r.Status().Retiring); n != 3 {
			t.Errorf("%d mints are uncertain, want 3:\n%s", n, h.story())
		}
		h.pass(20 * time.Minute)
		h.ws.Heal()
		h.ws.Forget()
		h.pass(20 * time.Minute)
		h.wantOne()
		lists := h.callsAt(listPath, func(r workspacetest.Request) bool { return r.TokenID == before.ID })
		if n := len(lists); n < 1 || n > 2 {
			t.Errorf("%d lists with the token that was in use, want one for the three", n)
		}
	})
}

// TestUncertainMintsAreForgotten: a mint of which nothing can be learned is no matter
// any more once its token would have expired.
func TestUncertainMintsAreForgotten(t *testing.T) {
	for name, list := range map[string]workspacetest.Fault{
		"no list":           answer(listPath, 503, "{}"),
		"list is forbidden": answer(listPath, 403, forbidden),
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.issue(0)
				h.ws.Inject(workspacetest.Fault{Path: createPath, Effect: workspacetest.Reset})
				h.ws.Inject(answer(createPath, 403, forbidden))
				if list.Status == 403 {
					h.ws.Inject(list)
				}
				h.serve()
				h.ws.Inject(list)
				h.pass(10 * time.Minute)
				if n := len(h.r.Status().Retiring); n != 1 {
					t.Fatalf("%d mints are uncertain, want 1:\n%s", n, h.story())
				}
				h.ws.Forget()
				h.pass(h.lifetime)
				if n := len(h.callsAt(listPath, nil)); list.Status == 403 && n > 6 {
					t.Errorf("%d lists in four hours with a token that may not list", n)
				}
				h.pass(30 * time.Minute)
				if waits := h.r.Status().Retiring; len(waits) != 0 {
					t.Errorf("%d uncertain mints wait after the life of their tokens: %+v", len(waits), waits)
				}
				if len(h.ledger.Pending()) > 1 {
					t.Errorf("the ledger waits for %+v", h.ledger.Pending())
				}
			})
		})
	}
}

// TestLogoutAfterAnOutage: hours in which every answer to a create was lost leave no
// token of ours alive once the user has logged out.
func TestLogoutAfterAnOutage(t *testing.T) {
	for name, test := range map[string]struct {
		outage time.Duration
		heal   bool // before the logout; else ten minutes after it
		login  bool // before the logout
		minter bool // there is a mint profile
	}{
		"short":                         {outage: 90 * time.Minute, heal: true},
		"short, logged out in it":       {outage: 90 * time.Minute},
		"past expiry, and a login":      {outage: 5 * time.Hour, heal: true, login: true},
		"past expiry, a mint profile":   {outage: 5 * time.Hour, heal: true, minter: true},
		"just before expiry":            {outage: 3*time.Hour + 50*time.Minute, heal: true},
		"near expiry, logged out in it": {outage: 3*time.Hour + 30*time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				if test.minter {
					minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
					h.mintAs = h.client().As(pat.New(minter.Value, host))
				}
				h.issue(24 * time.Hour)
				h.schedule = every(t, "*/10 * * * *")
				h.serve()
				h.pass(65 * time.Minute)
				h.ws.Inject(lostAnswer(createPath))
				h.ws.Inject(always("", workspacetest.Reset))
				h.pass(test.outage)
				if test.heal {
					h.ws.Heal()
					slow := always("", workspacetest.Slow)
					slow.Delay = 200 * time.Millisecond
					h.ws.Inject(slow)
				}
				if test.login {
					tok := h.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
					if _, err := h.r.Login(h.Context(), pat.New(tok.Value, host)); err != nil {
						t.Error(err)
					}
				}
				d := h.logout()
				h.pass(10 * time.Minute)
				h.ws.Heal()
				h.pass(30 * time.Minute)
				if left := h.ours(); len(left) > 0 {
					t.Errorf("%d tokens of ours live; the logout said %v:\n%s", len(left), ends(d), h.story())
				}
				if n := ends(d)[rotator.EndPending]; test.heal && n > 3 {
					t.Errorf("%d tokens wait after a logout with a network", n)
				}
			})
		})
	}
}
