package control

import (
	"net"

	"golang.org/x/sys/unix"
)

// peerUID asks the kernel whose process is at the other end of a unix socket.
func peerUID(conn net.Conn) (uid int, known bool, err error) {
	var cred *unix.Xucred
	err = onSocket(conn, func(fd int) (err error) {
		cred, err = unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
		return err
	})
	if err != nil {
		return 0, false, err
	}
	return int(cred.Uid), true, nil
}
