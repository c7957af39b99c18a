package rotator_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestRefusedEndpoint: an endpoint that calls a good token invalid mints
// nothing, however often it is asked.
func TestRefusedEndpoint(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.wantOne()
		tokens, requests := len(h.ws.Tokens()), len(h.ws.Requests())
		current := h.r.Current()
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if again, ok := h.r.Refused(h.Context(), current); ok {
					h.Errorf("told to try again with %v", again)
				}
			})
		}
		all.Wait()
		if minted, asked := len(h.ws.Tokens())-tokens, len(h.ws.Requests())-requests; minted != 0 || asked != 1 {
			h.Errorf("1000 refusals: %d tokens minted, the workspace asked %d times", minted, asked)
		}
	})
}

func TestRefusedOldToken(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		if again, ok := h.r.Refused(h.Context(), pat.New(boot.Value, host)); !ok || !again.Same(h.r.Current()) {
			h.Errorf("Refused = %v, %v", again, ok)
		}
	})
}

// TestRefusedYoungToken: a new token that isn't known everywhere yet is stood
// in for by the one before it.
func TestRefusedYoungToken(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		if again, ok := h.r.Refused(h.Context(), h.r.Current()); !ok || again.Expose() != boot.Value {
			h.Errorf("Refused = %v, %v", again, ok)
		}
		h.pass(2 * time.Minute)
		if again, ok := h.r.Refused(h.Context(), h.r.Current()); ok {
			h.Errorf("after two minutes: %v, %v", again, ok)
		}
	})
}

// TestRefusedYoungTokenAlone: where the one before it is gone, the new token
// gets another try a moment later.
func TestRefusedYoungTokenAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = 0
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Second)
		h.wantOne()
		began := time.Now()
		again, ok := h.r.Refused(h.Context(), h.r.Current())
		if !ok || !again.Same(h.r.Current()) || time.Since(began) == 0 {
			h.Errorf("Refused = %v, %v after %v", again, ok, time.Since(began))
		}
	})
}

// TestRefusedDeadChain: a new token is dead, and so is the one before it,
// although it is still in the queue.
func TestRefusedDeadChain(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.ws.Revoke(h.r.Current().ID)
		if again, ok := h.r.Refused(h.Context(), h.r.Current()); !ok || again.Expose() != boot.Value || h.r.Ready() != nil {
			h.Errorf("Refused = %v, %v; Ready = %v", again, ok, h.r.Ready())
		}
		h.ws.Revoke(boot.ID)
		if again, ok := h.r.Refused(h.Context(), h.r.Current()); ok || h.r.Ready() == nil {
			h.Errorf("Refused = %v, %v; Ready = %v", again, ok, h.r.Ready())
		}
	})
}

func TestRefusedDeadToken(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Revoke(h.wantOne().ID)
		if again, ok := h.r.Refused(h.Context(), h.r.Current()); ok || h.r.Ready() == nil {
			h.Errorf("Refused = %v, %v; Ready = %v", again, ok, h.r.Ready())
		}
	})
}

// TestRefusedInEachSentence: whatever words a gateway chooses to say that the
// token in use is dead, the chain is called dead; a permission error isn't that.
func TestRefusedInEachSentence(t *testing.T) {
	for sentence, dead := range map[string]bool{
		"Invalid personal access token.":                                      true,
		"The provided token is not valid":                                     true,
		"The provided access token is invalid":                                true,
		"token has been revoked":                                              true,
		"Provided access token does not have required scopes: authentication": false,
		"API tokens are disabled for user 7":                                  false,
	} {
		t.Run(sentence, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(10 * time.Minute)
				h.wantOne()
				h.ws.Inject(workspacetest.Fault{
					Path: "/api/2.0/token/list", Times: workspacetest.Always,
					Effect: workspacetest.Answer, Status: http.StatusForbidden, Body: `{"error_code":403,"message":"` + sentence + `"}`,
				})
				if again, ok := h.r.Refused(h.Context(), h.r.Current()); ok {
					h.Errorf("told to try again with %v", again)
				}
				if err := h.r.Ready(); errors.Is(err, rotator.ErrNeedsLogin) != dead {
					h.Errorf("Ready = %v", err)
				}
			})
		})
	}
}

// TestRefusalsInOutage: requests are refused again and again, and the workspace doesn't say
// whether the token works. It isn't asked for each of them; once it answers again, the dead
// token is noticed.
func TestRefusalsInOutage(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Revoke(h.wantOne().ID)
		h.ws.Inject(answer(listPath, 503, "{}"))
		began := time.Now()
		refused := func() {
			if again, ok := h.r.Refused(h.Context(), h.r.Current()); ok {
				t.Errorf("told to try again with %v", again)
			}
			h.pass(10 * time.Second)
		}
		for range 6 * 60 {
			refused()
		}
		h.wantFewCalls("in the outage", began, time.Now(), createsBefore, listsBefore)
		h.ws.Heal()
		for range 6 * 6 {
			refused()
		}
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) {
			t.Errorf("Ready = %v", err)
		}
	})
}

