// Package upstream is an HTTP/1.1 client for a few known hosts, made for a proxy: it
// sends what it is given and returns what comes, in the goroutine that calls it.
//
// It follows RFC 9112, strictly where servers may disagree: an answer that can be read
// in two ways is an error, and its connection is closed. No error shows what an
// upstream has sent, which may be a token.
package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Config says how upstreams are reached. The zero Config is ready to use.
type Config struct {
	RootCAs *x509.CertPool // who signs upstreams' certificates; nil is whom the system trusts

	// Proxy returns the proxy on the way to an upstream, nil if there is none: an
	// http, https, socks5 or socks5h URL. Nil func: HTTPS_PROXY, HTTP_PROXY and
	// NO_PROXY, as they stand in the environment when New is called.
	Proxy func(*url.URL) (*url.URL, error)

	// Dial connects to "host:port". Nil func: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Now func() time.Time // the wall clock; nil is time.Now
}

// Client keeps connections to each host. It is safe for concurrent use.
type Client struct {
	cfg    Config          // defaults filled in; but for RootCAs, whose place is tls
	ctx    context.Context // of dials; done once the client is closed
	cancel context.CancelFunc
	tls    atomic.Pointer[tls.Config]

	mu    sync.Mutex // taken before a Host's
	hosts map[string]*Host
}

// New returns a client. It connects to nothing yet.
func New(cfg Config) *Client {
	if cfg.Proxy == nil {
		cfg.Proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	if cfg.Dial == nil {
		cfg.Dial = dialTCP
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Client{cfg: cfg, hosts: make(map[string]*Host)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.Trust(cfg.RootCAs)
	return c
}

// Host returns the host of base, an http or https URL.
func (c *Client) Host(base *url.URL) *Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := base.Scheme + "://" + base.Host
	if c.hosts[key] == nil {
		c.hosts[key] = newHost(c, base)
	}
	return c.hosts[key]
}

// Trust replaces Config.RootCAs. Idle connections are closed, those in use when their
// answer ends.
func (c *Client) Trust(roots *x509.CertPool) {
	c.tls.Store(&tls.Config{
		RootCAs:            roots,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		// Small records help whoever reads the beginning first. Requests are read whole.
		DynamicRecordSizingDisabled: true,
	})
	c.drop()
}

// Close closes idle connections, and those in use when their answer ends. Requests that
// come later fail.
func (c *Client) Close() {
	c.cancel()
	c.drop()
}

func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.drop()
	}
}

// Request is what Do sends. Do changes nothing of it, and has done with it when it
// returns.
type Request struct {
	Method string
	Target string // the path and the query, as they go on the wire

	// Header is sent, but for Host, what is for one connection only (RFC 9110, 7.6.1),
	// what frames the body, and what Omit returns true for. Nil func: nothing.
	Header http.Header
	Omit   func(name string) bool
	Add    []Field // is sent too

	Body   []byte    // the body, or its beginning
	Rest   io.Reader // what comes after Body, read as it is sent; nil: nothing
	Length int64     // of both, in bytes; -1 if it isn't known, or a trailer follows

	// Trailer is read once Rest has ended, and sent as Header is.
	Trailer http.Header

	// Resend says that the request, which has no Rest, may reach the upstream twice. If
	// a connection that was idle before dies without a byte of an answer, Do then sends
	// it once more, over a new one. Fresh says that it must be on a new one at once.
	Resend, Fresh bool

	// Interim is told of each answer with 1xx but 100. Its fields stand in the header
	// that Do was given. Nil func: nobody.
	Interim func(status int)
}

// Field is a field of a header.
type Field struct{ Name, Value string }

// Error is why a request has no answer.
type Error struct {
	Sent     bool // it may have reached the upstream
	Answered bool // a byte of an answer came
	Err      error

	kept bool // the connection had been idle
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Do sends req and returns its answer once the answer's head is there. It replaces what is
// in header by the answer's fields, Content-Length and Trailer included, without those for
// one connection only. After an error, which is an *Error, header is empty. When ctx is
// done, so is Do, but for a Read of Rest, and the reading of the answer.
//
// The caller reads the answer to its end, or closes it.
func (h *Host) Do(ctx context.Context, req *Request, header http.Header) (*Response, error) {
	res, err := h.send(ctx, req, header, req.Fresh)
	if err != nil && err.kept && !err.Answered && req.Resend && req.Rest == nil && ctx.Err() == nil {
		if res, err = h.send(ctx, req, header, true); err != nil {
			err.Sent = true
		}
	}
	if err != nil {
		clear(header)
		return nil, err
	}
	return res, nil
}

// send sends req once, over a new connection if fresh.
func (h *Host) send(ctx context.Context, req *Request, header http.Header, fresh bool) (*Response, *Error) {
	buf, err := req.head(h.authority)
	if err != nil {
		return nil, &Error{Err: err}
	}
	c, err := h.get(ctx, fresh)
	if err != nil {
		scratch.Put(buf)
		return nil, &Error{Err: err}
	}
	stop := context.AfterFunc(ctx, c.close)
	res, err := c.roundTrip(req, buf, header)
	if err != nil {
		stop()
		c.close()
		// Where the client's body breaks off, its server ends ctx too.
		if _, rest := errors.AsType[*RestError](err); !rest && ctx.Err() != nil {
			return nil, &Error{Sent: true, Err: ctx.Err()}
		}
		answered := c.in.total > 0
		return nil, &Error{Sent: true, Answered: answered, Err: err, kept: c.kept}
	}
	res.stop = stop
	if res.next == data && res.left == 0 {
		res.end()
	}
	return res, nil
}

// roundTrip sends req, whose head is in buf, and reads the head of its answer.
func (c *conn) roundTrip(req *Request, buf *buffer, header http.Header) (*Response, error) {
	c.in.total = 0
	sent := c.send(req, buf)
	early := errors.Is(sent, errEarly)
	if _, rest := errors.AsType[*RestError](sent); rest {
		return nil, sent
	}
	if sent != nil && !early {
		// An upstream that has had enough may have said why before it hung up.
		_ = c.socket.SetReadDeadline(time.Now().Add(time.Second))
	}
	res, err := c.readAnswer(req, header)
	switch {
	case err != nil && sent != nil && !early:
		return nil, sent
	case err != nil || sent == nil:
		return res, err
	}
	_ = c.socket.SetReadDeadline(time.Time{})
	res.reusable = false
	return res, nil
}
