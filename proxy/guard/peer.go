package guard

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
)

// peerKey is the context key of a connection's *peer.
type peerKey struct{}

// standing says what is known of the client behind a connection.
type standing uint32

const (
	standingUnasked standing = iota
	standingOurs             // its user is let in
	standingForeign          // its user is known, and not let in
	standingGone             // its socket is closed: it is nobody's, and nobody would read an answer
	standingUnknown          // it is on this machine, but its user can't be known
	standingRemote           // it isn't on this machine, as far as can be seen
)

// peer is the client of one connection.
type peer struct {
	conn     net.Conn
	mu       sync.Mutex // held while the kernel is asked
	standing atomic.Uint32
	uid      uint32 // set before standing, if that is ours or foreign
}

// standing asks the kernel who the peer is, if no earlier request of its
// connection has. The answer stands: a socket has the owner that made it.
func (g *Guard) standing(p *peer) standing {
	if p == nil {
		return standingUnknown
	}
	if s := standing(p.standing.Load()); s != standingUnasked {
		return s
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := standing(p.standing.Load()); s != standingUnasked {
		return s
	}
	var s standing
	s, p.uid = g.ask(p.conn)
	p.standing.Store(uint32(s))
	return s
}

// ask returns the standing of the client of c, and its uid where it is known.
func (g *Guard) ask(c net.Conn) (standing, uint32) {
	local, okLocal := addrPort(c.LocalAddr())
	remote, okRemote := addrPort(c.RemoteAddr())
	if !okLocal || !okRemote {
		return standingUnknown, 0
	}
	if !remote.Addr().IsLoopback() {
		return standingRemote, 0
	}
	raw, ok := rawConn(c)
	if !ok {
		return standingUnknown, 0
	}
	s, uid := g.owners.of(raw, tuple{local: local, remote: remote})
	if s != standingOurs {
		return s, 0
	}
	if _, ok := g.users[uid]; !ok {
		s = standingForeign
	}
	return s, uid
}

// tuple names a TCP socket by its two ends, its own first. IPv4 addresses are
// in their short form, also those of an IPv6 socket.
type tuple struct{ local, remote netip.AddrPort }

func (t tuple) reversed() tuple { return tuple{local: t.remote, remote: t.local} }

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return ap, ap.IsValid()
}

// rawConn reaches the socket under what wraps it, such as TLS.
func rawConn(c net.Conn) (syscall.RawConn, bool) {
	for {
		if sc, ok := c.(syscall.Conn); ok {
			raw, err := sc.SyscallConn()
			return raw, err == nil
		}
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil, false
		}
		c = w.NetConn()
	}
}
