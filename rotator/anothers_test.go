package rotator_test

import (
	"testing"
	"time"

	"patrol/rotator"
)

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
			e.Host = host + "?o=7"
			if err := h.ledger.Put(e); err != nil {
				t.Fatal(err)
			}
		}
		if d := h.logoutAlone(); len(h.live()) != 0 || ends(d)[rotator.PartedRevoked] != 2 {
			t.Errorf("%v live after %+v", h.live(), d)
		}
	})
}
