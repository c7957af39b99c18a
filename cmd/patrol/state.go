package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// stateDir returns the folder of a profile's ledger, lock and control socket. It
// makes nothing.
func (a *app) stateDir(o options, profile string) (string, error) {
	if o.stateDir != "" {
		return o.stateDir, nil
	}
	// The XDG specification has relative paths ignored.
	base := a.getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := a.home()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "patrol", folderName(profile)), nil
}

// plainName matches profiles that are their own folder's name.
var plainName = regexp.MustCompile(`^([a-z0-9][a-z0-9._-]{0,63}|DEFAULT)$`)

// folderName makes a folder's name of a profile's. Two profiles never share
// one, also on file systems that don't tell upper from lower case.
func folderName(profile string) string {
	if plainName.MatchString(profile) && profile != "default" {
		return profile
	}
	const enough = 40
	var b strings.Builder
	for _, r := range profile {
		switch {
		case b.Len() >= enough:
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			b.WriteRune(r)
		default:
			b.WriteRune('_')
		}
	}
	return b.String() + "-" + shortHash(profile)
}

// shortHash tells names apart in places where there is no room for them.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	const enough = 8
	return hex.EncodeToString(sum[:enough])
}

// makePrivateDir makes dir and what is missing above it, for nobody but us, and
// refuses a folder that is there and open to others: who can write to it decides
// which tokens patrol revokes. It doesn't change the mode of what it finds: it
// may be /tmp.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return hinted(fmt.Errorf("making the folder for patrol's state: %w", err), "choose another with --state-dir")
	}
	return checkPrivateDir(dir)
}

// checkPrivateDir makes sure that dir is a folder, ours, and closed to others. A
// link is as good as what it leads to.
func checkPrivateDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at patrol's folder: %w", err)
	}
	if !info.IsDir() {
		return hinted(fmt.Errorf("%s is not a folder", dir), "move it away, or choose another with --state-dir")
	}
	const another = "name a folder that is patrol's alone with --state-dir; it makes what is missing"
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() {
		hint := another
		if patrols(dir, info) {
			hint = "run patrol as the owner, or choose another folder with --state-dir"
		}
		return hinted(fmt.Errorf("%s belongs to uid %d, and patrol runs as uid %d", dir, uid, os.Geteuid()), hint)
	} else if ok && info.Mode().Perm()&0o077 != 0 {
		hint := another
		if patrols(dir, info) {
			hint = "chmod 700 " + dir + ", or choose another folder with --state-dir"
		}
		return hinted(fmt.Errorf("%s is open to others (mode %04o)", dir, info.Mode().Perm()), hint)
	}
	return nil
}

// patrols reports whether a folder is for a patrol alone: by what is in it, or
// because nothing is. Whoever else uses one, and /tmp above all, needs its mode.
func patrols(dir string, info fs.FileInfo) bool {
	if info.Mode()&fs.ModeSticky != 0 {
		return false
	}
	if readHolder(dir) != (holder{}) {
		return true
	}
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() != "ledger" && e.Name() != "lock" && !strings.HasSuffix(e.Name(), ".sock")
	})
}

// maxSocketPath is what a control socket's path may be long. The kernels' limits
// are 104 (macOS) and 108 bytes.
const maxSocketPath = 100

// controlName is the socket's name in the state folder, or of the link to it.
const controlName = "control.sock"

// socketPath returns where a service with this state listens, and the link that
// leads there if that isn't in the state folder itself. It makes the folder.
func (a *app) socketPath(stateDir string) (path, link string, err error) {
	path = filepath.Join(stateDir, controlName)
	if len(path) <= maxSocketPath {
		return path, "", nil
	}
	link = path
	var errs []error
	for _, dir := range a.shortDirs() {
		path = filepath.Join(dir, shortHash(stateDir)+".sock")
		if len(path) > maxSocketPath {
			continue
		}
		if err := makeOwnDir(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		return path, link, nil
	}
	return "", "", hinted(fmt.Errorf("no folder for the control socket: %w", errors.Join(errs...)),
		"choose a shorter --state-dir: a socket's path may have 100 bytes")
}

// shortDirs returns the folders that may hold the socket of a state folder with
// a long name, best first.
func (a *app) shortDirs() []string {
	var dirs []string
	if dir := a.getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "patrol"))
	}
	own := fmt.Sprintf("patrol-%d", os.Geteuid())
	temps := []string{a.getenv("TMPDIR"), "/tmp"}
	if runtime.GOOS == "windows" {
		temps = []string{os.TempDir()}
	}
	for _, temp := range temps {
		if filepath.IsAbs(temp) {
			dirs = append(dirs, filepath.Join(temp, own))
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
	return checkPrivateDir(dir)
}