// TestRefusalEndsAnOutage: a workspace that refuses a request answers again. That is found
// out with the request, and not when the pause after the last failure is over. Nor is it
// asked for each request until then.
func TestRefusalEndsAnOutage(t *testing.T) {
	inHouse(t, func(h *house) {
		h.ws.AddClient("robot", "robot-secret", workspacetest.DefaultUser)
		file := filepath.Join(h.dir, "mint.cfg")
		h.write(file, "[mint]\nhost = "+host+"\nclient_id = robot\nclient_secret = robot-secret\n")
		var err error
		if h.mintAs, err = h.client().AsProfile(h.Context(), file, "mint"); err != nil {
			h.Fatal(err)
		}
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		expiry := h.wantOne().Expiry
		h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 503, Body: "{}", Times: workspacetest.Always})
		h.pass(time.Until(expiry))
		for range 3 * 60 {
			if _, ok := h.r.Refused(h.Context(), h.r.Current()); ok {
				t.Error("a request is sent again in the outage")
			}
			h.pass(time.Minute)
		}
		h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
		h.pass(15 * time.Minute) // then a refused request may ask again
		all := func(workspacetest.Request) bool { return true }
		for lists := len(h.callsAt(listPath, all)); len(h.callsAt(listPath, all)) == lists; {
			h.pass(time.Second)
		}
		h.ws.Heal()
		dead := h.r.Current()
		if again, ok := h.r.Refused(h.Context(), dead); !ok || again.Same(dead) {
			t.Errorf("Refused = %v, %v\n%s", again, ok, h.story())
		}
	})
}

// TestQuota: a workspace that has no room makes room among our own.
func TestQuota(t *testing.T) {
	inHouseWith(t, workspacetest.Config{Quota: 3}, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		other := h.ws.Issue(workspacetest.IssueOptions{Comment: "CI"})
		h.serve() // the third token
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			h.Fatal(err)
		}
		if !h.isLive(other.ID) || len(h.live()) != 3 {
			h.Errorf("live: %v", h.live())
		}
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			h.Fatal(err)
		}
		h.pass(2 * time.Hour)
		if !h.isLive(other.ID) || len(h.live()) != 2 {
			h.Errorf("live: %v", h.live())
		}
	})
}

func TestLifetimeCap(t *testing.T) {
	inHouseWith(t, workspacetest.Config{MaxLifetime: time.Hour}, func(h *house) {
		h.issue(24 * time.Hour)
		h.open()
		if err := h.r.Start(h.Context()); err != nil {
			h.Fatal(err)
		}
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			h.Error("a lifetime over the cap was given")
		}
	})
}

// TestMintProfile: who has another right to mint mends a chain that has died,
// by itself and once.
func TestMintProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.ws.AddClient("robot", "robot-secret", workspacetest.DefaultUser)
		file := filepath.Join(h.dir, "mint.cfg")
		h.write(file, "[mint]\nhost = "+host+"\nclient_id = robot\nclient_secret = robot-secret\n")
		var err error
		if h.mintAs, err = h.client().AsProfile(h.Context(), file, "mint"); err != nil {
			h.Fatal(err)
		}
		h.issue(24 * time.Hour)
		h.serve()
		for range 20 { // Run finds out at the same time
			h.pass(10 * time.Minute)
			h.ws.Revoke(h.wantOne().ID)
			tokens := len(h.ws.Tokens())
			if again, ok := h.r.Refused(h.Context(), h.r.Current()); !ok || !h.isLive(again.ID) {
				h.Errorf("Refused = %v, %v\n%s", again, ok, h.story())
			}
			h.pass(h.grace + time.Minute)
			h.wantOne()
			if got := len(h.ws.Tokens()) - tokens; got != 1 {
				h.Errorf("%d tokens were minted", got)
			}
		}

		// Asleep for longer than the token lived, with nobody asking.
		h.close()
		h.pass(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		if err := h.r.Ready(); err != nil {
			h.Errorf("Ready = %v\n%s", err, h.story())
		}
		h.pass(h.grace + time.Minute)
		h.wantOne()
	})
}

// TestMintProfileAgainstKiller: where something revokes each new token, the mint
// profile makes one every five minutes, and says why no more.
func TestMintProfileAgainstKiller(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		const deaths, every = 6, 5 * time.Minute
		first := h.now()
		for range deaths {
			h.ws.Revoke(h.r.Current().ID)
			tokens := len(h.ws.Tokens())
			for len(h.ws.Tokens()) == tokens && h.now().Sub(first) < time.Hour {
				_, _ = h.r.Refused(h.Context(), h.r.Current())
				h.pass(10 * time.Second)
				if err := h.r.Ready(); err != nil && (!errors.Is(err, rotator.ErrNeedsLogin) || !strings.Contains(err.Error(), "something revokes patrol's tokens")) {
					h.Fatalf("Ready = %v", err)
				}
			}
			if err := h.r.Ready(); err != nil {
				h.Fatalf("Ready = %v\n%s", err, h.story())
			}
		}
		if took := h.now().Sub(first); took < (deaths-1)*every || took > deaths*(every+time.Minute) {
			h.Errorf("%d tokens were minted in %v", deaths, took)
		}
	})
}

// TestMintProfileAtOnce: the rotation that finds the token dead goes on by the
// mint profile. A command that rotates once has no later try.
func TestMintProfileAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(h.grace + time.Minute)
		h.close()
		h.ws.Revoke(h.r.Current().ID)
		h.open()
		if err := h.r.Start(h.Context()); err != nil {
			h.Fatal(err)
		}
		rotation, err := h.r.Rotate(h.Context(), "asked")
		if err != nil || h.r.Ready() != nil || !h.isLive(rotation.Token.ID) || h.profileToken() != rotation.Token.Expose() {
			h.Errorf("%v, %v:\n%s", rotation.Token, err, h.story())
		}
	})
}
