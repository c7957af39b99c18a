// Package upstream is an HTTP/1.1 client for a few known hosts, made for a proxy:
// it sends what it is given and returns what comes, changes neither, and does both
// in the goroutine that calls it.
//
// It follows RFC 9112, strictly where servers may disagree: an answer whose end can
// be read in two ways is an error, and its connection is closed. It never shows an
// answer's bytes in an error: an upstream may send a token back.
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
	"time"

	"golang.org/x/net/http/httpproxy"
)

// Config says how upstreams are reached. Its zero value is ready to use.
type Config struct {
	RootCAs *x509.CertPool // who signs upstreams' certificates; nil is whom the system trusts

	// Proxy returns the proxy for an upstream's URL, nil if there is none. Nil
	// func: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment, as they are
	// when New is called. Schemes are http, https, socks5 and socks5h.
	Proxy func(*url.URL) (*url.URL, error)

	// Dial connects to "host:port". Nil func: TCP, to whichever of the host's
	// addresses answers first.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	Now func() time.Time // the wall clock; nil is time.Now
}

// Client has a pool of connections for each host. It is safe for concurrent use.
type Client struct {
	proxy func(*url.URL) (*url.URL, error)
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	now   func() time.Time

	dialing context.Context // ends when the client is closed
	cancel  context.CancelFunc

	mu    sync.Mutex // guards what follows; taken before a Host's
	tls   *tls.Config
	hosts map[string]*Host
}

// New returns a client. It connects to nothing yet.
func New(cfg Config) *Client {
	c := &Client{proxy: cfg.Proxy, dial: cfg.Dial, now: cfg.Now, hosts: make(map[string]*Host)}
	if c.proxy == nil {
		c.proxy = httpproxy.FromEnvironment().ProxyFunc()
	}
	if c.dial == nil {
		c.dial = dialTCP
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.dialing, c.cancel = context.WithCancel(context.Background())
	c.tls = newTLSConfig(cfg.RootCAs)
	return c
}

// Host returns the host of base, an http or https URL whose path doesn't matter.
func (c *Client) Host(base *url.URL) *Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := base.Scheme + "://" + base.Host
	h := c.hosts[key]
	if h == nil {
		h = newHost(c, base)
		c.hosts[key] = h
	}
	return h
}

// Trust replaces Config.RootCAs for the connections to come. Those that are idle are
// closed, those in use when their answer ends.
func (c *Client) Trust(roots *x509.CertPool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tls = newTLSConfig(roots)
	for _, h := range c.hosts {
		h.drop()
	}
}

// Close closes idle connections and ends dials. Connections in use are closed when
// their answer ends. Requests that come later fail.
func (c *Client) Close() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.drop()
	}
}

func (c *Client) tlsConfig() *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tls
}

// Request is what Do sends. Do changes nothing of it, and needs nothing of it after
// it has returned.
type Request struct {
	Method string
	Target string // the path and the query, as they go on the wire

	// Header is sent but for Host, what frames the body, what is for one connection
	// only (RFC 9110, 7.6.1) and the names that Omit returns true for. Nil func: none.
	Header http.Header
	Omit   func(name string) bool
	Add    []Field // sent besides

	Body   []byte    // the body's beginning, or all of it
	Rest   io.Reader // what comes after Body; nil: nothing. Do reads it as it sends
	Length int64     // of Body and Rest together, in bytes; -1 if it isn't known, or if a trailer follows

	// Trailer returns the fields after the body, once Rest has ended. Nil func:
	// none. It needs a Length of -1.
	Trailer func() http.Header

	// Resend says that the request may reach the upstream twice: if a connection
	// that has been used before dies without a byte of an answer, Do sends it once
	// more, over a new one. It doesn't where it has read from Rest.
	Resend bool

	// Interim is called for each 1xx answer that is to be passed on; its fields
	// stand in Do's header until it returns. Nil func: they are dropped.
	Interim func(status int)
}

// Field is a field of a header.
type Field struct{ Name, Value string }

// Error is why a request has no answer.
type Error struct {
	Sent     bool // it was on a connection, and may have reached the upstream
	Answered bool // a byte of an answer came
	Err      error

	again bool // it may only have met a connection that had died before
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Do sends req and returns its answer once the answer's head is there. It puts the
// answer's fields into header, after it has removed what was there: all but those for
// one connection only; Content-Length and Trailer stay. After an error header is empty.
// The error is an *Error. When ctx ends, so do Do and the reading of the answer.
//
// The caller reads the answer to its end or closes it.
func (h *Host) Do(ctx context.Context, req *Request, header http.Header) (*Response, error) {
	res, err := h.attempt(ctx, req, header, false)
	if err != nil && err.again && req.Resend && ctx.Err() == nil {
		res, err = h.attempt(ctx, req, header, true)
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// attempt sends req over a connection, a new one if fresh.
func (h *Host) attempt(ctx context.Context, req *Request, header http.Header, fresh bool) (*Response, *Error) {
	if err := req.check(); err != nil {
		return nil, &Error{Err: err}
	}
	c, err := h.get(ctx, fresh)
	if err != nil {
		return nil, &Error{Err: err}
	}
	stop := context.AfterFunc(ctx, c.close)
	res, err := c.roundTrip(req, header)
	if err != nil {
		clear(header)
		stop()
		c.close()
		if ended := ctx.Err(); ended != nil {
			err = ended
		}
		answered := c.in.total > 0
		return nil, &Error{Sent: true, Answered: answered, Err: err, again: c.used && !answered && !c.restRead}
	}
	res.stop = stop
	if res.left == noBody {
		res.end()
	}
	return res, nil
}

// roundTrip sends req and reads the head of its answer.
func (c *conn) roundTrip(req *Request, header http.Header) (*Response, error) {
	c.in.total, c.restRead = 0, false
	sent := c.send(req)
	if sent != nil && !errors.Is(sent, errEarly) {
		// An upstream that has had enough may have said why before it closed the
		// connection.
		if !c.awaitAnswer() {
			return nil, sent
		}
	}
	res, err := c.readAnswer(req, header)
	if err != nil {
		if sent != nil && !errors.Is(sent, errEarly) {
			err = sent
		}
		return nil, err
	}
	res.reusable = res.reusable && sent == nil
	return res, nil
}
