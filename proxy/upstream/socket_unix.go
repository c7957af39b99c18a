//go:build linux || darwin

package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func newSocket(own net.Conn) *socket {
	s := &socket{Conn: own}
	if c, ok := own.(syscall.Conn); ok {
		s.raw, _ = c.SyscallConn() // an error means that there is none
	}
	s.reading.once, s.writing.once = s.readOnce, s.writeOnce
	return s
}

func (s *socket) readRaw(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	a := &s.reading
	a.p, a.n, a.err = p, 0, nil
	err := s.raw.Read(a.once)
	a.p = nil
	switch {
	case err != nil:
		return 0, err
	case a.err != nil:
		return 0, a.err
	case a.n == 0:
		return 0, io.EOF
	}
	return a.n, nil
}

func (s *socket) readOnce(fd uintptr) (done bool) {
	a := &s.reading
	for {
		n, err := unix.Read(int(fd), a.p)
		switch {
		case err == nil:
			a.n = n
			return true
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			a.err = s.failure("read", err)
			return true
		case s.noWait:
			a.err = errWouldBlock
			return true
		default:
			if s.beforeWait != nil {
				s.beforeWait()
			}
			return false
		}
	}
}

func (s *socket) writeRaw(pieces [][]byte) error {
	a := &s.writing
	a.pieces, a.err = pieces, nil
	err := s.raw.Write(a.once)
	a.pieces = nil
	if err == nil {
		err = a.err
	}
	return err
}

func (s *socket) writeOnce(fd uintptr) (done bool) {
	a := &s.writing
	for len(a.pieces) > 0 {
		n, err := writev(int(fd), a.pieces)
		switch {
		case err == nil:
			a.pieces = without(a.pieces, n)
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			a.err = s.failure("write", err)
			return true
		default:
			if s.writeBlocks != nil {
				s.writeBlocks()
			}
			return false
		}
	}
	return true
}

func writev(fd int, pieces [][]byte) (int, error) {
	if len(pieces) == 1 {
		return unix.Write(fd, pieces[0])
	}
	return unix.Writev(fd, pieces)
}

// without returns the pieces without their first n bytes.
func without(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if n > 0 {
		pieces[0] = pieces[0][n:]
	}
	return pieces
}

func (s *socket) failure(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
