package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"patrol/cmd/patrol/internal/cli"
)

// maxSocketPath is what a socket's path may be long. The kernels' limits are 104
// (macOS) and 108 bytes.
const maxSocketPath = 100

// SocketName is the socket's name in the state folder.
const SocketName = "control.sock"

// withSocketPath calls use with a path of a folder's control socket that the kernel
// takes. Where the folder's own is too long that leads through a link in a folder
// of our own, which is there as long as use runs.
func withSocketPath(stateDir string, use func(path string) error) error {
	if path := filepath.Join(stateDir, SocketName); len(path) <= maxSocketPath {
		return use(path)
	}
	dir, err := os.MkdirTemp("", "patrol-")
	if err != nil {
		return fmt.Errorf("making a shorter way to the control socket: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	link := filepath.Join(dir, "s")
	if err := os.Symlink(stateDir, link); err != nil {
		return fmt.Errorf("making a shorter way to the control socket: %w", err)
	}
	return use(filepath.Join(link, SocketName))
}

// removeStale removes a socket that nobody listens on, or the link to one that
// earlier versions made, and nothing else.
func removeStale(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
		return cli.Hinted(fmt.Errorf("%s stands where the control socket belongs and is none", path),
			"move it away, or choose another folder with --state-dir")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing an old control socket: %w", err)
	}
	return nil
}
