package state

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"patrol/cmd/patrol/internal/cli"
)

// OpenParents says of the folders above dir which ones others may write: who can, may
// put another folder in its place. That is borne, as with a umask of 002 or in a
// container's volume. A folder that belongs to neither us nor root is CheckPrivate's
// error, whatever its mode: its owner may always rename what is in it. In a sandbox whose
// user namespace hides who owns it, as root's then are, its mode decides.
func OpenParents(dir string) []string {
	open, _ := lookAbove(dir)
	return open
}

// lookAbove looks at the folders above dir, and above what it leads to if it is a link.
func lookAbove(dir string) (open []string, err error) {
	paths := []string{dir}
	if target, err := filepath.EvalSymlinks(dir); err == nil && target != dir {
		paths = append(paths, target)
	}
	seen := map[string]bool{}
	for _, path := range paths {
		above, foreign := lookUp(path)
		for _, what := range above {
			if !seen[what] {
				open = append(open, what)
			}
			seen[what] = true
		}
		if err == nil {
			err = foreign
		}
	}
	return open, err
}

// lookUp looks at the folders above one path. What lies below a folder that nobody else
// may enter is out of others' reach.
func lookUp(path string) (open []string, err error) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, statErr := os.Stat(dir)
		if statErr != nil {
			return open, err // what can't be seen can't be judged
		}
		uid, known := OwnerOf(info)
		ours := uid == os.Geteuid() || uid == 0
		mode := info.Mode()
		closed := mode.Perm()&0o022 == 0 || mode&fs.ModeSticky != 0 // in a sticky one others can't rename what isn't theirs
		switch {
		case !known:
			return nil, nil
		case ours && mode.Perm()&0o011 == 0:
			open, err = nil, nil
		case !ours && (!closed || !isOverflow(uid)):
			err = cli.Hinted(fmt.Errorf("%s, above patrol's state folder, belongs to uid %d (mode %04o), who could put another folder in its place", dir, uid, mode.Perm()),
				"choose a folder of your own with --state-dir")
		case !closed:
			open = append(open, fmt.Sprintf("others may write %s (mode %04o), and so put another folder in place of what is below: chmod go-w %s",
				dir, mode.Perm(), cli.ShellWord(dir)))
		}
		if dir == filepath.Dir(dir) {
			return open, err
		}
	}
}

// isOverflow reports whether uid is the one that Linux shows for all owners that this
// user namespace doesn't have, root outside of it among them.
func isOverflow(uid int) bool {
	overflow, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil || strings.TrimSpace(string(overflow)) != strconv.Itoa(uid) {
		return false
	}
	uids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !hasUID(string(uids), uid)
}

// hasUID reports whether a uid_map, with lines of "first, first outside, count", has uid.
func hasUID(uidMap string, uid int) bool {
	for line := range strings.Lines(uidMap) {
		var first, outside, count int64
		if _, err := fmt.Sscan(line, &first, &outside, &count); err != nil || first <= int64(uid) && int64(uid) < first+count {
			return true
		}
	}
	return false
}
