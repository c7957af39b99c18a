// Package workspace is the Databricks side: it mints, lists and revokes tokens
// through the Databricks SDK, and learns the workspace's time from the answers.
//
// Each call is one attempt that ends within Config.Timeout. Nothing is retried
// here: the SDK would also retry the creation of a token, and mint two. Who
// calls decides, by the sentinels (ErrInvalidToken and so on), by RetryAfter,
// and by ErrUncertain, which says that a token may have been minted although
// nobody got it.
//
// A Client is isolated: neither the environment (but for HTTPS_PROXY and its
// like) nor ~/.databrickscfg changes what it does, and a token is sent to the
// host that it came with and nowhere else, redirects included. No error and no
// log line shows a token.
package workspace

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/databricks/databricks-sdk-go/client"
	"github.com/databricks/databricks-sdk-go/config"
	"github.com/databricks/databricks-sdk-go/httpclient"
	"github.com/databricks/databricks-sdk-go/service/settings"
	"golang.org/x/net/http/httpproxy"

	"patrol/rotator/pat"
)

// DefaultTimeout is what a call may take if Config doesn't say.
const DefaultTimeout = 15 * time.Second

// Config says which workspace, and how to reach it.
type Config struct {
	Host      string            // "https://dbc-1.cloud.databricks.com"; see pat.ParseHost
	RootCAs   *x509.CertPool    // who signs the workspace's certificate; nil: whom the system trusts
	Transport http.RoundTripper // nil: one of our own, which honours HTTPS_PROXY as it is now
	UserAgent string            // "patrol/1.2.3", put before the SDK's own; "" for none
	Timeout   time.Duration     // of each call, all told; 0 is DefaultTimeout
	Log       *slog.Logger      // one line per call at level debug; nil for none
}

// Client talks to one workspace. It is safe for concurrent use.
type Client struct {
	host      pat.Host
	timeout   time.Duration
	userAgent string
	base      http.RoundTripper              // Config.Transport; nil: own
	own       atomic.Pointer[http.Transport] // replaced by Trust
	tokens    *settings.TokensAPI
	sdk       *client.DatabricksClient // below tokens
	log       *slog.Logger
	clock     atomic.Pointer[reading] // of the last answer; nil: there was none
}

// New returns a client for cfg.Host. It sends nothing.
func New(cfg Config) (*Client, error) {
	host, err := pat.ParseHost(cfg.Host)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the workspace's host: %w", err)
	case !host.Private():
		return nil, fmt.Errorf("workspace host %s: want https://, or the token could be read on the way", redact(host.String(), nil))
	}
	c := &Client{host: host, userAgent: cfg.UserAgent, base: cfg.Transport}
	c.timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	c.log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	c.Trust(cfg.RootCAs)
	if c.sdk, err = c.connect(); err != nil {
		return nil, fmt.Errorf("setting up the Databricks SDK: %w", err)
	}
	c.tokens = settings.NewTokens(c.sdk)
	return c, nil
}

// connect makes the SDK's client, with everything off that would reach past
// this package: loaders, metadata, credentials, retries, its transport.
func (c *Client) connect() (*client.DatabricksClient, error) {
	cfg := &config.Config{
		Host:                 c.host.String(),
		Loaders:              []config.Loader{nothing{}},
		HostMetadataResolver: func(context.Context, string) (*config.HostMetadata, error) { return nil, nil },
	}
	api := httpclient.NewApiClient(httpclient.ClientConfig{
		Transport: guarded{c},
		// The SDK holds calls back at 15 a second, which is not its to decide
		// here: few calls are made, and all of them by a rotator that backs off.
		RateLimitPerSecond: 1000,
		RetryTimeout:       time.Second,
		HTTPTimeout:        c.timeout + time.Second, // the call's own deadline comes first, and says so
	})
	return client.NewWithClient(cfg, api)
}

// nothing is a loader that loads nothing, where no loader at all would mean
// environment and file.
type nothing struct{}

func (nothing) Name() string                   { return "nothing" }
func (nothing) Configure(*config.Config) error { return nil }

// Trust replaces Config.RootCAs for the calls to come; those under way go on. It
// changes nothing for a client with a Config.Transport.
func (c *Client) Trust(roots *x509.CertPool) {
	if old := c.own.Swap(newTransport(roots, c.timeout)); old != nil {
		old.CloseIdleConnections()
	}
}

// transport returns what the next call is made with.
func (c *Client) transport() http.RoundTripper {
	if c.base != nil {
		return c.base
	}
	return c.own.Load()
}

// newTransport returns a transport that shares nothing with the SDK's or the
// standard library's default ones, for calls that take timeout at most.
func newTransport(roots *x509.CertPool, timeout time.Duration) *http.Transport {
	proxy := httpproxy.FromEnvironment().ProxyFunc()
	return &http.Transport{
		Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		// A connection that has died in a sleep is given up within one call, so
		// that the next has a new one.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: timeout / 3, PingTimeout: timeout / 3},
		MaxIdleConnsPerHost: 2,
		// Calls come in bursts hours apart. A connection kept between them is
		// one that a sleeping laptop or a firewall has killed unnoticed.
		IdleConnTimeout: 10 * time.Second,
	}
}

// Host returns the workspace's host.
func (c *Client) Host() pat.Host { return c.host }

// Close drops idle connections. Calls under way go on.
func (c *Client) Close() { c.own.Load().CloseIdleConnections() }

// Session is a client that acts as somebody. It is safe for concurrent use.
type Session struct {
	c *Client

	// authenticate returns the headers that authenticate a call, and what must
	// never be shown of them.
	authenticate func(context.Context) (header http.Header, secrets []string, err error)
}

// As returns a session that acts with t. Each of its calls fails if t isn't a
// token of this client's host.
func (c *Client) As(t pat.Token) *Session {
	return &Session{c: c, authenticate: func(context.Context) (http.Header, []string, error) {
		switch {
		case t.IsZero():
			return nil, nil, errors.New("there is no token to act with")
		case !t.Host.MaySame(c.host):
			return nil, nil, fmt.Errorf("%v came with %s and is not sent to %s", t, redact(t.Host.String(), nil), c.host)
		}
		return http.Header{"Authorization": {"Bearer " + t.Expose()}}, []string{t.Expose()}, nil
	}}
}
