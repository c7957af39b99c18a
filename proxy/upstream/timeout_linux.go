package upstream

import (
	"context"
	"syscall"

	"golang.org/x/sys/unix"
)

// setUserTimeout bounds how long what was sent may stay unacknowledged (tcp(7)).
func setUserTimeout(_ context.Context, _, _ string, c syscall.RawConn) error {
	// A kernel that can't gives up later.
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(deadAfter.Milliseconds()))
	})
}
