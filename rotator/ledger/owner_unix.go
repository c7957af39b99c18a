//go:build unix

package ledger

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses a file or folder that belongs to another user: he decides what
// stands in it, and so which tokens patrol would revoke.
func checkOwner(path string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if us := os.Geteuid(); ok && int(stat.Uid) != us {
		return fmt.Errorf("%s belongs to uid %d, and patrol runs as uid %d: run patrol as the owner, or name another folder with --state-dir", path, stat.Uid, us)
	}
	return nil
}
