package rotator_test

import (
	"errors"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/workspacetest"
)

// TestMovedProfile: the profile has moved to another host, where nobody knows
// the token that was minted at the one before. That ends the token only if both
// are certainly one workspace. Else it stays in the ledger, and is revoked once
// the profile has moved back.
func TestMovedProfile(t *testing.T) {
	for name, tt := range map[string]struct {
		from, to string
		ended    bool
	}{
		"neither names one":   {"", "", true},
		"both name the same":  {"?o=7", "?w=7", true},
		"both name different": {"?o=7", "?o=9", false},
		"one names one":       {"", "?o=7", false},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				first, old := h.move(tt.from, tt.to)
				h.pass(2 * h.grace)
				if got := h.stageOf(old.ID); got.Ended() != tt.ended {
					h.Errorf("the token is %s:\n%s", got, h.story())
				}
				if tt.ended {
					return
				}
				h.close()
				h.ws, h.query = first, tt.from
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(2 * h.grace)
				if got := h.stageOf(old.ID); h.isLive(old.ID) || got != ledger.Revoked {
					h.Errorf("back home the token is %s, live: %v\n%s", got, h.isLive(old.ID), h.story())
				}
			})
		})
	}
}

// TestMovedForGood: what was minted in another workspace leaves the ledger when
// it has expired.
func TestMovedForGood(t *testing.T) {
	inHouse(t, func(h *house) {
		_, old := h.move("?o=7", "?o=9")
		h.pass(h.lifetime - time.Hour)
		if got := h.stageOf(old.ID); got.Ended() {
			h.Errorf("the token is %s before it has expired", got)
		}
		h.pass(2 * time.Hour)
		if got := h.stageOf(old.ID); got != ledger.Expired {
			h.Errorf("the token is %s after it has expired:\n%s", got, h.story())
		}
	})
}

// TestMovedHostAlone: the host in the profile was edited, and not the token
// beside it. Nobody gets that before the other workspace has taken it.
func TestMovedHostAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.query = "?o=7"
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(h.grace + time.Minute)
		old := h.wantOne()
		h.close()
		h.ws, h.query = workspacetest.New(workspacetest.Config{}), "?o=9"
		h.writeProfile(old.Value)
		h.serve()
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !h.proxy.token().IsZero() {
			h.Errorf("Ready = %v, the proxy has %v", err, h.proxy.token())
		}
		h.issue(24 * time.Hour)
		h.pass(2 * h.grace)
		if got := h.stageOf(old.ID); got.Ended() || h.r.Ready() != nil {
			h.Errorf("the token is %s, Ready = %v:\n%s", got, h.r.Ready(), h.story())
		}
	})
}

// move mints a token in one workspace and then moves the profile to another.
func (h *house) move(from, to string) (first *workspacetest.Workspace, old workspacetest.Token) {
	h.query = from
	h.issue(24 * time.Hour)
	h.serve()
	h.pass(h.grace + time.Minute)
	first, old = h.ws, h.wantOne()
	h.close()
	h.ws, h.query = workspacetest.New(workspacetest.Config{}), to
	h.issue(24 * time.Hour)
	h.serve()
	return first, old
}

// stageOf is how far the ledger has the token with this id.
func (h *house) stageOf(id string) ledger.Stage {
	h.Helper()
	_, entries, err := ledger.Read(h.stateDir())
	if err != nil {
		h.Fatal(err)
	}
	for _, e := range entries {
		if e.ID == id {
			return e.Stage
		}
	}
	h.Fatalf("the ledger doesn't know token %s", id)
	return ""
}
