package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

const (
	connectTimeout   = 15 * time.Second // TCP, over all of a host's addresses
	handshakeTimeout = 10 * time.Second // TLS, or a proxy's CONNECT

	// deadAfter is how long a path may be silent that should speak: what was sent
	// isn't acknowledged, or keep-alive probes aren't. A stream that is only silent
	// answers those for hours.
	deadAfter = 25 * time.Second
)

// dialTCP connects to the first of a host's addresses that answers: net.Dialer does
// what RFC 8305 says (happy eyeballs).
func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		ControlContext:  setUserTimeout,
	}
	return d.DialContext(ctx, network, addr)
}

// newTLSConfig returns what all connections that trust roots have in common: their
// sessions too, so that the next handshake is short.
func newTLSConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{
		RootCAs:            roots,
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(0),
		// Records are as large as they may be: small ones help who waits for the
		// beginning of what is long, and requests aren't read before their end.
		DynamicRecordSizingDisabled: true,
	}
}

// ProxyError is a proxy's failure, before the upstream was reached.
type ProxyError struct {
	Status int   // what it answered to CONNECT; 0: nothing
	Err    error // nil with a Status
}

func (e *ProxyError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("connecting through the proxy: it answered CONNECT with %d", e.Status)
	}
	return "connecting through the proxy: " + e.Err.Error()
}

func (e *ProxyError) Unwrap() error { return e.Err }

// dial returns a new connection to the host, ready for a request. It is called in a
// goroutine of its own: the stack that a handshake needs goes with it.
func (h *Host) dial(ctx context.Context) (*conn, error) {
	via, err := h.client.proxy(h.url)
	if err != nil {
		return nil, &ProxyError{Err: errors.New("the environment's setting is not a URL")} // it may hold a password
	}
	own, err := h.connect(ctx, via)
	if err != nil {
		return nil, err
	}
	c := newConn(h, own)
	if h.url.Scheme == "https" {
		if err := c.encrypt(ctx, h.url.Hostname(), h.client.tlsConfig()); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// connect returns a connection on which h is at the other end.
func (h *Host) connect(ctx context.Context, via *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if via == nil {
		return h.client.dial(ctx, "tcp", h.addr)
	}
	own, err := h.connectVia(ctx, via)
	if err != nil {
		if _, ok := errors.AsType[*ProxyError](err); !ok {
			err = &ProxyError{Err: err}
		}
		return nil, err
	}
	return own, nil
}

// connectVia connects through a proxy.
func (h *Host) connectVia(ctx context.Context, via *url.URL) (net.Conn, error) {
	if via.Scheme == "socks5" || via.Scheme == "socks5h" {
		return h.connectSOCKS(ctx, via)
	}
	to := newHost(h.client, via)
	own, err := h.client.dial(ctx, "tcp", to.addr)
	if err != nil {
		return nil, err
	}
	c := newConn(to, own)
	if via.Scheme == "https" {
		if err := c.encrypt(ctx, via.Hostname(), h.client.tlsConfig()); err != nil {
			c.close()
			return nil, err
		}
	}
	if err := c.tunnel(ctx, h.addr, via.User); err != nil {
		c.close()
		return nil, err
	}
	if c.tls != nil {
		return c.tls, nil
	}
	return own, nil
}

// dialer is Client.dial as a type.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	return d(context.Background(), network, addr)
}

func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}

func (h *Host) connectSOCKS(ctx context.Context, via *url.URL) (net.Conn, error) {
	d, err := proxy.FromURL(via, dialer(h.client.dial))
	if err != nil {
		return nil, err
	}
	byContext, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("this kind of proxy isn't supported")
	}
	return byContext.DialContext(ctx, "tcp", h.addr)
}

// encrypt shakes hands. The certificate must be name's.
func (c *conn) encrypt(ctx context.Context, name string, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	cfg = cfg.Clone()
	cfg.ServerName = name
	over := tls.Client(c.socket, cfg)
	if err := over.HandshakeContext(ctx); err != nil {
		return err
	}
	c.tls, c.in.src = over, over
	return nil
}

// tunnel asks a proxy for a way to addr (RFC 9110, 9.3.6).
func (c *conn) tunnel(ctx context.Context, addr string, user *url.Userinfo) error {
	defer context.AfterFunc(ctx, c.close)()
	req := &Request{Method: http.MethodConnect, Target: addr}
	if user != nil {
		password, _ := user.Password()
		both := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		req.Add = []Field{{"Proxy-Authorization", "Basic " + both}}
	}
	c.host.authority = addr
	res, err := c.roundTrip(req, http.Header{})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case res.Status/100 != 2:
		return &ProxyError{Status: res.Status}
	case c.in.buffered() > 0:
		return errors.New("it sent something before it was asked")
	}
	return nil
}
