package workspacetest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
)

// Transport returns a way into the workspace without a socket, for tests whose
// time is faked: goroutines that wait on sockets hold it up. Whatever the URL's
// host is, this workspace answers, as one that is asked over HTTPS. Each body must
// be closed.
func (w *Workspace) Transport() http.RoundTripper {
	return &http.Transport{
		DialContext:    w.dial,
		DialTLSContext: w.dial,
		// An idle connection's goroutines would outlive the test.
		DisableKeepAlives: true,
	}
}

// dial serves the workspace on one end of a connection in memory, and returns
// the other.
func (w *Workspace) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	reset := new(atomic.Bool)
	secure := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.TLS = new(tls.ConnectionState)
		w.ServeHTTP(rw, r)
	})
	// Serve returns once it has accepted the connection, which ends by itself.
	go func() { _ = newServer(secure).Serve(&once{conn: &serverEnd{server, reset}}) }()
	return &clientEnd{client, reset}, nil
}

// once is a listener that accepts one connection.
type once struct{ conn net.Conn }

func (o *once) Accept() (net.Conn, error) {
	conn := o.conn
	if conn == nil {
		return nil, net.ErrClosed
	}
	o.conn = nil
	return conn, nil
}

func (o *once) Close() error   { return nil }
func (o *once) Addr() net.Addr { return &net.TCPAddr{} }

// serverEnd of a connection in memory resets it as a socket's does.
type serverEnd struct {
	net.Conn
	reset *atomic.Bool
}

// SetLinger has Close reset the connection.
func (s *serverEnd) SetLinger(int) error {
	s.reset.Store(true)
	return nil
}

// clientEnd sees a reset as a client of a socket does.
type clientEnd struct {
	net.Conn
	reset *atomic.Bool
}

func (c *clientEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && c.reset.Load() {
		err = &net.OpError{Op: "read", Net: "pipe", Err: syscall.ECONNRESET}
	}
	return n, err
}
