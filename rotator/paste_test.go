package rotator_test

import (
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// TestPasteDuringMint: somebody puts a token into the profile while the answer to
// a create is under way. The rotation goes on, and what it mints isn't taken for
// a mint that was cut off.
func TestPasteDuringMint(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"before": {Path: "/api/2.0/token/create", Delay: 5 * time.Second},
		"after":  {Path: "/api/2.0/token/create", Delay: 5 * time.Second, After: true},
		"probe":  {Path: "/api/2.0/token/list", Delay: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.schedule = every(h.T, "0 */3 * * *")
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(10 * time.Minute)
				h.wantOne()
				h.ws.Inject(fault)
				rotated := make(chan error, 1)
				go func() {
					_, err := h.r.Rotate(h.Context(), "asked")
					rotated <- err
				}()
				h.pass(time.Second)
				h.issue(24 * time.Hour)
				h.r.CheckProfile()
				if err := <-rotated; err != nil {
					h.Error(err)
				}
				h.pass(h.grace + time.Minute)
				h.wantOne()
			})
		})
	}
}
