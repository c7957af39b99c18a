package upstream

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/net/proxy"
)

const (
	connectTimeout   = 15 * time.Second // TCP, over all of a host's addresses, and a proxy's CONNECT
	handshakeTimeout = 10 * time.Second // TLS

	// deadAfter is how long a path may be silent that should speak: nothing of what
	// was sent is acknowledged, or keep-alive probes aren't. A stream that is merely
	// silent answers those for hours. To a kernel, an upstream that lives but doesn't
	// read is silent too: to begin with a large body it gets readsAfter.
	deadAfter  = 25 * time.Second
	readsAfter = 5 * time.Minute
)

// dialTCP connects to the first of a host's addresses that answers, as net.Dialer does
// by RFC 8305.
func dialTCP(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         func(_, _ string, raw syscall.RawConn) error { return boundSilence(raw, deadAfter) },
	}
	return d.DialContext(ctx, network, addr)
}

// ProxyError is why a proxy gave no way to the upstream.
type ProxyError struct {
	Status int   // what it answered to CONNECT; 0: it didn't
	Err    error // nil with a Status
}

func (e *ProxyError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("connecting through the proxy: it answered CONNECT with %d", e.Status)
	}
	return "connecting through the proxy: " + e.Err.Error()
}

func (e *ProxyError) Unwrap() error { return e.Err }

// dial returns a new connection, ready for a request. It is called in a goroutine of its
// own: the stack that a handshake needs ends with it.
func (h *Host) dial(ctx context.Context) (*conn, error) {
	cfg := h.client.tls.Load()
	own, err := h.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c := newConn(h, own)
	c.trusts = cfg
	if h.url.Scheme == "https" {
		err = c.encrypt(ctx, cfg)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// connect returns a connection at whose other end is h.
func (h *Host) connect(ctx context.Context, cfg *tls.Config) (own net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	via, err := h.client.cfg.Proxy(h.url)
	switch {
	case err != nil:
		err = errors.New("its address in the environment is not a URL") // which may hold a password
	case via == nil:
		return h.client.cfg.Dial(ctx, "tcp", h.addr)
	case via.Scheme == "socks5" || via.Scheme == "socks5h":
		own, err = h.connectSOCKS(ctx, via)
	default:
		own, err = h.connectHTTP(ctx, via, cfg)
	}
	if _, ok := errors.AsType[*ProxyError](err); err != nil && !ok {
		err = &ProxyError{Err: err}
	}
	return own, err
}

// connectHTTP asks a proxy for a way to h (RFC 9110, 9.3.6).
func (h *Host) connectHTTP(ctx context.Context, via *url.URL, cfg *tls.Config) (net.Conn, error) {
	to := newHost(h.client, via)
	to.authority = h.addr
	own, err := h.client.cfg.Dial(ctx, "tcp", to.addr)
	if err != nil {
		return nil, err
	}
	c := newConn(to, own)
	if via.Scheme == "https" {
		if err := c.encrypt(ctx, cfg); err != nil {
			c.close()
			return nil, err
		}
		own = c.tls
	}
	defer context.AfterFunc(ctx, c.close)()
	req := &Request{Method: http.MethodConnect, Target: h.addr}
	if via.User != nil {
		password, _ := via.User.Password()
		both := base64.StdEncoding.EncodeToString([]byte(via.User.Username() + ":" + password))
		req.Add = []Field{{"Proxy-Authorization", "Basic " + both}}
	}
	buf, err := req.head(to.authority)
	if err != nil {
		return nil, err
	}
	res, err := c.roundTrip(req, buf, http.Header{})
	switch {
	case err != nil:
		err = errors.Join(ctx.Err(), err)
	case res.Status/100 != 2:
		err = &ProxyError{Status: res.Status}
	case c.in.buffered() > 0:
		err = errors.New("it sent more than its answer")
	default:
		return own, nil
	}
	c.close()
	return nil, err
}

func (h *Host) connectSOCKS(ctx context.Context, via *url.URL) (net.Conn, error) {
	var own net.Conn // what is left once the proxy has let us through
	d, err := proxy.FromURL(via, dialer(func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		own, err = h.client.cfg.Dial(ctx, network, addr)
		return own, err
	}))
	if err == nil {
		_, err = d.(proxy.ContextDialer).DialContext(ctx, "tcp", h.addr)
	}
	return own, err
}

// dialer is Config.Dial as package proxy has it.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	return d(context.Background(), network, addr)
}

func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return d(ctx, network, addr)
}

// encrypt shakes hands. The certificate must be for the host's name.
func (c *conn) encrypt(ctx context.Context, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	cfg = cfg.Clone()
	cfg.ServerName = c.host.url.Hostname()
	c.tls = tls.Client(c.socket, cfg)
	c.in.src = c.tls
	return c.tls.HandshakeContext(ctx)
}
