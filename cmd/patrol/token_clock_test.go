//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// TestTokenByAWrongClock: by this machine's clock the token has expired, and the
// workspace takes it: the command prints it. Here it is the workspace's clock that
// stands still.
func TestTokenByAWrongClock(t *testing.T) {
	t.Parallel()
	began := time.Now()
	w, err := workspacetest.Start(workspacetest.Config{Now: func() time.Time { return began }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	home := t.TempDir()
	profile := fmt.Sprintf("[DEFAULT]\nhost = %s\ntoken = %s\n", w.URL, w.Issue(workspacetest.IssueOptions{}).Value)
	if err := os.WriteFile(filepath.Join(home, ".databrickscfg"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	patrol := func(args ...string) (stdout, stderr string, code int) {
		cmd := exec.Command("patrol", args...) //nolint:noctx // it ends by itself
		cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
		var out, complaint strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &complaint
		_ = cmd.Run()
		return out.String(), complaint.String(), cmd.ProcessState.ExitCode()
	}
	const lifetime = 2 * time.Second
	if _, stderr, code := patrol("rotate", "--lifetime", lifetime.String(), "--grace", "0s"); code != 0 {
		t.Fatalf("patrol rotate: %d, %s", code, stderr)
	}
	time.Sleep(lifetime + time.Second) // as the local clock has it, it is dead then
	live := w.Live()
	minted := live[len(live)-1]
	if !minted.Minted {
		t.Fatalf("%v lives, which wasn't minted", minted)
	}
	if stdout, stderr, code := patrol("token"); code != 0 || strings.TrimSpace(stdout) != minted.Value {
		t.Errorf("the token works: exit code %d, the token printed: %v, %s", code, strings.Contains(stdout, minted.Value), stderr)
	}
	w.Revoke(minted.ID)
	if stdout, stderr, code := patrol("token"); code != 3 || stdout != "" {
		t.Errorf("the token was revoked: exit code %d, %s", code, stderr)
	}
}
