//go:build linux || darwin

package control

import (
	"errors"
	"net"
)

// peerUID asks the kernel whose process is at the other end of a unix socket.
func peerUID(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var asked error
	err = raw.Control(func(fd uintptr) { uid, asked = socketUID(int(fd)) })
	return uid, errors.Join(err, asked)
}
