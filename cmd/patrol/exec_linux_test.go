package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"patrol/rotator/workspacetest"
)

// TestExecInAnotherNetwork: from another network namespace the owner of a client's socket
// can't be looked up, so the client key is handed out where a key is set, too, and that
// is said.
func TestExecInAnotherNetwork(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root makes a network namespace")
	}
	s := newSite(t, workspacetest.Config{})
	s.serve(t)
	for _, command := range []string{"exec", "env"} {
		args := []string{command}
		if command == "exec" {
			args = append(args, "--", "env")
		}
		cmd := exec.CommandContext(t.Context(), "patrol", args...)
		cmd.Env = append(slices.Clone(s.app.environ), "OPENAI_API_KEY=sk-real", "ANTHROPIC_AUTH_TOKEN=sk-ant-real")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		for _, name := range []string{"OPENAI_API_KEY", "ANTHROPIC_AUTH_TOKEN"} {
			if err != nil || !regexp.MustCompile(name+`='?patrol-[a-z2-7]{26}`).Match(out) {
				t.Errorf("%s: %v, no client key in\n%s", name, err, out)
			}
		}
		if said := stderr.String(); !strings.Contains(said, "OPENAI_API_KEY and ANTHROPIC_AUTH_TOKEN: the value that was set is not used") || !strings.Contains(said, "another network namespace") {
			t.Errorf("%s said %q", command, said)
		}
	}
}
