package guard

import (
	"net"
	"net/netip"
	"slices"
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
	peerKnown                  // its user is known; lookUpPeer makes it one of the next two
	peerAllowed                // its user is let in
	peerForeign                // its user isn't let in
	peerGone                   // it has closed its socket: nobody would read an answer
	peerUnknown                // it is on this machine, but its user can't be known
	peerRemote                 // its address isn't one of this machine's
)

// peer is the client of one connection.
type peer struct {
	conn  net.Conn
	mu    sync.Mutex    // held while the kernel is asked
	class atomic.Uint32 // a peerClass
	uid   uint32        // set before class is stored; its user, if class is peerAllowed or peerForeign
}

// classOf returns the class of p. The first call asks the kernel and keeps the
// answer, since the owner of a socket never changes.
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

// lookUpPeer asks the kernel for the class of c's client, and for its uid if
// the class is peerAllowed or peerForeign.
func (g *Guard) lookUpPeer(c net.Conn) (peerClass, uint32) {
	local, okLocal := addrPort(c.LocalAddr())
	remote, okRemote := addrPort(c.RemoteAddr())
	if !okLocal || !okRemote {
		return peerUnknown, 0
	}
	if !remote.Addr().IsLoopback() && remote.Addr() != local.Addr() && !isInterface(remote.Addr()) {
		return peerRemote, 0
	}
	if !g.ownersKnown {
		return peerUnknown, 0
	}
	raw, ok := rawConn(c)
	if !ok {
		return peerUnknown, 0
	}
	class, uid := g.owners.lookUp(raw, tuple{local: local, remote: remote})
	if class != peerKnown {
		return class, 0
	}
	if !slices.Contains(g.users, uid) {
		return peerForeign, uid
	}
	return peerAllowed, uid
}

// onLoopback reports whether p's client is known to be on loopback.
func (p *peer) onLoopback() bool {
	if p == nil {
		return false
	}
	remote, ok := addrPort(p.conn.RemoteAddr())
	return ok && remote.Addr().IsLoopback()
}

// isInterface reports whether an address is one of this machine's, loopback aside. A
// program of this machine may have any of them as its own end.
func isInterface(ip netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr().Unmap() == ip
	})
}

// tuple names a TCP socket by the addresses of its two ends, its own first. An
// IPv4 address has four bytes, also where the socket is an IPv6 one.
type tuple struct{ local, remote netip.AddrPort }

func (t tuple) reversed() tuple { return tuple{local: t.remote, remote: t.local} }

// addrPort returns a TCP address as a tuple has it.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	ap = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	return ap, ap.IsValid()
}

// rawConn returns the socket inside c, which TLS or Limit may have wrapped.
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
