package rotator_test

import (
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// TestListLags: a new token stands in no list for ten seconds. It is used all the
// same, as it works, and none is left over.
func TestListLags(t *testing.T) {
	inHouseWith(t, workspacetest.Config{ListLag: 10 * time.Second}, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		boot := h.issue(24 * time.Hour)
		h.serve()
		if h.proxy.token().Expose() == boot.Value || h.r.Ready() != nil {
			t.Errorf("the bootstrap token isn't replaced at once: %v\n%s", h.r.Ready(), h.story())
		}
		before := len(h.ws.Tokens())
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			t.Errorf("Rotate = %v", err)
		}
		if n := len(h.ws.Tokens()) - before; n != 1 {
			t.Errorf("%d tokens minted for one rotation", n)
		}
		if t.Failed() {
			return // or it is tried every few seconds for a day
		}
		h.pass(h.grace + 10*time.Minute)
		h.wantOne()
		h.issue(24 * time.Hour) // a person's is as new
		h.r.CheckProfile()
		h.pass(h.grace + 10*time.Minute)
		h.wantOne()
		h.pass(24 * time.Hour)
		h.wantOne()
	})
}

// TestListLagsAfterALostReply: a token of which nobody has the answer is found once
// the list shows it.
func TestListLagsAfterALostReply(t *testing.T) {
	inHouseWith(t, workspacetest.Config{ListLag: 10 * time.Second}, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(h.grace + 10*time.Minute)
		lost := lostAnswer(createPath)
		lost.Times = 1
		h.ws.Inject(lost)
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			t.Error("Rotate worked")
		}
		if _, err := h.r.Rotate(h.Context(), "asked again"); err != nil {
			t.Error(err)
		}
		h.pass(h.grace + 15*time.Minute)
		h.wantOne()
	})
}
