//go:build !linux && !darwin

package upstream

import (
	"net"
	"syscall"
	"time"
)

// Here a socket has no raw end: a stale connection is found when it is used.
func newSocket(own net.Conn) *socket { return &socket{Conn: own} }

func (s *socket) readRaw(p []byte) (int, error) { return s.Conn.Read(p) }

func boundSilence(syscall.RawConn, time.Duration) error { return nil }
