//go:build linux || darwin

package upstream

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func newSocket(own net.Conn) *socket {
	s := &socket{Conn: own}
	switch c := own.(type) {
	case syscall.Conn:
		s.raw, _ = c.SyscallConn() // an error means that there is none
	case *tls.Conn:
		s.below, _ = c.NetConn().(*socket)
	}
	s.once = s.readOnce
	return s
}

func (s *socket) readRaw(p []byte) (int, error) {
	s.p, s.n, s.err = p, 0, nil
	err := s.raw.Read(s.once)
	s.p = nil
	switch {
	case err != nil:
		return 0, err
	case s.err != nil:
		return 0, s.err
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

func (s *socket) readOnce(fd uintptr) (done bool) {
	n, err := unix.Read(int(fd), s.p)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(int(fd), s.p)
	}
	switch {
	case err == nil:
		s.n = n
	case !errors.Is(err, unix.EAGAIN):
		s.err = &net.OpError{Op: "read", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case s.noWait:
		s.err = os.ErrDeadlineExceeded
	default:
		if s.beforeWait != nil {
			s.beforeWait()
		}
		return false
	}
	return true
}

// boundSilence bounds how long what was sent may stay unacknowledged, or the other end
// may not read: tcp(7), and netinet/tcp.h of macOS. A kernel that can't gives up later.
func boundSilence(raw syscall.RawConn, most time.Duration) error {
	const userTimeout, dropTime = 0x12, 0x80 // TCP_USER_TIMEOUT, TCP_RXT_CONNDROPTIME
	option, value := userTimeout, int(most.Milliseconds())
	if runtime.GOOS == "darwin" {
		option, value = dropTime, int(most.Seconds())
	}
	return raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
}
