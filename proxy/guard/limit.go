package guard

import (
	"context"
	"log/slog"
	"net"
	"sync"
)

// Limit returns a listener that hands out connections of l. At most MaxConns of
// them are open at a time, counted over all listeners that Limit has returned.
// Beyond that Accept blocks until one is closed, and further connections wait in
// the kernel's queue.
//
// Where a socket's owner can be known, half of the MaxConns are reserved for
// users who are let in: once the other half is in use, a connection of anybody
// else is closed at once.
func (g *Guard) Limit(l net.Listener) net.Listener {
	ctx, cancel := context.WithCancel(context.Background())
	return &limitListener{Listener: l, guard: g, closed: ctx.Done(), cancel: cancel}
}

type limitListener struct {
	net.Listener
	guard  *Guard
	closed <-chan struct{} // closed by cancel
	cancel context.CancelFunc
}

func (l *limitListener) Close() error {
	l.cancel()
	return l.Listener.Close()
}

// Accept blocks until there is a connection and a slot for it.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil:
			return nil, err
		case l.guard.isOverHalf(c):
			_ = c.Close()
			if attrs, ok := l.guard.record(reasonOverHalf, c.RemoteAddr().String()); ok {
				l.guard.log.LogAttrs(context.Background(), slog.LevelWarn, "connection refused", attrs...)
			}
		case !l.takeSlot(c):
			_ = c.Close()
			return nil, net.ErrClosed
		default:
			return l.guard.track(c), nil
		}
	}
}

// takeSlot blocks until a slot is free, and takes it. It returns false if l is
// closed before.
func (l *limitListener) takeSlot(c net.Conn) bool {
	slots := l.guard.slots
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	if attrs, ok := l.guard.record(reasonFull, c.RemoteAddr().String()); ok {
		attrs = append(attrs, slog.Int("open", cap(slots)))
		l.guard.log.LogAttrs(context.Background(), slog.LevelWarn, "connections wait: no more may be open", attrs...)
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-l.closed:
		return false
	}
}

// isOverHalf reports whether half of the slots are in use and c's client isn't
// one of the users for whom the other half is reserved.
func (g *Guard) isOverHalf(c net.Conn) bool {
	if !g.ownersKnown || len(g.slots) < (cap(g.slots)+1)/2 {
		return false
	}
	class, _ := g.lookUpPeer(c)
	return class != peerAllowed
}

// track returns c, which holds a slot, so that its Close frees the slot.
func (g *Guard) track(c net.Conn) net.Conn {
	release := sync.OnceFunc(func() { <-g.slots })
	if tcp, ok := c.(*net.TCPConn); ok {
		return &trackedTCPConn{TCPConn: tcp, release: release}
	}
	return &trackedConn{Conn: c, release: release}
}

// trackedTCPConn has all methods of a TCPConn. net/http needs CloseWrite (without
// it a client that is still sending may lose the answer), and rawConn needs
// SyscallConn.
type trackedTCPConn struct {
	*net.TCPConn
	release func()
}

func (c *trackedTCPConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type trackedConn struct {
	net.Conn
	release func()
}

func (c *trackedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// NetConn returns the connection inside, for rawConn.
func (c *trackedConn) NetConn() net.Conn { return c.Conn }
