//go:build !linux && !darwin

package upstream

import "net"

// Here a socket has no raw end: a stale connection is found when it is used.
func newSocket(own net.Conn) *socket { return &socket{Conn: own} }

func (s *socket) readRaw(p []byte) (int, error) { return s.Conn.Read(p) }

func (s *socket) writeRaw([][]byte) error { return net.ErrClosed }
