package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection to a host. It is used by one request at a time, in the goroutine
// that called Do; close is for any.
type conn struct {
	host   *Host
	socket *socket
	tls    *tls.Conn // nil over plain HTTP
	in     reader

	trusts    *tls.Config   // what it was made with
	kept      bool          // it was idle, and may have died then
	idleFor   time.Duration // how long it may be
	idleSince time.Time
	idleWall  time.Time // the same by the wall clock

	early atomic.Bool // watch has found an answer, or the connection's end
}

func newConn(h *Host, own net.Conn) *conn {
	c := &conn{host: h, socket: newSocket(own), idleFor: idleFor}
	c.in.src = c.socket
	return c
}

// close closes the connection at once, whoever uses it.
func (c *conn) close() {
	if c.socket.below != nil {
		_ = c.socket.below.Close() // TLS would wait to say goodbye
	}
	_ = c.socket.Close()
}

// alive reports whether an idle connection can carry a request. It doesn't wait. Over
// TLS it takes in what isn't an answer, such as tickets for a next handshake.
func (c *conn) alive() bool {
	if c.socket.raw == nil && c.socket.below == nil {
		return true // there is no way to look
	}
	c.socket.noWait = true
	defer func() { c.socket.noWait = false }()
	return errors.Is(c.in.fill(), os.ErrDeadlineExceeded) && c.in.buffered() == 0
}

// watch looks for an early answer while the request is being written, and ends the writing
// if the upstream refuses, or has sent so much that it may not read on before that is read.
// It takes nothing out of the buffer. stop waits for its end.
func (c *conn) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		for err == nil && !c.in.refuses() {
			err = c.in.fill()
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.early.Store(true)
			_ = c.socket.SetWriteDeadline(past)
		}
	}()
	return func() {
		_ = c.socket.SetReadDeadline(past)
		<-done
		_ = c.socket.SetDeadline(time.Time{})
	}
}

// past is a deadline that ends what waits.
var past = time.Unix(1, 0)
