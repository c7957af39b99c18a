package guard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownersKnown is true: this system tells who owns a socket.
const ownersKnown = true

// States of a TCP socket, from the kernel's include/net/tcp_states.h.
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpClose       = 7
)

// socketInfo is what the kernel says of one socket.
type socketInfo struct {
	state uint8
	uid   uint32 // in our user namespace
	inode uint32 // 0: no process has it open
}

// A socketTable finds one of the kernel's sockets, or returns errNoSocket.
type socketTable interface {
	find(t tuple) (socketInfo, error)
}

var errNoSocket = errors.New("the kernel knows no such socket")

// owners finds out which user owns the socket of a loopback client.
type owners struct {
	sockDiag    *sockDiag
	tables      []socketTable // the quickest first
	overflowUID uint32        // shown for every user who has no id in our user namespace
	hasOverflow bool          // there may be such users
}

func newOwners() *owners {
	o := &owners{sockDiag: &sockDiag{fd: -1}}
	o.tables = []socketTable{o.sockDiag, newProcNet()}
	o.overflowUID, o.hasOverflow = readOverflowUID()
	return o
}

// warnOfOverflow logs that an allowed user can't be told from users without an
// id in our user namespace, and so needs a credential.
func (o *owners) warnOfOverflow(log *slog.Logger, users []uint32) {
	if o.hasOverflow && slices.Contains(users, o.overflowUID) {
		log.Warn("connections of this user need a credential: in this user namespace its id stands for others too", "uid", o.overflowUID)
	}
}

// isUnique reports whether a user's id is nobody else's, too.
func (o *owners) isUnique(uid uint32) bool { return !o.hasOverflow || uid != o.overflowUID }

func (o *owners) close() error { return o.sockDiag.close() }

// lookUp returns peerKnown and the uid that owns the client's socket, or why
// that can't be known. conn is our end of the connection, and t names it.
//
// The client's end is looked up by its address, and an address can be used
// again: a client may have left a request in our queue and gone, and the next
// user of its port would then be taken for its sender. So our own end is looked
// up after the client's. The table shows our end with our inode only while the
// connection lives, and while it lives no other socket can be its other end.
// That our end is found also proves that the table shows the right network
// namespace.
func (o *owners) lookUp(conn syscall.RawConn, t tuple) (peerClass, uint32) {
	inode, err := inodeOf(conn)
	if err != nil {
		return peerUnknown, 0
	}
	for _, table := range o.tables {
		client, errClient := table.find(t.reversed())
		own, errOwn := table.find(t)
		if errOwn != nil || own.inode != inode {
			if isClosed(conn) {
				return peerGone, 0
			}
			continue // this table doesn't show our network namespace, or can't be read
		}
		switch {
		case errClient == nil:
			return o.classify(client)
		case errors.Is(errClient, errNoSocket):
			return peerUnknown, 0
		}
	}
	return peerUnknown, 0
}

// classify returns the class of a connection's client whose socket this is.
func (o *owners) classify(client socketInfo) (peerClass, uint32) {
	switch {
	case client.inode == 0:
		// Its process has closed it. The kernel then shows the former owner or
		// uid 0, which doesn't stand for root.
		return peerGone, 0
	case client.state != tcpEstablished && client.state != tcpFinWait1 && client.state != tcpFinWait2:
		// In the two FIN_WAIT states the client has closed its sending side only.
		return peerUnknown, 0
	case o.hasOverflow && client.uid == o.overflowUID:
		return peerUnknown, 0
	}
	return peerKnown, client.uid
}

// inodeOf returns the inode of a socket, by which the kernel's tables name it.
func inodeOf(conn syscall.RawConn) (inode uint32, err error) {
	var stat unix.Stat_t
	errControl := conn.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) })
	return uint32(stat.Ino), errors.Join(errControl, err)
}

// isClosed reports whether both sides have closed the connection.
func isClosed(conn syscall.RawConn) bool {
	var info *unix.TCPInfo
	var err error
	errControl := conn.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return errControl != nil || err == nil && info.State == tcpClose
}

// readOverflowUID returns the uid that the kernel shows for every user who has
// none in our user namespace, and whether there can be such users. In a rootless
// container these may be all other users of the machine, and nothing tells them
// from the one user whose uid it really is.
func readOverflowUID() (uid uint32, present bool) {
	const common = 65534
	uid = common
	if text, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil {
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 32); err == nil {
			uid = uint32(n)
		}
	}
	mapped, err := os.ReadFile("/proc/self/uid_map")
	if errors.Is(err, os.ErrNotExist) {
		return uid, false // a kernel without user namespaces
	}
	return uid, strings.Join(strings.Fields(string(mapped)), " ") != "0 0 4294967295"
}

// allowedUsers returns the ids of the users who are let in, in order.
func allowedUsers(names []string) ([]uint32, error) {
	users := []uint32{uint32(os.Geteuid())}
	for _, name := range names {
		uid, err := uidOf(name)
		if err != nil {
			return nil, fmt.Errorf("allowed user %q: %w", name, err)
		}
		users = append(users, uid)
	}
	slices.Sort(users)
	return slices.Compact(users), nil
}

// uidOf returns the id of a user who is given by name or by id.
func uidOf(name string) (uint32, error) {
	id := name
	if u, err := user.Lookup(name); err == nil {
		id = u.Uid
	}
	uid, err := strconv.ParseUint(id, 10, 32)
	if err != nil || uid == 1<<32-1 {
		return 0, errors.New("no such user here, and no user id")
	}
	return uint32(uid), nil
}
