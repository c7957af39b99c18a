package cli

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patrol/rotator/pat"
)

// A ListenAddr is an address of the proxy.
type ListenAddr struct {
	netip.AddrPort
	// Optional: that this machine has no such address at all is no error.
	// That somebody else has the port is one, or they would get the requests.
	Optional bool
}

func parseListen(o *Options, s Setting) error {
	o.ListenGiven = s.Given()
	for _, v := range s.Values {
		addrs, err := parseListenAddr(s, v)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if slices.ContainsFunc(o.Listen, func(b ListenAddr) bool { return a.AddrPort == b.AddrPort && a.Port() != 0 }) {
				return s.Wrong(v, "the address is given twice", "leave one out")
			}
			a.Optional = a.Optional || !s.Given() && a.Addr().Is6()
			o.Listen = append(o.Listen, a)
		}
	}
	return nil
}

// parseListenAddr reads one address. "localhost" is both loopbacks.
func parseListenAddr(s Setting, v string) ([]ListenAddr, error) {
	const right = "for example 127.0.0.1:4000"
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		if _, err := strconv.ParseUint(v, 10, 16); err == nil {
			return nil, s.Wrong(v, "an address is missing before the port", "for example 127.0.0.1:"+v)
		}
		return nil, s.Wrong(v, "not an address of the form host:port", right)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, s.Wrong(v, "the port must be a number from 0 to 65535", right)
	}
	if strings.EqualFold(host, "localhost") {
		return []ListenAddr{
			{AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(n))},
			{AddrPort: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(n)), Optional: true},
		}, nil
	}
	if host == "" {
		return nil, s.Wrong(v, "an address is missing before the port",
			"127.0.0.1:"+port+" for this machine alone, which ssh -L "+port+":127.0.0.1:"+port+" reaches from elsewhere; 0.0.0.0:"+port+" for others too, who need a key")
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return nil, s.Wrong(v, "not an IP address or localhost", right)
	}
	return []ListenAddr{{AddrPort: netip.AddrPortFrom(ip.Unmap(), uint16(n))}}, nil
}

// Reaches reports whether a program on this machine that asks for addr gets to
// a listener on ln.
func Reaches(addr, ln netip.AddrPort) bool {
	if addr.Port() != ln.Port() {
		return false
	}
	ip, at := addr.Addr().Unmap(), ln.Addr().Unmap()
	return ip == at || at.IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified())
}

// IsOwnListener reports whether u leads to one of our own addresses.
func IsOwnListener(u *url.URL, addrs []ListenAddr) bool {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return slices.ContainsFunc(addrs, func(a ListenAddr) bool {
		if strconv.Itoa(int(a.Port())) != port {
			return false
		}
		ip, err := netip.ParseAddr(u.Hostname())
		return err != nil && pat.HostOf(u).Loopback() || err == nil && Reaches(netip.AddrPortFrom(ip, a.Port()), a.AddrPort)
	})
}

// ProxyURL returns the base URL of the proxy for programs on this machine. It is
// the address itself and not "localhost", whose other address may be somebody
// else's; only where patrol listens on all addresses it is one of them.
func ProxyURL(addr netip.AddrPort) string {
	switch addr.Addr() {
	case netip.IPv4Unspecified(), netip.IPv6Unspecified(): // of both kinds
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return "http://" + addr.String()
}
