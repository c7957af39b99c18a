package guard

import (
	"context"
	"log/slog"
	"net"
	"sync"
)

// Limit returns a listener whose connections, with those of all other
// listeners of this Guard's Limit, number MaxConns at most. Past that, one per
// listener waits to be handed out, and more in the kernel's queue, until others
// end.
//
// Where owners can be known, half of the places are kept for users who are let
// in, so that nobody else can take them all: once half are in use, a connection
// of anybody else is closed at once.
func (g *Guard) Limit(l net.Listener) net.Listener {
	return &limitListener{Listener: l, g: g, done: make(chan struct{})}
}

type limitListener struct {
	net.Listener
	g    *Guard
	once sync.Once
	done chan struct{} // closed by Close
}

func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// Accept returns the next connection, once there is a place for it.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil:
			return nil, err
		case l.g.turnsAway(c):
			_ = c.Close()
			if attrs, ok := l.g.note(reasonCrowded, c.RemoteAddr().String()); ok {
				l.g.log.LogAttrs(context.Background(), slog.LevelWarn, "connection refused", attrs...)
			}
		case !l.takePlace(c):
			_ = c.Close()
			return nil, net.ErrClosed
		default:
			return l.g.hold(c), nil
		}
	}
}

// takePlace blocks until there is one. It is false once l is closed.
func (l *limitListener) takePlace(c net.Conn) bool {
	select {
	case l.g.slots <- struct{}{}:
		return true
	default:
	}
	if attrs, ok := l.g.note(reasonFull, c.RemoteAddr().String()); ok {
		attrs = append(attrs, slog.Int("open", cap(l.g.slots)))
		l.g.log.LogAttrs(context.Background(), slog.LevelWarn, "connections wait: no more may be open", attrs...)
	}
	select {
	case l.g.slots <- struct{}{}:
		return true
	case <-l.done:
		return false
	}
}

func (g *Guard) release() { <-g.slots }

// turnsAway reports whether c must go so that room is kept.
func (g *Guard) turnsAway(c net.Conn) bool {
	if !ownersKnown || len(g.slots) < (cap(g.slots)+1)/2 {
		return false
	}
	s, _ := g.ask(c)
	return s != standingOurs
}

// hold returns c, which gives its place back when it is closed.
func (g *Guard) hold(c net.Conn) net.Conn {
	release := sync.OnceFunc(g.release)
	if tcp, ok := c.(*net.TCPConn); ok {
		return &heldTCPConn{TCPConn: tcp, release: release}
	}
	return &heldConn{Conn: c, release: release}
}

// heldTCPConn has all methods of a TCPConn: net/http wants CloseWrite, without
// which a client that still sends may lose the answer, and we SyscallConn.
type heldTCPConn struct {
	*net.TCPConn
	release func()
}

func (c *heldTCPConn) Close() error {
	defer c.release()
	return c.TCPConn.Close()
}

type heldConn struct {
	net.Conn
	release func()
}

func (c *heldConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// NetConn returns the connection underneath.
func (c *heldConn) NetConn() net.Conn { return c.Conn }
