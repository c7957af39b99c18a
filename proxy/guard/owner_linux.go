package guard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownersKnown says that this system can tell who owns a socket.
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

// A table finds a socket among the kernel's, or returns errNoSocket.
type socketTable interface {
	find(t tuple) (socketInfo, error)
}

var errNoSocket = errors.New("the kernel knows no such socket")

// owners tells whose socket a loopback client's is.
type owners struct {
	sockDiag    *sockDiag
	tables      []socketTable // the quickest first
	overflowUID uint32        // the uid that stands for each one without an id in our user namespace
	hasOverflow bool          // some have none
}

func newOwners() *owners {
	o := &owners{sockDiag: &sockDiag{fd: -1}}
	o.tables = []socketTable{o.sockDiag, newProcNet()}
	o.overflowUID, o.hasOverflow = readOverflowUID()
	return o
}

// warnOfOverflow logs what New's caller may not expect of these users.
func (o *owners) warnOfOverflow(log *slog.Logger, users map[uint32]struct{}) {
	if _, ok := users[o.overflowUID]; ok && o.hasOverflow {
		log.Warn("connections of this user need a credential: in this user namespace its id stands for others too", "uid", o.overflowUID)
	}
}

func (o *owners) close() error { return o.sockDiag.close() }

// lookUp returns standingOurs with the uid of the client's socket if that is
// known. Whether this user is let in is the caller's to say. conn is our end
// of the connection, and t its ends as it sees them.
//
// The client's end is looked up by address, and addresses are used again: a
// client may have gone, and left in our queue a request that would pass for
// that of the next user of its port. So our own end is looked up after it. It
// is there, with our inode, only as long as the connection lives, and while it
// does, no other socket can be its other end. That our end is found also
// shows that the table is that of the right network namespace.
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
			continue // this table doesn't show our sockets
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

func (o *owners) classify(client socketInfo) (peerClass, uint32) {
	switch {
	case client.inode == 0:
		// Closed by its process. Such a socket may show uid 0, which isn't
		// root, or still its owner, who is no longer there.
		return peerGone, 0
	case client.state != tcpEstablished && client.state != tcpFinWait1 && client.state != tcpFinWait2:
		// The two FIN_WAITs are clients that closed their sending side only.
		return peerUnknown, 0
	case o.hasOverflow && client.uid == o.overflowUID:
		return peerUnknown, 0
	}
	return peerAllowed, client.uid
}

// inodeOf returns the inode of a socket, by which the kernel's tables name it.
func inodeOf(conn syscall.RawConn) (inode uint32, err error) {
	var stat unix.Stat_t
	errControl := conn.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &stat) })
	return uint32(stat.Ino), errors.Join(errControl, err)
}

// isClosed reports whether the connection is over, on both sides.
func isClosed(conn syscall.RawConn) bool {
	var info *unix.TCPInfo
	var err error
	errControl := conn.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	return errControl != nil || err == nil && info.State == tcpClose
}

// readOverflowUID returns the uid by which the kernel shows all users that have
// none in our user namespace, and whether there can be such. In a rootless
// container that may be every other user of the machine, and nothing tells
// them from one whose uid that really is.
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

// allowedUsers returns the ids of the users who are let in, and the same for
// people.
func allowedUsers(names []string) (map[uint32]struct{}, string, error) {
	users := map[uint32]struct{}{0: {}, uint32(os.Geteuid()): {}}
	for _, name := range names {
		uid, err := uidOf(name)
		if err != nil {
			return nil, "", fmt.Errorf("allowed user %q: %w", name, err)
		}
		users[uid] = struct{}{}
	}
	list := make([]string, 0, len(users))
	for _, uid := range slices.Sorted(maps.Keys(users)) {
		list = append(list, strconv.FormatUint(uint64(uid), 10))
	}
	return users, strings.Join(list, ", "), nil
}

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
