package guard

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// procNetTime bounds one search of /proc/net, waiting for its turn included.
const procNetTime = 2 * time.Second

// procNet finds a socket by reading the kernel's list of all of them. It is
// for where the kernel can't be asked for one: the module is missing, a
// sandbox forbids netlink sockets. Its price grows with the machine's sockets,
// so one search runs at a time.
type procNet struct{ turn chan struct{} }

func newProcNet() procNet { return procNet{turn: make(chan struct{}, 1)} }

func (p procNet) find(t tuple) (row, error) {
	deadline := time.Now().Add(procNetTime)
	timer := time.NewTimer(procNetTime)
	defer timer.Stop()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-timer.C:
		return row{}, errors.New("too many searches of /proc/net at once")
	}
	r, err := searchBoth(t, deadline)
	if errors.Is(err, errNoSocket) {
		// The list is read piece by piece, and an entry can slip between two
		// of them when those before it go.
		r, err = searchBoth(t, deadline)
	}
	return r, err
}

func searchBoth(t tuple, deadline time.Time) (row, error) {
	if t.local.Addr().Is4() {
		want := procAddr(t.local.Addr().AsSlice(), t.local.Port()) + procAddr(t.remote.Addr().AsSlice(), t.remote.Port())
		if r, err := search("/proc/net/tcp", want, deadline); !errors.Is(err, errNoSocket) {
			return r, err
		}
	}
	l, r := t.local.Addr().As16(), t.remote.Addr().As16()
	return search("/proc/net/tcp6", procAddr(l[:], t.local.Port())+procAddr(r[:], t.remote.Port()), deadline)
}

// procAddr writes an address as /proc/net does: 32-bit words in the machine's
// order.
func procAddr(addr []byte, port uint16) string {
	var out []byte
	for ; len(addr) >= 4; addr = addr[4:] {
		out = fmt.Appendf(out, "%08X", binary.NativeEndian.Uint32(addr))
	}
	return string(fmt.Appendf(out, ":%04X ", port))
}

// search returns the socket whose line in the file has these two addresses.
func search(path, want string, deadline time.Time) (row, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return row{}, errNoSocket // a kernel without IPv6
	}
	if err != nil {
		return row{}, fmt.Errorf("reading the kernel's list of sockets: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 4096), 4096)
	for n := 1; lines.Scan(); n++ {
		if _, rest, ok := bytes.Cut(lines.Bytes(), []byte(want)); ok {
			return parseProcRow(rest)
		}
		if n%256 == 0 && time.Now().After(deadline) {
			return row{}, fmt.Errorf("reading %s: stopped at line %d after %v", path, n, procNetTime)
		}
	}
	if err := lines.Err(); err != nil {
		return row{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return row{}, errNoSocket
}

// parseProcRow reads what follows the two addresses: state, queues, timer,
// retransmits, uid, timeout, inode and more.
func parseProcRow(rest []byte) (row, error) {
	fields := bytes.Fields(rest)
	if len(fields) < 7 {
		return row{}, errors.New("reading the kernel's list of sockets: a line is too short")
	}
	state, err1 := strconv.ParseUint(string(fields[0]), 16, 8)
	uid, err2 := strconv.ParseUint(string(fields[4]), 10, 32)
	inode, err3 := strconv.ParseUint(string(fields[6]), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return row{}, fmt.Errorf("reading the kernel's list of sockets: %w", err)
	}
	return row{state: uint8(state), uid: uint32(uid), inode: uint32(inode)}, nil
}
