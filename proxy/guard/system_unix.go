//go:build unix

package guard

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkPrivate returns an error if others may read or change the key file.
func checkPrivate(path string, info fs.FileInfo) error {
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("the client key file %s is open to other users (mode %04o): run `chmod 600` on it, and replace its keys if others may have read them", path, perm)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("the client key file %s belongs to uid %d: it must belong to uid %d, which runs patrol, or to root", path, stat.Uid, os.Geteuid())
	}
	return nil
}

// defaultMaxConns is how many connections the process can have if each needs one
// file for itself and one for its upstream, and some files are reserved.
func defaultMaxConns() int {
	const most, reserved, least = 4096, 64, 16
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return most
	}
	if files := uint64(limit.Cur); files < 2*most+reserved {
		return max(least, (int(files)-reserved)/2)
	}
	return most
}
