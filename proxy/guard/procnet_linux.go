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

// procNetTimeout bounds one search of /proc/net, with the wait for the searches
// before it.
const procNetTimeout = 2 * time.Second

// procNet finds a socket by reading the kernel's list of all sockets. It is used
// where the kernel can't be asked for a single one: its module is missing, or a
// sandbox forbids netlink sockets. A search takes longer the more sockets the
// machine has, so only one runs at a time.
type procNet struct{ searching chan struct{} } // full while a search runs

func newProcNet() procNet { return procNet{searching: make(chan struct{}, 1)} }

func (p procNet) find(t tuple) (socketInfo, error) {
	deadline := time.Now().Add(procNetTimeout)
	timer := time.NewTimer(procNetTimeout)
	defer timer.Stop()
	select {
	case p.searching <- struct{}{}:
		defer func() { <-p.searching }()
	case <-timer.C:
		return socketInfo{}, errors.New("too many searches of /proc/net at once")
	}
	r, err := searchProcNet(t, deadline)
	if errors.Is(err, errNoSocket) {
		// The kernel hands out the list in pieces. If entries vanish between
		// two pieces, the one that we look for can move past the reader.
		r, err = searchProcNet(t, deadline)
	}
	return r, err
}

// searchProcNet looks among the IPv4 sockets, and then among the IPv6 sockets,
// which may have IPv4 addresses too.
func searchProcNet(t tuple, deadline time.Time) (socketInfo, error) {
	if t.local.Addr().Is4() {
		want := procAddr(t.local.Addr().AsSlice(), t.local.Port()) + procAddr(t.remote.Addr().AsSlice(), t.remote.Port())
		if r, err := searchFile("/proc/net/tcp", want, deadline); !errors.Is(err, errNoSocket) {
			return r, err
		}
	}
	l, r := t.local.Addr().As16(), t.remote.Addr().As16()
	return searchFile("/proc/net/tcp6", procAddr(l[:], t.local.Port())+procAddr(r[:], t.remote.Port()), deadline)
}

// procAddr writes an address as /proc/net does: in 32-bit words of the machine's
// byte order.
func procAddr(addr []byte, port uint16) string {
	var out []byte
	for ; len(addr) >= 4; addr = addr[4:] {
		out = fmt.Appendf(out, "%08X", binary.NativeEndian.Uint32(addr))
	}
	return string(fmt.Appendf(out, ":%04X ", port))
}

// searchFile returns the socket whose line in the file has want, two addresses,
// in it.
func searchFile(path, want string, deadline time.Time) (socketInfo, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return socketInfo{}, errNoSocket // a kernel without IPv6
	}
	if err != nil {
		return socketInfo{}, fmt.Errorf("reading the kernel's list of sockets: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 4096), 4096)
	for n := 1; lines.Scan(); n++ {
		if _, rest, ok := bytes.Cut(lines.Bytes(), []byte(want)); ok {
			return parseProcLine(rest)
		}
		if n%256 == 0 && time.Now().After(deadline) {
			return socketInfo{}, fmt.Errorf("reading %s: stopped at line %d after %v", path, n, procNetTimeout)
		}
	}
	if err := lines.Err(); err != nil {
		return socketInfo{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return socketInfo{}, errNoSocket
}

// parseProcLine reads what follows the two addresses in a line: state, queues,
// timer, retransmits, uid, timeout, inode and more.
func parseProcLine(line []byte) (socketInfo, error) {
	fields := bytes.Fields(line)
	if len(fields) < 7 {
		return socketInfo{}, errors.New("reading the kernel's list of sockets: a line is too short")
	}
	state, err1 := strconv.ParseUint(string(fields[0]), 16, 8)
	uid, err2 := strconv.ParseUint(string(fields[4]), 10, 32)
	inode, err3 := strconv.ParseUint(string(fields[6]), 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return socketInfo{}, fmt.Errorf("reading the kernel's list of sockets: %w", err)
	}
	return socketInfo{state: uint8(state), uid: uint32(uid), inode: uint32(inode)}, nil
}
