package credwriter

import (
	"cmp"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patrol/rotator/pat"
)

// OtherProxy is an address of another profile's proxy.
type OtherProxy struct {
	Addr    netip.AddrPort
	Profile string
}

// A place is where requests to a base URL go, and so what may stand beside it.
type place int

const (
	elsewhere    place = iota // a token only where its user has put one of ours
	atWorkspace               // this workspace or its gateway: a token
	atProxy                   // our own proxy: the client key
	atOtherProxy              // another profile's proxy: what its service puts there
)

// placeOf returns where requests to a base URL go, and which profile's proxy is
// there if it is another's.
func (o Owner) placeOf(base string) (p place, profile string) {
	u, err := url.Parse(strings.TrimSpace(base))
	if err != nil || u.Host == "" {
		return elsewhere, ""
	}
	h := pat.HostOf(u) // a user before the host changes nothing about who is asked
	if slices.ContainsFunc(o.Proxies, func(a netip.AddrPort) bool { return reaches(h, a) }) {
		return atProxy, ""
	}
	for _, other := range o.Others {
		if reaches(h, other.Addr) {
			return atOtherProxy, other.Profile
		}
	}
	if h, err := pat.ParseHost(base); err == nil && (h.MaySame(o.Host) || o.isGateway(h)) {
		return atWorkspace, ""
	}
	return elsewhere, ""
}

// reaches reports whether a program that asks for h gets to a proxy that listens
// on addr. A proxy on one loopback address has the other, too; other addresses of
// 127.0.0.0/8 may be another program's.
func reaches(h pat.Host, addr netip.AddrPort) bool {
	port := cmp.Or(h.Port, map[string]string{"http": "80", "https": "443"}[h.Scheme])
	if port != strconv.Itoa(int(addr.Port())) {
		return false
	}
	at := addr.Addr().Unmap()
	ip, err := netip.ParseAddr(h.Name)
	ip = ip.Unmap()
	switch {
	case h.Name == "localhost" || strings.HasSuffix(h.Name, ".localhost"):
		return isLocalhost(at) || at.IsUnspecified()
	case err != nil:
		return false
	case ip.IsUnspecified(), isLocalhost(ip): // asked for, "all addresses" is loopback
		return isLocalhost(at) || at.IsUnspecified()
	}
	return ip == at || at.IsUnspecified() && ip.IsLoopback()
}

// isLocalhost reports whether ip is one of the two addresses of "localhost".
func isLocalhost(ip netip.Addr) bool {
	return ip == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || ip == netip.IPv6Loopback()
}

// leadsTo says in words where a base URL leads, for a message about what stands
// beside it.
func (o Owner) leadsTo(name string, base value, there bool) string {
	p, profile := o.placeOf(base.str)
	h, err := pat.ParseHost(base.str)
	switch {
	case !there:
		return name + " beside it is missing"
	case err != nil || !base.isString():
		return name + " beside it is no URL"
	case p == atProxy:
		return name + " beside it leads to patrol's proxy"
	case p == atOtherProxy:
		return name + " beside it leads to " + pat.Redact(h.String()) + ", the proxy of profile " + strconv.Quote(profile)
	}
	return name + " beside it leads to " + pat.Redact(h.String())
}
