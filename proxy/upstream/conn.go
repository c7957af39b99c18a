package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// conn is a connection to a host. A request at a time is on it, in the goroutine that
// called Do; only close is for any.
type conn struct {
	host   *Host
	socket *socket
	tls    *tls.Conn // nil over plain HTTP
	in     reader

	generation int
	used       bool // a request was on it before
	restRead   bool // something of this request's Rest was read
	idleFor    time.Duration
	idleSince  time.Time
	idleWall   time.Time // by the wall clock

	watching chan struct{} // closed when the watcher ends; nil: there is none
	early    atomic.Bool   // the watcher has found an answer, or the connection's end
}

func newConn(h *Host, own net.Conn) *conn {
	c := &conn{host: h, socket: newSocket(own), idleFor: idleFor}
	c.in.src = c.socket
	return c
}

// close closes the connection at once, whoever uses it.
func (c *conn) close() { _ = c.socket.Conn.Close() }

// alive reports whether an idle connection can carry a request. It doesn't block.
// Over TLS it takes in what isn't an answer, such as tickets for the next handshake.
func (c *conn) alive() bool {
	if c.in.buffered() > 0 || c.in.err != nil {
		return false
	}
	if c.socket.raw == nil {
		return true // there is no way to look
	}
	c.socket.noWait = true
	err := c.in.fill()
	c.socket.noWait = false
	return errors.Is(err, errWouldBlock)
}

// awaitAnswer reports whether an answer comes soon, after the request couldn't be sent.
func (c *conn) awaitAnswer() bool {
	if c.in.buffered() > 0 {
		return true
	}
	_ = c.socket.SetReadDeadline(time.Now().Add(time.Second))
	err := c.in.fill()
	_ = c.socket.SetReadDeadline(time.Time{})
	return err == nil
}

// watch looks for an early answer while the request is being written: an upstream that
// doesn't read on ends the writing so.
func (c *conn) watch() {
	if c.watching != nil {
		return
	}
	done := make(chan struct{})
	c.watching = done
	go func() {
		defer close(done)
		if err := c.in.fill(); !isTimeout(err) {
			c.early.Store(true)
			_ = c.socket.SetWriteDeadline(past)
		}
	}()
}

// stopWatching ends the watcher, which may have read the beginning of an answer.
func (c *conn) stopWatching() {
	if c.watching == nil {
		return
	}
	_ = c.socket.SetReadDeadline(past)
	<-c.watching
	c.watching = nil
	_ = c.socket.SetDeadline(time.Time{})
}

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// errWouldBlock is the error of a Read that isn't to wait. It is a timeout, so that
// TLS goes on after it.
var errWouldBlock net.Error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing to read yet" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }
