package cli

import (
	"net/netip"
	"strconv"
	"strings"
)

// A ListenAddr is an address of the proxy.
type ListenAddr struct {
	netip.AddrPort
	// Optional: it goes with the address before it. That this machine has no such
	// address at all is no error, and port 0 is the port of the one before. That
	// somebody else has the port is an error, or they would get the requests.
	Optional bool
}

// parseListen reads addresses, and adds those that go with them. What is given twice
// is taken once.
func (o *Options) parseListen(s Setting) (all []ListenAddr, err error) {
	o.ListenGiven = s.Given()
	for _, v := range s.Values {
		name := v
		if port, ok := strings.CutPrefix(strings.ToLower(v), "localhost:"); ok {
			name = "127.0.0.1:" + port
		}
		addr, err := netip.ParseAddrPort(name)
		if err != nil || addr.Addr().Zone() != "" {
			return nil, listenMistake(s, v)
		}
		addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
		all = append(all, ListenAddr{AddrPort: addr})
		if ip, ok := partner(addr.Addr()); ok {
			all = append(all, ListenAddr{AddrPort: netip.AddrPortFrom(ip, addr.Port()), Optional: true})
		}
	}
	return mergeListen(all), nil
}

// partner returns the address that is listened on together with ip. Programs that ask
// for localhost may try either loopback address first: the other one must not be
// anybody else's.
func partner(ip netip.Addr) (netip.Addr, bool) {
	switch loopback4 := netip.AddrFrom4([4]byte{127, 0, 0, 1}); ip {
	case loopback4, netip.IPv4Unspecified():
		return netip.IPv6Loopback(), true
	case netip.IPv6Loopback():
		return loopback4, true
	}
	return netip.Addr{}, false
}

// mergeListen leaves out the addresses that another one covers.
func mergeListen(all []ListenAddr) (merged []ListenAddr) {
	for i, a := range all {
		covered := false
		for j, b := range all {
			same := a.AddrPort == b.AddrPort
			wider := b.Addr() == netip.IPv6Unspecified() || b.Addr() == netip.IPv4Unspecified() && a.Addr().Is4()
			// Of equal ones that counts which was asked for, else the last: it stands
			// behind an address that isn't covered.
			better := a.Optional && (!b.Optional || i < j) || !a.Optional && !b.Optional && j < i
			if a.Port() == b.Port() && a.Port() != 0 && (same && better || !same && wider) {
				covered = true
			}
		}
		if !covered {
			merged = append(merged, a)
		}
	}
	return merged
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
