package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the folder's path, its socket can be named, and nothing is left behind.
func TestWithSocketPath(t *testing.T) {
	temp := shortDir(t)
	t.Setenv("TMPDIR", temp)
	for _, dir := range []string{shortDir(t), filepath.Join(shortDir(t), strings.Repeat("x", maxSocketPath))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		failed := errors.New("in use")
		err := withSocketPath(dir, func(path string) error {
			if len(path) > maxSocketPath {
				t.Errorf("%s has %d bytes", path, len(path))
			}
			return errors.Join(failed, os.WriteFile(path, nil, 0o600))
		})
		if !errors.Is(err, failed) {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, SocketName)); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
