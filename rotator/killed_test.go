package rotator_test

import (
	"strings"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// killCurrent has somebody revoke the token in use a while after it was minted, while
// the one before it lives.
func (h *house) killCurrent(after time.Duration) (killed workspacetest.Token) {
	h.Helper()
	h.pass(after)
	killed = h.inUse()
	h.ws.Revoke(killed.ID)
	return killed
}

// TestKilledWithinGrace: somebody revokes the token in use while the one before it
// lives still. The next one is minted with that, whoever notices.
func TestKilledWithinGrace(t *testing.T) {
	for name, notice := range map[string]func(h *house){
		"by a request": func(h *house) {
			again, ok := h.r.Refused(h.Context(), h.proxy.token())
			if !ok || !h.isLive(again.ID) {
				h.Errorf("the request is sent again %v, with %v", ok, again)
			}
		},
		"by a rotation": func(h *house) {
			if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
				h.Error(err)
			}
		},
		"by the queue": func(h *house) { h.pass(h.grace) },
	} {
		for _, first := range []bool{true, false} { // the one before is the bootstrap token
			for _, after := range []time.Duration{10 * time.Second, 2 * time.Minute} {
				if after < time.Minute && name == "by a request" {
					continue // it is sent again with the one before, and no more
				}
				t.Run(name+", after "+after.String(), func(t *testing.T) {
					inHouse(t, func(h *house) {
						h.issue(24 * time.Hour)
						h.serve()
						if !first {
							h.pass(time.Hour)
							if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
								t.Fatal(err)
							}
						}
						killed := h.killCurrent(after)
						notice(h)
						h.pass(time.Second)
						if tok := h.inUse(); h.r.Ready() != nil || tok.ID == killed.ID || !h.isLive(tok.ID) || h.profileToken() != tok.Value {
							t.Fatalf("%v is in use, %v:\n%s", tok, h.r.Ready(), h.story())
						}
						h.pass(h.grace + 10*time.Minute)
						if tok := h.wantOne(); !strings.HasPrefix(tok.Comment, "patrol/") {
							t.Errorf("what lives is %v, %q", tok, tok.Comment)
						}
					})
				})
			}
		}
	}
}

// TestKilledAgainAndAgain: whatever revokes patrol's tokens revokes the next one too.
// Not more than one is minted in five minutes for that.
func TestKilledAgainAndAgain(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour // the one before lives
		h.issue(24 * time.Hour)
		h.serve()
		h.killCurrent(2 * time.Minute)
		before := len(h.ws.Tokens())
		for range 30 {
			if tok := h.proxy.token(); !tok.IsZero() {
				h.ws.Revoke(tok.ID)
				_, _ = h.r.Refused(h.Context(), tok)
			}
			h.pass(time.Minute)
		}
		if n := len(h.ws.Tokens()) - before; n < 1 || n > 7 {
			t.Errorf("%d tokens minted in half an hour against somebody who revokes them, want one in five minutes", n)
		}
	})
}
