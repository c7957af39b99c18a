package rotator_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// listsWith returns how many lists were asked for with a token.
func (h *house) listsWith(tok workspacetest.Token) int {
	return len(h.callsAt(listPath, func(r workspacetest.Request) bool { return r.TokenID == tok.ID }))
}

// TestPasteWhileMintHangs: somebody puts a token into the profile while a rotation of the
// service hangs. It doesn't wait for that.
func TestPasteWhileMintHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(always(createPath, workspacetest.Hang))
		h.pass(time.Until(h.inUse().Expiry) - 30*time.Minute + time.Second)
		if n := len(h.callsAt(createPath, nil)); n != 2 {
			t.Fatalf("%d creates, want the first, and one that hangs", n)
		}
		pasted := h.issue(24 * time.Hour)
		h.r.CheckProfile()
		h.pass(time.Second)
		if h.proxy.token().Expose() != pasted.Value {
			t.Errorf("the token that was pasted isn't in use:\n%s", h.story())
		}
		h.ws.Heal()
		h.pass(30 * time.Minute)
		h.wantOneInTheEnd()
	})
}

// TestPasteWhileMintIsRefused: the rotation of a token that has been replaced meanwhile is
// told to wait. That isn't meant for the token that a person has brought.
func TestPasteWhileMintIsRefused(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(workspacetest.Fault{
			Path: createPath, Effect: workspacetest.Answer, Status: http.StatusTooManyRequests, Delay: 5 * time.Second, Body: "{}",
			Header: http.Header{"Retry-After": {"600"}},
		})
		go func() { _, _ = h.r.Rotate(h.Context(), "asked") }()
		h.pass(time.Second)
		pasted := h.issue(24 * time.Hour)
		h.r.CheckProfile()
		h.pass(10 * time.Second)
		if got := h.proxy.token(); got.Expose() == pasted.Value {
			t.Errorf("the token that was pasted isn't replaced:\n%s", h.story())
		}
	})
}

// TestPasteIsSeenByAnother: in an outage a token is put into the profile, and the first who
// sees it there is a login that fails. It is asked about all the same.
func TestPasteIsSeenByAnother(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(answer("", 503, "{}"))
		h.pass(time.Until(h.inUse().Expiry) + time.Hour)
		brought := h.ws.Issue(workspacetest.IssueOptions{})
		pasted := h.issue(48 * time.Hour)
		if _, err := h.r.Login(h.Context(), pat.New(brought.Value, host)); err == nil {
			t.Fatal("Login worked")
		}
		h.pass(time.Second)
		if n := h.listsWith(pasted); n != 1 {
			t.Errorf("%d lists with the new token within a second, want 1", n)
		}
	})
}

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

// TestListsFailWithMintProfile: the token in use has expired, the mint profile may mint, and
// nobody can say whether what it mints works. That isn't asked more often than in any other
// outage.
func TestListsFailWithMintProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(65 * time.Minute)
		began, expiry := time.Now(), h.inUse().Expiry
		h.ws.Inject(answer(listPath, 500, "{}"))
		h.pass(time.Until(expiry) + 3*time.Hour)
		h.wantFewCalls("before expiry", began, expiry, createsBefore, listsBefore)
		h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
		h.ws.Heal()
		h.pass(20 * time.Minute)
		if h.r.Ready() != nil || !h.isLive(h.proxy.token().ID) {
			t.Errorf("twenty minutes after the outage: %v, %v:\n%s", h.proxy.token(), h.r.Ready(), h.story())
		}
	})
}

// TestBrokenAgentOfDeadToken: a broken agent's file delays a mint as long as the token in use
// has life left. One that is dead has none.
func TestBrokenAgentOfDeadToken(t *testing.T) {
	inHouse(t, func(h *house) {
		h.useMintProfile()
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.write(h.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+h.host()+`"`)
		h.ws.Revoke(h.inUse().ID)
		_, _ = h.r.Refused(h.Context(), h.proxy.token())
		if err := h.r.Ready(); err != nil || !h.isLive(h.proxy.token().ID) {
			t.Errorf("Ready = %v, and the proxy has a dead token:\n%s", err, h.story())
		}
	})
}

// TestBrokenProfileOfDeadToken: the mint profile can't replace a dead token, since the profile
// can't be written. Requests that are refused, and the search for a token, leave the
// workspace alone all the same.
func TestBrokenProfileOfDeadToken(t *testing.T) {
	inHouse(t, func(h *house) {
		h.useMintProfile()
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		began, expiry := time.Now(), h.inUse().Expiry
		h.write(h.cfgPath(), "[DEFAULT]\nhost = "+host+"\ntoken = "+h.profileToken()+"\nclient_id = x\nclient_secret = y\n")
		h.ws.Revoke(h.inUse().ID)
		for range 3 * 60 {
			_, _ = h.r.Refused(h.Context(), h.r.Current())
			h.pass(time.Minute)
		}
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !strings.Contains(err.Error(), "client_id") {
			t.Errorf("Ready = %v", err)
		}
		h.pass(4 * time.Hour)
		h.wantFewCalls("dead before its expiry", began, expiry, createsBefore, listsBefore)
		h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
		h.writeProfile(h.profileToken())
		h.pass(3 * time.Second)
		if err := h.r.Ready(); err != nil {
			t.Errorf("the profile was mended: %v", err)
		}
	})
}

// TestRestartInOutageAfterExpiry: a restart doesn't make patrol forget that the token in the
// profile has expired, and that nothing is urgent therefore.
func TestRestartInOutageAfterExpiry(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(65 * time.Minute)
		expiry := h.inUse().Expiry
		h.ws.Inject(answer("", 503, "{}"))
		h.pass(time.Until(expiry) + 2*time.Hour)
		h.restart()
		began := time.Now()
		h.pass(3 * time.Hour)
		h.wantFewCalls("after a restart", began, time.Now(), createsAfter, listsAfter)
	})
}
