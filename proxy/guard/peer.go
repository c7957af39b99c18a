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

// peerClass says what is known of the client behind a connection.
type peerClass uint32

const (
	peerUnclassified peerClass = iota
	peerAllowed                // its user is let in
	peerForeign                // its user is known, and not let in
	peerGone                   // its socket is closed: it is nobody's, and nobody would read an answer
	peerUnknown                // it is on this machine, but its user can't be known
	peerRemote                 // it isn't on this machine, as far as can be seen
)

// peer is the client of one connection.
type peer struct {
	conn  net.Conn
	mu    sync.Mutex // held while the kernel is asked
	class atomic.Uint32
	uid   uint32 // set before standing, if that is ours or foreign
}

// classOf asks the kernel who the peer is, if no earlier request of its
// connection has. The answer stands: a socket has the owner that made it.
func (g *Guard) classOf(p *peer) peerClass {
	if p == nil {
		return peerUnknown
	}
	if class := peerClass(p.class.Load()); class != peerUnclassified {
		return class
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if class := peerClass(p.class.Load()); class != peerUnclassified {
		return class
	}
	var class peerClass
	class, p.uid = g.lookUpPeer(p.conn)
	p.class.Store(uint32(class))
	return class
}

// lookUpPeer returns the standing of the client of c, and its uid where it is known.
func (g *Guard) lookUpPeer(c net.Conn) (peerClass, uint32) {
	local, okLocal := addrPort(c.LocalAddr())
	remote, okRemote := addrPort(c.RemoteAddr())
	if !okLocal || !okRemote {
		return peerUnknown, 0
	}
	if !remote.Addr().IsLoopback() {
		return peerRemote, 0
	}
	raw, ok := rawConn(c)
	if !ok {
		return peerUnknown, 0
	}
	class, uid := g.owners.lookUp(raw, tuple{local: local, remote: remote})
	if class != peerAllowed {
		return class, 0
	}
	if _, ok := g.users[uid]; !ok {
		class = peerForeign
	}
	return class, uid
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
