//go:build unix

package atomicfile

import "golang.org/x/sys/unix"

// diskErrors are what a disk says that is full, read-only or failing, or that has no locks.
var diskErrors = []error{unix.ENOSPC, unix.EROFS, unix.EIO, unix.EDQUOT, unix.ENOLCK, unix.EOPNOTSUPP}
