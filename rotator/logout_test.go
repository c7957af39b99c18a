package rotator_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// logout logs out and checks that the proxy and the Rotator have no token.
func (h *house) logout() rotator.LogoutResult {
	h.Helper()
	d, err := h.r.Logout(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	if got := h.proxy.token(); !got.IsZero() {
		h.Errorf("the proxy has %v", got)
	}
	if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !strings.Contains(err.Error(), "logged out") || !h.r.Current().IsZero() {
		h.Errorf("Ready = %v, Current = %v", err, h.r.Current())
	}
	return d
}

// ends returns how many tokens came to each end.
func ends(d rotator.LogoutResult) map[string]int {
	n := map[string]int{}
	for _, t := range d.Tokens {
		n[t.End]++
	}
	return n
}

func cleared(d rotator.LogoutResult) (names []string) {
	for _, f := range d.Files {
		if f.Cleared {
			names = append(names, f.Name)
		}
	}
	return names
}

func (h *house) wantOut(d time.Duration) {
	h.Helper()
	before := len(h.ws.Tokens())
	h.pass(d)
	if n := len(h.ws.Tokens()) - before; n != 0 || h.profileToken() != "" {
		h.Errorf("%v after a logout: %d tokens made, in the profile %v:\n%s", d, n, h.profileToken() != "", h.story())
	}
}

func TestLogout(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 * * * *")
		h.grace = time.Hour
		boot := h.issue(24 * time.Hour)
		h.write(h.openCodePath(), `{"databricks":{"type":"api","key":"`+boot.Value+`"},"openai":{"type":"api","key":"sk"}}`)
		h.serve()
		h.pass(10 * time.Minute)
		if _, err := h.r.Rotate(h.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if n := len(h.ws.Live()); n != 3 {
			t.Fatalf("%d tokens live, want the bootstrap one, a retiring one, and the one in use", n)
		}
		h.proxy.hold = true // requests that carry the token don't save it
		d := h.logout()
		if live := h.live(); len(live) != 0 || ends(d)[rotator.EndRevoked] != 3 || len(d.Tokens) != 3 {
			t.Errorf("%v live after %+v\n%s", live, d, h.story())
		}
		if got := cleared(d); len(got) != 2 || h.profileToken() != "" || h.read(h.openCodePath()) != `{"openai":{"type":"api","key":"sk"}}` {
			t.Errorf("cleared %v; OpenCode's is %s", got, h.read(h.openCodePath()))
		}
		if left := h.ledger.Pending(); len(left) != 0 {
			t.Errorf("the ledger still has %+v", left)
		}
		h.wantOut(24 * time.Hour)

		// Again, and after a restart: nothing to do.
		for range 2 {
			if d := h.logout(); len(d.Tokens) != 0 || cleared(d) != nil {
				t.Errorf("there was something to do: %+v", d)
			}
			h.wantOut(time.Hour)
			h.restart()
		}

		// A login ends it, across restarts.
		tok := h.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour})
		if _, err := h.r.Login(h.Context(), pat.New(tok.Value, host)); err != nil {
			t.Fatal(err)
		}
		h.restart()
		h.pass(90 * time.Minute)
		if err := h.r.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// TestLogoutOrder: the files are cleared before anything is revoked, and the
// token in use revokes the others before itself.
func TestLogoutOrder(t *testing.T) {
	var watch func()
	cfg := workspacetest.Config{Fault: func(r *http.Request) *workspacetest.Fault {
		if watch != nil && strings.HasSuffix(r.URL.Path, "/delete") {
			watch()
		}
		return nil
	}}
	inHouseWith(t, cfg, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		current := h.r.Current().ID
		asked := len(h.ws.Requests())
		var deletes []string
		watch = func() {
			if h.profileToken() != "" || !h.proxy.token().IsZero() {
				t.Error("a token is revoked that is in use still")
			}
		}
		h.logout()
		for _, r := range h.ws.Requests()[asked:] {
			if strings.HasSuffix(r.Path, "/delete") {
				deletes = append(deletes, r.TokenID)
			}
		}
		if len(deletes) != 2 || deletes[0] != current || deletes[1] != current {
			t.Errorf("revoked by %v, want %s both times", deletes, current)
		}
	})
}

