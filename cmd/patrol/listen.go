package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"patrol/rotator/pat"
)

// A listenAddr is an address of the proxy.
type listenAddr struct {
	addr netip.AddrPort
	// optional: that this machine has no such address at all is no error.
	// That somebody else has the port is one, or they would get the requests.
	optional bool
}

func parseListen(o *options, s setting) error {
	o.listenGiven = s.given()
	for _, v := range s.values {
		addrs, err := parseListenAddr(s, v)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if slices.ContainsFunc(o.listen, func(b listenAddr) bool { return a.addr == b.addr && a.addr.Port() != 0 }) {
				return s.wrong(v, "the address is given twice", "leave one out")
			}
			a.optional = a.optional || !s.given() && a.addr.Addr().Is6()
			o.listen = append(o.listen, a)
		}
	}
	return nil
}

// parseListenAddr reads one address. "localhost" is both loopbacks.
func parseListenAddr(s setting, v string) ([]listenAddr, error) {
	const right = "for example 127.0.0.1:4000"
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		if _, err := strconv.ParseUint(v, 10, 16); err == nil {
			return nil, s.wrong(v, "an address is missing before the port", "for example 127.0.0.1:"+v)
		}
		return nil, s.wrong(v, "not an address of the form host:port", right)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, s.wrong(v, "the port must be a number from 0 to 65535", right)
	}
	if strings.EqualFold(host, "localhost") {
		return []listenAddr{
			{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n))},
			{addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(n)), optional: true},
		}, nil
	}
	if host == "" {
		return nil, s.wrong(v, "an address is missing before the port",
			"127.0.0.1:"+port+" for this machine alone, which ssh -L "+port+":127.0.0.1:"+port+" reaches from elsewhere; 0.0.0.0:"+port+" for others too, who need a key")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return nil, s.wrong(v, "not an IP address or localhost", right)
	}
	return []listenAddr{{addr: netip.AddrPortFrom(ip.Unmap(), uint16(n))}}, nil
}

// reaches reports whether a program on this machine that asks for addr gets to
// a listener on ln.
func reaches(addr, ln netip.AddrPort) bool {
	if addr.Port() != ln.Port() {
		return false
	}
	ip, at := addr.Addr().Unmap(), ln.Addr().Unmap()
	return ip == at || at.IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified())
}

// ownListener reports whether u leads to one of our own addresses.
func ownListener(u *url.URL, addrs []listenAddr) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return slices.ContainsFunc(addrs, func(a listenAddr) bool {
		if strconv.Itoa(int(a.addr.Port())) != port {
			return false
		}
		ip, err := netip.ParseAddr(u.Hostname())
		return err != nil && pat.HostOf(u).Loopback() || err == nil && reaches(netip.AddrPortFrom(ip, a.addr.Port()), a.addr)
	})
}

// listenAll opens every address, or none.
func listenAll(ctx context.Context, addrs []listenAddr) ([]net.Listener, error) {
	var open []net.Listener
	var lc net.ListenConfig
	var missing error
	for _, a := range addrs {
		ln, err := lc.Listen(ctx, "tcp", a.addr.String())
		if err != nil && a.optional && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			missing = err
			continue
		}
		if err != nil {
			closeAll(open)
			return nil, listenError(a.addr, err)
		}
		open = append(open, ln)
	}
	if len(open) == 0 {
		return nil, fmt.Errorf("listening: %w", missing)
	}
	return open, nil
}

func closeAll(lns []net.Listener) {
	for _, ln := range lns {
		_ = ln.Close() // nobody has used it yet
	}
}

// listenError says why an address can't be listened on, and what to do about it.
func listenError(addr netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return hinted(fmt.Errorf("listening on %s: the port is in use by another process", addr),
			fmt.Sprintf("find it with %s; or choose another port: --listen 127.0.0.1:4001", findListener(addr.Port())))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return hinted(fmt.Errorf("listening on %s: this machine has no such address", addr),
			fmt.Sprintf("--listen 127.0.0.1:%d is this machine alone, 0.0.0.0:%d all its addresses", addr.Port(), addr.Port()))
	case errors.Is(err, syscall.EACCES):
		return hinted(fmt.Errorf("listening on %s: %w", addr, syscall.EACCES), "ports below 1024 are for root; choose a higher one")
	}
	return fmt.Errorf("listening on %s: %w", addr, err)
}

// findListener is the command that shows which process listens on a port.
func findListener(port uint16) string {
	if runtime.GOOS == "linux" {
		return fmt.Sprintf("ss -ltnp 'sport = :%d'", port)
	}
	return fmt.Sprintf("lsof -nP -iTCP:%d -sTCP:LISTEN", port)
}
