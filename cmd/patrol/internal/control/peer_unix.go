//go:build linux || darwin

package control

import (
	"errors"
	"net"
	"syscall"
)

// peerUID asks the kernel whose process is at the other end of a unix socket.
func peerUID(conn net.Conn) (uid int, known bool, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, false, err
	}
	var asked error
	err = raw.Control(func(fd uintptr) { uid, asked = socketUID(int(fd)) })
	err = errors.Join(err, asked)
	return uid, err == nil, err
}
