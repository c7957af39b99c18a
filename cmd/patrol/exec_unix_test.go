//go:build unix

package main

import (
	"os/exec"
	"strings"
	"testing"

	"patrol/rotator/workspacetest"
)

// What a shell without job control puts into the background ignores SIGINT.
func TestExecInheritsIgnoredInterrupt(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	const script = `patrol exec -- sh -c 'kill -INT $$; echo survived' & wait`
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Env = s.app.environ
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "survived") {
		t.Errorf("%v: %s", err, out)
	}
}
