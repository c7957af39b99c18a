package cli

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A ListenAddr is an address of the proxy.
type ListenAddr struct {
	netip.AddrPort
	// Optional: that this machine has no such address at all is no error.
	// That somebody else has the port is one, or they would get the requests.
	Optional bool
}

// parseListen reads addresses. "localhost" is both loopbacks, because programs may
// try ::1 first.
func (o *Options) parseListen(s Setting) (all []ListenAddr, err error) {
	o.ListenGiven = s.Given()
	for _, v := range s.Values {
		port, both := strings.CutPrefix(strings.ToLower(v), "localhost:")
		names := []string{v}
		if both {
			names = []string{"127.0.0.1:" + port, "[::1]:" + port}
		}
		for i, name := range names {
			addr, err := netip.ParseAddrPort(name)
			if err != nil || addr.Addr().Zone() != "" {
				return nil, listenMistake(s, v)
			}
			addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
			if slices.ContainsFunc(all, func(b ListenAddr) bool { return addr == b.AddrPort && addr.Port() != 0 }) {
				return nil, s.Wrong(v, "the address is given twice", "leave one out")
			}
			all = append(all, ListenAddr{AddrPort: addr, Optional: i > 0})
		}
	}
	return all, nil
}

// listenMistake says what is wrong with a value of --listen.
func listenMistake(s Setting, v string) error {
	port := strings.TrimPrefix(v, ":")
	if _, err := strconv.ParseUint(port, 10, 16); err == nil {
		return s.Wrong(v, "an address is missing before the port",
			"127.0.0.1:"+port+" for this machine alone, which ssh -L "+port+":127.0.0.1:"+port+" reaches from elsewhere; 0.0.0.0:"+port+" for others too, who need a key")
	}
	return s.Wrong(v, "not of the form host:port, with an IP address or localhost and a port from 0 to 65535", "for example 127.0.0.1:4000")
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

// ProxyURL returns the base URL of the proxy for programs on this machine. It is
// the address itself and not "localhost", whose other address may be somebody
// else's; only where patrol listens on all addresses it is one of them.
func ProxyURL(addr netip.AddrPort) string {
	if addr.Addr().IsUnspecified() { // of both kinds
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return "http://" + addr.String()
}
