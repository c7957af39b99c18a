package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
)

// maxSocketPath is what a control socket's path may be long. The kernels' limits
// are 104 (macOS) and 108 bytes.
const maxSocketPath = 100

// SocketName is the socket's name in the state folder, or of the link to it.
const SocketName = "control.sock"

// socketPath returns where a service with this state listens, and the link that
// leads there if that isn't in the state folder itself. It makes the folder.
func socketPath(env cli.Env, stateDir string) (path, link string, err error) {
	path = filepath.Join(stateDir, SocketName)
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	link = path
	var errs []error
	for _, dir := range shortDirs(env) {
		path = filepath.Join(dir, state.ShortHash(stateDir)+".sock")
		if len(path) > maxSocketPath {
			continue
		}
		if err := makeOwnDir(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		return path, link, nil
	}
	return "", "", cli.Hinted(fmt.Errorf("no folder for the control socket: %w", errors.Join(errs...)),
		"choose a shorter --state-dir: a socket's path may have 100 bytes")
}

// shortDirs returns the folders that may hold the socket of a state folder with
// a long name, best first.
func shortDirs(env cli.Env) (dirs []string) {
	for _, dir := range []string{env.Get("XDG_RUNTIME_DIR"), env.Get("TMPDIR"), "/tmp", os.TempDir()} {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Join(dir, fmt.Sprintf("patrol-%d", os.Geteuid())))
		}
	}
	return dirs
}

// makeOwnDir makes dir, in a folder where others may have made it first: then it
// must be ours and closed.
func makeOwnDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a link that somebody put there", dir)
	}
	return state.CheckPrivate(dir)
}

// FindSocket returns where the service of a state folder listens, if it runs.
func FindSocket(stateDir string) (string, error) {
	path := filepath.Join(stateDir, SocketName)
	target, err := os.Readlink(path)
	switch {
	case err == nil:
		// A folder where others may write leads us nowhere.
		if err := state.CheckPrivate(filepath.Dir(target)); err != nil {
			return "", err
		}
		return target, nil
	case errors.Is(err, fs.ErrNotExist), len(path) > maxSocketPath:
		return "", ErrNoService
	case errors.Is(err, fs.ErrPermission):
		return "", cli.Hinted(fmt.Errorf("looking for the service: %w", err), "run this as the user who runs the service")
	}
	return path, nil // no link: the socket itself
}

// removeStale removes a socket that nobody listens on, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for an old control socket: %w", err)
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
		return cli.Hinted(fmt.Errorf("%s stands where the control socket belongs and is none", path),
			"move it away, or choose another folder with --state-dir")
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing an old control socket: %w", err)
	}
	return nil
}

// relink makes link lead to path, whatever stood there for a service before.
func relink(path, link string) error {
	if err := removeStale(link); err != nil {
		return err
	}
	return os.Symlink(path, link)
}
