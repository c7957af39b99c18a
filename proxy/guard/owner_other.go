//go:build !linux

package guard

import (
	"errors"
	"log/slog"
	"syscall"
)

// ownersKnown is false: this system doesn't tell who owns a socket.
const ownersKnown = false

type owners struct{}

func newOwners() *owners { return &owners{} }

func (*owners) lookUp(syscall.RawConn, tuple) (peerClass, uint32) { return peerUnknown, 0 }

func (*owners) warnOfOverflow(*slog.Logger, []uint32) {}

func (*owners) isUnique(uint32) bool { return false }

func (*owners) close() error { return nil }

func allowedUsers(names []string) ([]uint32, error) {
	if len(names) > 0 {
		return nil, errors.New("users can be allowed on Linux only, where the kernel tells who owns a connection: give the client a key instead: patrol keys new NAME")
	}
	return nil, nil
}
