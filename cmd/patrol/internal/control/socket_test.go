package control

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
)

func TestSocketPath(t *testing.T) {
	root := t.TempDir()
	short := filepath.Join("/run", "state")
	long := filepath.Join(root, strings.Repeat("x", maxSocketPath))
	runtimeDir, temp := filepath.Join(root, "run"), filepath.Join(root, "tmp")
	for _, dir := range []string{runtimeDir, temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	env := cli.Env{"XDG_RUNTIME_DIR=" + runtimeDir, "TMPDIR=" + temp}
	if path, link, err := socketPath(env, short); err != nil || link != "" || path != "/run/state/control.sock" {
		t.Errorf("short: %q, %q, %v", path, link, err)
	}
	path, link, err := socketPath(env, long)
	if err != nil || filepath.Dir(path) != filepath.Join(runtimeDir, fmt.Sprintf("patrol-%d", os.Geteuid())) || len(path) > maxSocketPath || link != filepath.Join(long, SocketName) {
		t.Errorf("long: %q, %q, %v", path, link, err)
	}
	if other, _, err := socketPath(env, long+"y"); err != nil || other == path {
		t.Errorf("two states share %q (%v)", other, err)
	}

	// What somebody else has put there is not used.
	own := filepath.Join(runtimeDir, fmt.Sprintf("patrol-%d", os.Geteuid()))
	if err := os.Chmod(own, 0o777); err != nil { //nolint:gosec // that is the attack
		t.Fatal(err)
	}
	path, _, err = socketPath(env, long)
	if err != nil || !strings.HasPrefix(path, temp) {
		t.Errorf("a folder that is open to others: %q, %v", path, err)
	}
	if err := os.Remove(own); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(root, own); err != nil {
		t.Fatal(err)
	}
	path, _, err = socketPath(env, long)
	if err != nil || !strings.HasPrefix(path, temp) {
		t.Errorf("a link: %q, %v", path, err)
	}
}
