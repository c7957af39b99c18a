package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// The sock_diag protocol, from the kernel's uapi/linux/sock_diag.h and
// inet_diag.h. Numbers are in the machine's byte order, addresses and ports in
// the network's.
const (
	sockDiagByFamily = 20
	loopbackIndex    = 1 // of the interface lo, the same in every network namespace

	headerLen  = 16 // struct nlmsghdr
	requestLen = 56 // struct inet_diag_req_v2
	sockIDLen  = 48 // struct inet_diag_sockid
	messageLen = 72 // struct inet_diag_msg
)

// sockDiag finds a socket by asking the kernel for this one alone, over a netlink
// socket. The kernel answers within the call that asks, so find never waits.
type sockDiag struct {
	mu     sync.Mutex // guards all below; held during find
	fd     int        // of the netlink socket; -1: not open
	closed bool
	seq    uint32
	buf    [1024]byte
}

func (d *sockDiag) find(t tuple) (socketInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.openLocked(); err != nil {
		return socketInfo{}, fmt.Errorf("opening a socket to the kernel: %w", err)
	}
	r, err := d.queryLocked(t)
	if err != nil && !errors.Is(err, errNoSocket) {
		d.closeLocked() // so that a late answer isn't taken for the answer to the next question
		return socketInfo{}, fmt.Errorf("asking the kernel for a socket: %w", err)
	}
	return r, err
}

func (d *sockDiag) openLocked() error {
	switch {
	case d.closed:
		return unix.EBADF
	case d.fd >= 0:
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err == nil {
		d.fd = fd
	}
	return err
}

func (d *sockDiag) closeLocked() {
	if d.fd >= 0 {
		_ = unix.Close(d.fd)
		d.fd = -1
	}
}

func (d *sockDiag) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closeLocked()
	d.closed = true
	return nil
}

func (d *sockDiag) queryLocked(t tuple) (socketInfo, error) {
	d.seq++
	request := d.encodeRequestLocked(t)
	if err := unix.Sendto(d.fd, request, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return socketInfo{}, err
	}
	n, from, err := unix.Recvfrom(d.fd, d.buf[:], unix.MSG_DONTWAIT)
	if err != nil {
		return socketInfo{}, err
	}
	if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
		return socketInfo{}, errors.New("the answer isn't the kernel's")
	}
	return parseAnswer(d.buf[:n], d.seq, t)
}

// encodeRequestLocked writes the question for t into buf.
func (d *sockDiag) encodeRequestLocked(t tuple) []byte {
	b := d.buf[:headerLen+requestLen]
	clear(b)
	ne := binary.NativeEndian
	ne.PutUint32(b[0:], uint32(len(b)))
	ne.PutUint16(b[4:], sockDiagByFamily)
	ne.PutUint16(b[6:], unix.NLM_F_REQUEST)
	ne.PutUint32(b[8:], d.seq)

	req := b[headerLen:]
	// An IPv4 look-up finds IPv6 sockets with mapped addresses too.
	req[0] = unix.AF_INET
	if t.local.Addr().Is6() {
		req[0] = unix.AF_INET6
	}
	req[1] = unix.IPPROTO_TCP
	ne.PutUint32(req[4:], ^uint32(0)) // any state

	id := req[8:]
	binary.BigEndian.PutUint16(id[0:], t.local.Port())
	binary.BigEndian.PutUint16(id[2:], t.remote.Port())
	copy(id[4:20], t.local.Addr().AsSlice())
	copy(id[20:36], t.remote.Addr().AsSlice())
	// Sockets that are bound to an interface are found only if it is named.
	ne.PutUint32(id[36:], loopbackIndex)
	ne.PutUint32(id[40:], ^uint32(0)) // any cookie
	ne.PutUint32(id[44:], ^uint32(0))
	return b
}

// parseAnswer reads the kernel's answer to the question seq for t.
func parseAnswer(b []byte, seq uint32, t tuple) (socketInfo, error) {
	ne := binary.NativeEndian
	if len(b) < headerLen+4 || ne.Uint32(b[8:]) != seq {
		return socketInfo{}, errors.New("the answer is to another question")
	}
	body := b[headerLen:]
	switch kind := ne.Uint16(b[4:]); kind {
	case unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(ne.Uint32(body)))
		if errno == unix.ENOENT {
			return socketInfo{}, errNoSocket
		}
		return socketInfo{}, errno
	case sockDiagByFamily:
	default:
		return socketInfo{}, fmt.Errorf("the answer is of kind %d", kind)
	}
	if len(body) < messageLen {
		return socketInfo{}, errors.New("the answer is too short")
	}
	// If no connection matches, the kernel returns the listener on the port.
	if got, ok := answerTuple(body[0], body[4:4+sockIDLen]); !ok || got != t {
		return socketInfo{}, errNoSocket
	}
	return socketInfo{state: body[1], uid: ne.Uint32(body[64:]), inode: ne.Uint32(body[68:])}, nil
}

// answerTuple reads the struct inet_diag_sockid of an answer.
func answerTuple(family byte, id []byte) (tuple, bool) {
	size := 4
	if family == unix.AF_INET6 {
		size = 16
	}
	local, ok1 := netip.AddrFromSlice(id[4 : 4+size])
	remote, ok2 := netip.AddrFromSlice(id[20 : 20+size])
	return tuple{
		local:  netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(id[0:])),
		remote: netip.AddrPortFrom(remote.Unmap(), binary.BigEndian.Uint16(id[2:])),
	}, ok1 && ok2
}
