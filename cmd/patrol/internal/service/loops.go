package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"golang.org/x/net/http/httpproxy"

	"patrol/proxy"
	"patrol/rotator/pat"
)

// checkLoops returns an error if requests that go upstream, or to the proxy that the
// environment names for it (HTTPS_PROXY), would come back to one of these addresses, on
// which patrol listens. It looks names up, which blocks until ctx is done at most; one
// that can't be looked up is nobody.
func checkLoops(ctx context.Context, upstreams []proxy.Upstream, listening []net.Addr) error {
	environment := httpproxy.FromEnvironment().ProxyFunc()
	for _, up := range upstreams {
		to, err := url.Parse(up.URL)
		if err != nil {
			return err // which the proxy has parsed before
		}
		if leadsTo(ctx, to, listening) {
			return fmt.Errorf("%s %s is patrol's own address: name the Databricks workspace, or another port for patrol with --listen", up.Setting, pat.HostOf(to))
		}
		via, err := environment(to)
		if err != nil {
			return errors.New("HTTPS_PROXY or HTTP_PROXY in the environment is not a URL") // which may hold a password
		}
		if via != nil && leadsTo(ctx, via, listening) {
			return fmt.Errorf("HTTPS_PROXY or HTTP_PROXY in the environment, by which patrol would reach %s, is patrol's own address: unset it for patrol", pat.HostOf(to))
		}
	}
	return nil
}

// leadsTo reports whether a connection to u's host ends at one of addrs.
func leadsTo(ctx context.Context, u *url.URL, addrs []net.Addr) bool {
	port := pat.HostOf(u).DialPort()
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
