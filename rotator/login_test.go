package rotator_test

import (
	"strings"
	"testing"
	"time"

	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestLoginUser: a login says whose the new token is, and whose the one before
// was, also if that is dead by now.
func TestLoginUser(t *testing.T) {
	inHouse(t, func(h *house) {
		login := func(opts workspacetest.IssueOptions, user, before string) {
			t.Helper()
			opts.Lifetime = time.Hour
			rotation, err := h.r.Login(h.Context(), pat.New(h.ws.Issue(opts).Value, host))
			if err != nil || rotation.User != user || rotation.UserBefore != before {
				t.Errorf("Login = %q after %q, %v; want %q after %q", rotation.User, rotation.UserBefore, err, user, before)
			}
		}
		h.serve()
		login(workspacetest.IssueOptions{User: "a@example.com"}, "a@example.com", "")
		login(workspacetest.IssueOptions{User: "b@example.com"}, "b@example.com", "a@example.com")
		if !strings.Contains(h.logs.String(), "another user") {
			t.Error("the log doesn't say that the user has changed")
		}
		h.pass(time.Minute)
		h.restart()
		for _, id := range h.live() {
			h.ws.Revoke(id)
		}
		login(workspacetest.IssueOptions{User: "c@example.com"}, "c@example.com", "b@example.com")
		login(workspacetest.IssueOptions{User: "d@example.com", Scopes: []string{"sql"}}, "", "c@example.com")
	})
}
