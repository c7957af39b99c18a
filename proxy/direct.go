package proxy

import (
	"context"
	"io"
	"net"
)

// direct is a connection that sends a payload from where it lies.
// http.Transport would copy it through a buffer of 32 KB, a write for each.
// Over TLS it is of no use, and not asked.
type direct struct{ *net.TCPConn }

// dialDirect returns how to dial with d.
func dialDirect(d *net.Dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok {
			return direct{tcp}, err
		}
		return conn, err
	}
}

// ReadFrom is what io.Copy asks.
func (d direct) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if in, ok := limited.R.(*payloadReader); ok {
			n, err := in.sendTo(d.TCPConn, limited.N)
			limited.N -= n
			return n, err
		}
	}
	return d.TCPConn.ReadFrom(r)
}