// TestLogoutPasted: after a logout a token is used that is newly put into the
// profile, and no other.
func TestLogoutPasted(t *testing.T) {
	inHouse(t, func(h *house) {
		h.env = h.ws.Issue(workspacetest.IssueOptions{Lifetime: 240 * time.Hour}).Value
		h.serve()
		h.pass(time.Minute)
		d := h.logout()
		if n := ends(d); n[rotator.EndLeft] != 1 || n[rotator.EndRevoked] != 1 || len(h.ws.Live()) != 1 {
			t.Errorf("the environment's token isn't ours to revoke: %+v", d)
		}
		h.wantOut(time.Hour)
		h.restart()
		h.wantOut(time.Hour)
		h.issue(time.Hour)
		h.pass(time.Minute)
		if err := h.r.Ready(); err != nil || h.r.Current().IsZero() {
			t.Errorf("a token in the profile wasn't taken: %v", err)
		}
		h.restart()
		if err := h.r.Ready(); err != nil {
			t.Error(err)
		}
	})
}

// TestLogoutStranger: a token in the environment that patrol has had no use for
// is not taken after a logout either.
func TestLogoutStranger(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.close()
		h.env = h.ws.Issue(workspacetest.IssueOptions{Lifetime: 240 * time.Hour}).Value
		h.serve()
		d := h.logout()
		if n := ends(d); n[rotator.EndLeft] != 1 {
			t.Errorf("the environment's token isn't named: %+v", d)
		}
		h.restart()
		h.wantOut(time.Hour)
		if len(h.ws.Live()) != 1 {
			t.Errorf("live: %v", h.live())
		}
	})
}

// TestLogoutBootstrap: a token that patrol couldn't replace yet is its user's.
func TestLogoutBootstrap(t *testing.T) {
	inHouseWith(t, workspacetest.Config{DisablePATs: true}, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		d := h.logout()
		if n := ends(d); n[rotator.EndLeft] != 1 || len(d.Tokens) != 1 || !h.isLive(boot.ID) || h.profileToken() != boot.Value {
			t.Errorf("%+v", d)
		}
		h.pass(time.Hour)
		h.restart()
		h.pass(time.Hour)
		if h.r.Ready() == nil {
			t.Error("the token that was left was taken again")
		}
	})
}

// TestLogoutAlone needs no Start.
func TestLogoutAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.close()
		h.open()
		if d := h.logoutAlone(); len(h.live()) != 0 || ends(d)[rotator.EndRevoked] != 2 || h.profileToken() != "" {
			t.Errorf("%v live after %+v", h.live(), d)
		}
	})
}

func (h *house) logoutAlone() rotator.LogoutResult {
	h.Helper()
	d, err := h.r.Logout(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return d
}

// TestLogoutWithoutNetwork: what can't be revoked now is revoked later by the
// last token, which then revokes itself.
func TestLogoutWithoutNetwork(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Reset, Times: 12})
		d := h.logout()
		if n := ends(d); n[rotator.EndPending] != 2 || h.profileToken() != "" || len(h.ledger.Pending()) != 2 {
			t.Errorf("%+v", d)
		}
		h.wantOut(2 * time.Hour)
		if live := h.live(); len(live) != 0 || len(h.ledger.Pending()) != 0 {
			t.Errorf("%v live, pending %+v\n%s", live, h.ledger.Pending(), h.story())
		}
	})
}

// TestLogoutLostReplies: each answer is lost after the workspace has acted.
func TestLogoutLostReplies(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		for range 2 {
			h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/delete", Effect: workspacetest.Reset, After: true})
		}
		if d := h.logout(); ends(d)[rotator.EndRevoked] != 2 || len(h.live()) != 0 {
			t.Errorf("%v live after %+v", h.live(), d)
		}
	})
}

