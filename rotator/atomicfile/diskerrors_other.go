//go:build !unix

package atomicfile

import "syscall"

// diskErrors are what a disk says that fails.
var diskErrors = []error{syscall.EIO}
