package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// connection is what happens to an attempt on its way upstream, and what ends
// one that gets nowhere: over HTTP/2 http.Transport sends a request again by
// itself, at once and without end, as long as the upstream resets its stream
// or goes away on each new connection. It is the request's context too, so
// that a dial finds the attempt that it is for.
type connection struct {
	context.Context // the client's

	dials, sends    atomic.Int32
	spent, answered atomic.Bool
	cancel          context.CancelCauseFunc // of an attempt without GetBody; nil if there is none
	watching        bool
}

// mostSends is how often http.Transport may dial for one attempt, and how
// often it may send it over HTTP/2: a few, as connections that were idle may
// all be gone. HTTP/1 gives up by itself once a new connection fails.
const mostSends = 3

// errTurnedAway is the error of an attempt that was sent, or dialled for, that
// often.
var errTurnedAway = errors.New("the upstream turned away every try of the request")

// connectionKey finds the connection in a context.
type connectionKey struct{}

func (c *connection) Value(key any) any {
	if key == (connectionKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// watch begins an attempt: the transport tells of it from now on. What an
// attempt before it has returned must be done with.
func (c *connection) watch(out *http.Request) {
	c.end()
	c.dials.Store(0)
	c.sends.Store(0)
	c.spent.Store(false)
	c.answered.Store(false)
	// ReverseProxy has put a trace there for this request alone. To lay
	// another over it costs more than the rest of an attempt's preparation.
	trace := httptrace.ContextClientTrace(out.Context())
	if trace == nil || c.watching {
		return
	}
	c.watching = true
	trace.GotConn = func(info httptrace.GotConnInfo) { c.got(info.Conn) }
	// HTTP/1 tells of this in another goroutine.
	trace.GotFirstResponseByte = func() { c.answered.Store(true) }
}

// died reports whether the attempt was on a connection and got no byte of an
// answer there.
func (c *connection) died() bool { return c.sends.Load() > 0 && !c.answered.Load() }

// got is told each time the attempt is about to be sent.
func (c *connection) got(conn net.Conn) {
	n := c.sends.Add(1)
	if n < mostSends {
		return
	}
	if over, ok := conn.(*tls.Conn); !ok || over.ConnectionState().NegotiatedProtocol != "h2" {
		return
	}
	c.spent.Store(true)
	if n > mostSends && c.cancel != nil {
		c.cancel(errTurnedAway)
	}
}

// roundTrip sends the attempt. http.Transport asks GetBody before it sends a
// body again; without one only the context ends it.
func (c *connection) roundTrip(t http.RoundTripper, out *http.Request) (*http.Response, error) {
	if out.GetBody != nil {
		return t.RoundTrip(out)
	}
	ctx, cancel := context.WithCancelCause(out.Context())
	c.cancel = cancel
	res, err := t.RoundTrip(out.WithContext(ctx))
	if err != nil && errors.Is(context.Cause(ctx), errTurnedAway) {
		err = errTurnedAway
	}
	return res, err
}

// end frees what the attempt holds. Its answer is read no more.
func (c *connection) end() {
	if c.cancel != nil {
		c.cancel(nil)
		c.cancel = nil
	}
}

// dialer is how http.Transport dials.
type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// bounded returns a dialer that dials mostSends times at most for an attempt.
func bounded(dial dialer) dialer {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if c, ok := ctx.Value(connectionKey{}).(*connection); ok && c.dials.Add(1) > mostSends {
			return nil, errTurnedAway
		}
		return dial(ctx, network, addr)
	}
}
