//go:build unix

package service

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func forbidCoreDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps, which would hold the token: %w", err)
	}
	return nil
}
