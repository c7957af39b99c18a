package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// hasWriter reports whether some process has the file open for writing. macOS
// has no way to ask.
func hasWriter(*os.File) (yes, known bool) { return false, false }

// exchange swaps what two names in one folder lead to, in one step.
func exchange(a, b string) error { return unix.RenamexNp(a, b, unix.RENAME_SWAP) }

// isMountPoint reports whether something is mounted at path itself; macOS
// mounts folders only.
func isMountPoint(string) bool { return false }
