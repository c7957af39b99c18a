package service

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// leaveNoTrace keeps the token out of core dumps; and if hard, out of the reach of other
// processes of the same user (prctl(2), PR_SET_DUMPABLE), at the price that `ss -p`,
// debuggers and /proc/PID/fd don't show it to them.
func leaveNoTrace(hard bool) error {
	if err := forbidCoreDumps(); err != nil {
		return err
	}
	if !hard {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding the process (--harden): %w", err)
	}
	return nil
}
