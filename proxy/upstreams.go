package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"patrol/rotator/pat"
)

// GatewayOfWorkspace is the Config.Gateway of those whose workspace serves
// models under /ai-gateway.
const GatewayOfWorkspace = "workspace"

// upstreamName is the setting of each base, for people.
var upstreamName = [upstreams]string{
	workspaceBase: "--host",
	chatBase:      "--upstream",
	openAIBase:    "--openai-upstream",
	anthropicBase: "--anthropic-upstream",
	geminiBase:    "--gemini-upstream",
}

// bases returns each upstream's URL. The token goes to these and nowhere else:
// the workspace that it came with, and what the user has named besides.
func (cfg *Config) bases() (bases [upstreams]*url.URL, err error) {
	host, err := parseBase("--host", cfg.Host)
	if err != nil {
		return bases, err
	}
	if host.Path != "" {
		return bases, fmt.Errorf("--host %q has a path; leave it out", host)
	}
	bases = [upstreams]*url.URL{
		workspaceBase: host,
		chatBase:      below(host, "/serving-endpoints"),
		openAIBase:    below(host, "/serving-endpoints"),
		anthropicBase: below(host, "/serving-endpoints/anthropic"),
		geminiBase:    below(host, "/serving-endpoints/google"),
	}
	if cfg.Gateway != "" {
		if err := cfg.gateway(&bases); err != nil {
			return bases, err
		}
	}
	set := [upstreams]string{chatBase: cfg.Upstream, openAIBase: cfg.OpenAIUpstream, anthropicBase: cfg.AnthropicUpstream, geminiBase: cfg.GeminiUpstream}
	for i, s := range set {
		if s == "" {
			continue
		}
		if bases[i], err = parseBase(upstreamName[i], s); err != nil {
			return bases, err
		}
	}
	return bases, nil
}

// gateway sets the bases that an AI gateway has. A workspace's own and a
// dedicated one differ in OpenAI's.
func (cfg *Config) gateway(bases *[upstreams]*url.URL) error {
	gw, openAI := below(bases[workspaceBase], "/ai-gateway"), "/codex/v1"
	if cfg.Gateway != GatewayOfWorkspace {
		named, err := parseBase("--gateway", cfg.Gateway)
		if err != nil {
			return fmt.Errorf("%w, or is the word %q", err, GatewayOfWorkspace)
		}
		own := pat.HostOf(named).MaySame(pat.HostOf(gw)) && (named.Path == "" || named.Path == gw.Path)
		if !own {
			gw, openAI = named, "/openai/v1"
		}
	}
	bases[chatBase] = below(gw, "/mlflow/v1")
	bases[openAIBase] = below(gw, openAI)
	bases[anthropicBase] = below(gw, "/anthropic")
	bases[geminiBase] = below(gw, "/gemini")
	return nil
}

func below(base *url.URL, path string) *url.URL {
	u := *base
	u.Path += path
	return &u
}

// parseBase reads the URL of an upstream; name is the setting that it comes
// from.
func parseBase(name, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, fmt.Errorf("%s is missing; it looks like https://dbc-1.cloud.databricks.com", name)
	case err != nil:
		// url.Parse quotes what it was given, which may hold a password.
		return nil, fmt.Errorf("%s is not a URL; it looks like https://host/path", name)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("%s %q doesn't start with https://", name, u.Redacted())
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s %q names no host", name, u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("%s %q holds a user or password; patrol signs in with its own token", name, u.Redacted())
	case u.Fragment != "":
		return nil, fmt.Errorf("%s %q has a fragment (#)", name, u.Redacted())
	case u.RawPath != "" || checkPath(u.Path) != nil:
		return nil, fmt.Errorf("%s %q has a path that servers may read in different ways", name, u.Redacted())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

func defaultPort(u *url.URL) string {
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// CheckLoops returns an error if requests that go upstream, or to the proxy
// that the environment names for it (HTTPS_PROXY), would come back to one of
// these addresses, on which patrol listens. It looks names up, which blocks
// until ctx is done at most; one that can't be looked up is nobody.
func (p *Proxy) CheckLoops(ctx context.Context, listening ...net.Addr) error {
	for i, base := range p.bases {
		if leadsTo(ctx, base, listening) {
			return fmt.Errorf("%s %s is patrol's own address: name the Databricks workspace, or another port for patrol with --listen", upstreamName[i], pat.HostOf(base))
		}
		via, err := http.ProxyFromEnvironment(&http.Request{URL: base})
		if err != nil {
			return errors.New("HTTPS_PROXY or HTTP_PROXY in the environment is not a URL") // which may hold a password
		}
		if via != nil && leadsTo(ctx, via, listening) {
			return fmt.Errorf("HTTPS_PROXY or HTTP_PROXY in the environment, by which patrol would reach %s, is patrol's own address: unset it for patrol", pat.HostOf(base))
		}
	}
	return nil
}

// leadsTo reports whether a connection to u's host ends at one of addrs.
func leadsTo(ctx context.Context, u *url.URL, addrs []net.Addr) bool {
	port := u.Port()
	if port == "" {
		port = defaultPort(u)
	}
	var targets []netip.Addr
	for _, a := range addrs {
		host, atPort, err := net.SplitHostPort(a.String())
		if err != nil || atPort != port {
			continue
		}
		at, err := netip.ParseAddr(host)
		if err != nil {
			at = netip.IPv6Unspecified() // ":4000" is all addresses
		}
		if targets == nil {
			targets, err = net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
			if err != nil {
				return false
			}
		}
		for _, target := range targets {
			target = target.Unmap()
			// An address that means all of them is reached by each of this
			// machine's, and asked for as a destination means loopback.
			if target == at.Unmap() || target.IsUnspecified() || at.IsUnspecified() && local(target) {
				return true
			}
		}
	}
	return false
}

// local reports whether the address is one of this machine's.
func local(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == ip {
			return true
		}
	}
	return false
}

// An Upstream is where the requests of some routes go.
type Upstream struct {
	Setting string `json:"setting"` // the flag that moves it: "--upstream"
	URL     string `json:"url"`
}

// Upstreams returns where requests go, each place once, but for those that ask
// for the workspace's own paths.
func (p *Proxy) Upstreams() []Upstream { return distinct(p.bases) }

// Upstreams returns what Proxy.Upstreams would. The error says which setting is
// wrong.
func (cfg Config) Upstreams() ([]Upstream, error) {
	bases, err := cfg.bases()
	if err != nil {
		return nil, err
	}
	return distinct(bases), nil
}

func distinct(bases [upstreams]*url.URL) []Upstream {
	var all []Upstream
	seen := map[string]bool{}
	for i, base := range bases {
		if at := base.String(); upstream(i) != workspaceBase && !seen[at] {
			seen[at] = true
			all = append(all, Upstream{Setting: upstreamName[i], URL: at})
		}
	}
	return all
}

// newTransport returns the way upstream. It is nobody else's, since a shared
// one could be given another proxy or other certificates.
func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: bounded((&net.Dialer{
			Timeout: 15 * time.Second,
			// A laptop's connections die without a word while it sleeps.
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3},
		}).DialContext),
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		TLSHandshakeTimeout:    10 * time.Second,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    128, // all of an agent's subagents at once, without a new handshake
		IdleConnTimeout:        55 * time.Second,
		MaxResponseHeaderBytes: 1 << 20,
		// Bodies pass as they are. There is no ResponseHeaderTimeout: a model
		// may think for many minutes before its first byte.
		DisableCompression: true,
	}
}
