package rotator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const userA, userB = "a@example.com", "b@example.com"

// changeUser serves with a token of one user, which has an old one in its
// grace, and then brings another user's. It returns the ids of those of the
// first that live.
func (h *house) changeUser(scopes ...string) (ofA []string) {
	h.Helper()
	h.grace = time.Hour
	boot := h.ws.Issue(workspacetest.IssueOptions{User: userA, Lifetime: 24 * time.Hour, Scopes: scopes})
	h.writeProfile(boot.Value)
	h.serve()
	h.pass(time.Minute)
	if ofA = h.live(); len(ofA) != 2 {
		h.Fatalf("%d tokens live, want 2", len(ofA))
	}
	tok := h.ws.Issue(workspacetest.IssueOptions{User: userB, Lifetime: 24 * time.Hour, Scopes: scopes})
	if _, err := h.r.Login(h.Context(), pat.New(tok.Value, host)); err != nil {
		h.Fatal(err)
	}
	return ofA
}

// wantHonest checks that no token is called revoked that lives, and that none
// that lives is forgotten.
func (h *house) wantHonest() {
	h.Helper()
	_, entries, err := ledger.Read(h.stateDir())
	if err != nil {
		h.Fatal(err)
	}
	for _, id := range h.live() {
		i := slices.IndexFunc(entries, func(e ledger.Entry) bool { return e.ID == id })
		if i >= 0 && entries[i].Stage.Ended() && entries[i].Stage != ledger.Left {
			h.Errorf("token %s lives and is called %s:\n%s", id, entries[i].Stage, h.story())
		}
	}
	for _, e := range entries {
		if strings.Contains(e.Reason, "never minted") {
			h.Errorf("%s: %s:\n%s", e.Nonce, e.Reason, h.story())
		}
	}
}

// TestChangeOfUser: the tokens of the user before are revoked with one of them,
// as long as patrol has one.
func TestChangeOfUser(t *testing.T) {
	for name, scopes := range map[string][]string{"": nil, "of unknown users": {"token-management", "sql"}} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.changeUser(scopes...)
				h.pass(2 * time.Hour)
				if tok := h.wantOne(); tok.User != userB {
					t.Errorf("it is %s's", tok.User)
				}
				h.wantHonest()
			})
		})
	}
}

// TestChangeOfUserAndRestart: nobody has a token any more that could revoke
// those of the user before. They stay in the ledger until they have expired.
func TestChangeOfUserAndRestart(t *testing.T) {
	inHouse(t, func(h *house) {
		ofA := h.changeUser()
		h.restart()
		h.pass(2 * time.Hour)
		h.wantHonest()
		for _, id := range ofA {
			if !h.isLive(id) {
				t.Errorf("%s is dead", id)
			}
		}
		left := 0
		for _, waits := range h.r.Status().Retiring {
			if strings.Contains(waits.Error, userA) && strings.Contains(waits.Error, "left to expire") {
				left++
			}
		}
		if left != 2 {
			t.Errorf("%d tokens are left to expire, want 2:\n%s", left, h.story())
		}
		h.pass(24 * time.Hour)
		h.wantOne()
		if n := len(h.r.Status().Retiring); n != 0 {
			t.Errorf("%d tokens that have expired wait:\n%s", n, h.story())
		}
	})
}

// TestChangeOfUserByProfile: the other user's token was put into the profile
// while patrol was down, and then the user logs out.
func TestChangeOfUserByProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		boot := h.ws.Issue(workspacetest.IssueOptions{User: userA, Lifetime: 24 * time.Hour})
		h.writeProfile(boot.Value)
		h.serve()
		h.pass(time.Minute)
		h.close()
		tok := h.ws.Issue(workspacetest.IssueOptions{User: userB, Lifetime: 24 * time.Hour})
		h.writeProfile(tok.Value)
		h.serve()
		h.pass(time.Minute)
		d := h.logout()
		if n := ends(d); n[rotator.EndRevoked] != 2 || n[rotator.EndPending] != 2 || len(h.live()) != 2 {
			t.Errorf("%d live after %+v", len(h.live()), d)
		}
		h.wantHonest()
	})
}

// TestLogoutAfterChangeOfUser: each user's tokens are revoked with their own.
func TestLogoutAfterChangeOfUser(t *testing.T) {
	for _, down := range []bool{false, true} {
		inHouse(t, func(h *house) {
			h.changeUser()
			if down {
				h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Reset, Times: 20})
			}
			d := h.logout()
			if n := ends(d); !down && (n[rotator.EndRevoked] != 4 || len(d.Tokens) != 4) {
				t.Errorf("%+v\n%s", d, h.story())
			}
			h.pass(3 * time.Hour)
			if n := len(h.live()); n != 0 || len(h.ledger.Pending()) != 0 {
				t.Errorf("network down %v: %d tokens live, pending %+v\n%s", down, n, h.ledger.Pending(), h.story())
			}
		})
	}
}

// TestLostReplyOfAnother: the answer to a create was lost, and another user's
// token is in use since.
func TestLostReplyOfAnother(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.ws.Issue(workspacetest.IssueOptions{User: userA, Lifetime: 24 * time.Hour})
		h.writeProfile(boot.Value)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Reset, After: true})
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/list", Effect: workspacetest.Reset, Times: workspacetest.Always})
		if _, err := h.r.Rotate(h.Context(), "test"); err == nil {
			t.Fatal("Rotate worked")
		}
		h.close()
		h.ws.Heal()
		tok := h.ws.Issue(workspacetest.IssueOptions{User: userB, Lifetime: 24 * time.Hour})
		h.writeProfile(tok.Value)
		h.serve()
		h.pass(time.Hour)
		h.wantHonest()
		if n := len(h.r.Status().Retiring); n != 2 {
			t.Errorf("%d tokens wait, want user A's last and the one that perhaps was minted:\n%s", n, h.story())
		}
		h.pass(5 * time.Hour)
		if n := len(h.r.Status().Retiring); n != 0 {
			t.Errorf("%d tokens wait that have expired:\n%s", n, h.story())
		}
	})
}

// TestMintProfileOfAnother: the mint profile's user can't tell whether another
// user's tokens live.
func TestMintProfileOfAnother(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{User: userB, Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.grace = time.Hour
		boot := h.ws.Issue(workspacetest.IssueOptions{User: userA, Lifetime: 24 * time.Hour})
		h.writeProfile(boot.Value)
		h.serve()
		h.pass(time.Minute)
		h.close()
		h.ws.Revoke(h.live()[2]) // the one in use
		h.serve()
		h.pass(2 * time.Hour)
		if !h.isLive(boot.ID) || h.r.Ready() != nil {
			t.Errorf("%v live, %v:\n%s", h.live(), h.r.Ready(), h.story())
		}
		h.wantHonest()
		if d := h.logout(); ends(d)[rotator.EndRevoked] != 1 {
			t.Errorf("%+v", d)
		}
		h.wantHonest()
	})
}

// TestLogoutOfAHostWithWorkspace: ?o=… has been added to the host since the
// tokens were minted, or was taken away from it. It is the same workspace.
func TestLogoutOfAHostWithWorkspace(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.close()
		h.open()
		for _, e := range h.ledger.Pending() {
			e.Host = pat.New("", host+"?o=7").Host
			if err := h.ledger.Put(e); err != nil {
				t.Fatal(err)
			}
		}
		if d := h.logoutAlone(); len(h.live()) != 0 || ends(d)[rotator.EndRevoked] != 2 {
			t.Errorf("%v live after %+v", h.live(), d)
		}
	})
}