// TestLogoutBrokenFile: the token is revoked all the same, and the file is
// cleared once it can be.
func TestLogoutBrokenFile(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(24 * time.Hour)
		settings := `{"env":{"ANTHROPIC_AUTH_TOKEN":"` + boot.Value + `"}}`
		h.write(h.claudePath(), settings)
		h.serve()
		h.pass(time.Minute)
		good := h.read(h.claudePath())
		h.write(h.claudePath(), good[:len(good)-1])
		d := h.logout()
		if len(h.live()) != 0 || len(d.Files) != 3 || d.Files[1].Error == "" || h.profileToken() != "" {
			t.Errorf("%+v", d)
		}
		h.write(h.claudePath(), good)
		h.pass(10 * time.Minute)
		if got := h.read(h.claudePath()); got != `{"env":{}}` {
			t.Errorf("the file is %s", got)
		}
	})
}

// TestLogoutDuringARotation ends the rotation, and the token that it has
// perhaps made.
func TestLogoutDuringARotation(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Hang, After: true})
		rotated := make(chan error, 1)
		go func() {
			_, err := h.r.Rotate(h.Context(), "test")
			rotated <- err
		}()
		h.pass(time.Second)
		d := h.logout()
		if err := <-rotated; err == nil {
			t.Error("the rotation went on")
		}
		h.wantOut(10 * time.Minute)
		if live := h.live(); len(live) != 0 {
			t.Errorf("%v live after %+v\n%s", live, d, h.story())
		}
	})
}

// TestLogoutKeepsOtherPatrols revokes nothing that others have made.
func TestLogoutKeepsOtherPatrols(t *testing.T) {
	inHouse(t, func(h *house) {
		other := h.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/other-01234567/89abcdef01234567"}).ID
		plain := h.ws.Issue(workspacetest.IssueOptions{}).ID
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.logout()
		if live := h.live(); len(live) != 2 || !h.isLive(other) || !h.isLive(plain) {
			t.Errorf("%v live, want %s and %s", live, other, plain)
		}
	})
}

// TestLogoutMintProfile: rights to mint don't undo a logout, until told to.
func TestLogoutMintProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.serve()
		h.pass(10 * time.Minute)
		h.logout()
		h.wantOut(time.Hour)
		h.restart()
		h.wantOut(time.Hour)
		if live := h.live(); len(live) != 1 {
			t.Errorf("live: %v", live)
		}
		if _, err := h.r.Rotate(h.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if out, _ := h.ledger.LoggedOut(); out || h.r.Ready() != nil {
			t.Errorf("still logged out: %v", h.r.Ready())
		}
	})
}

// TestLogoutCutOff: wherever a logout is cut off, a start after it knows of
// every token that lives, and a further logout finishes it.
func TestLogoutCutOff(t *testing.T) {
	for cut := range 6 {
		inHouse(t, func(h *house) {
			h.grace = time.Hour
			h.issue(24 * time.Hour)
			h.serve()
			h.pass(time.Minute)
			h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Hang, Skip: cut, Times: workspacetest.Always})
			h.logout()
			h.close()
			pending := map[string]bool{}
			_, entries, err := ledger.Read(h.stateDir())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				pending[e.ID] = !e.Stage.Ended()
			}
			for _, id := range h.live() {
				if !pending[id] {
					t.Errorf("cut %d: token %s lives and is forgotten", cut, id)
				}
			}
			if h.profileToken() != "" {
				t.Errorf("cut %d: the profile holds a token", cut)
			}
		})
	}
}

// TestLogoutOfNothing: there never was a token.
func TestLogoutOfNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		if err := os.Remove(h.cfgPath()); err != nil {
			t.Fatal(err)
		}
		h.open()
		if d := h.logoutAlone(); len(d.Tokens) != 0 || cleared(d) != nil {
			t.Errorf("%+v", d)
		}
		if _, err := os.Stat(h.cfgPath()); !errors.Is(err, os.ErrNotExist) {
			t.Error("a profile was made")
		}
	})
}

// TestLogoutAloneWithDeadProfile: the token in the profile is dead, and the environment's
// works, which isn't patrol's: what patrol has left is revoked with it.
func TestLogoutAloneWithDeadProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.ws.Revoke(h.inUse().ID)
		h.close()
		env := h.ws.Issue(workspacetest.IssueOptions{})
		h.env = env.Value
		h.open()
		if d := h.logoutAlone(); len(h.live()) != 1 || !h.isLive(env.ID) || ends(d)[rotator.EndRevoked] != 2 {
			t.Errorf("%v live after %+v\n%s", h.live(), d, h.story())
		}
	})
}
