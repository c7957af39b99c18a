package credwriter

import (
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
	unknownPlace              // it can't be told: nothing
	noBase                    // a provider of OpenCode's without a base URL
)

// placeOf returns where requests to a base URL go, and which profile's proxy is
// there if it is another's.
func (o Owner) placeOf(base string) (p place, profile string) {
	base = strings.Trim(base, " \t\r\n")
	if base == "" {
		return elsewhere, "" // as without one
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" {
		return unknownPlace, ""
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
	switch h, err := pat.ParseHost(base); {
	case err != nil || !isPlain(base, u):
		return unknownPlace, ""
	case h.MaySame(o.Host) || o.isGateway(h):
		return atWorkspace, ""
	case isLocal(h.Name) && slices.ContainsFunc(o.Proxies, func(a netip.AddrPort) bool { return h.DialPort() == strconv.Itoa(int(a.Port())) }):
		return unknownPlace, "" // another name of this machine, perhaps, and our port
	}
	return elsewhere, ""
}

// isPlain reports whether all readers of URLs take base, which is u, for the same
// address: "http(s)://name-or-IP[:port]" in ASCII, with a path, query or fragment.
// Browsers and Node.js also take 127.1 or 0x7f.1 for 127.0.0.1, and a backslash for
// a slash; Go doesn't.
func isPlain(base string, u *url.URL) bool {
	for _, c := range []byte(base) {
		if c <= ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	rest, ok := strings.CutPrefix(base[len(u.Scheme):], "://"+u.Host)
	if !ok || rest != "" && !strings.ContainsAny(rest[:1], "/?#") || strings.HasSuffix(u.Host, ":") {
		return false
	}
	port, name := u.Port(), strings.ToLower(u.Hostname())
	if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || strconv.FormatUint(n, 10) != port) {
		return false
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.String() == name
	}
	return isPlainName(name)
}

// isPlainName reports whether a name in lower case is one to everybody: if its last
// label is a number, some read it as an IP address.
func isPlainName(name string) bool {
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	for _, label := range labels {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	hex, isHex := strings.CutPrefix(last, "0x")
	return strings.Trim(last, "0123456789") != "" && (!isHex || strings.Trim(hex, "0123456789abcdef") != "")
}

// isLocal reports whether a name or address may be this machine's own: what a name
// without a dot means, such as ip6-localhost, is said by the machine itself.
func isLocal(name string) bool {
	if ip, err := netip.ParseAddr(name); err == nil {
		ip = ip.Unmap()
		return ip.IsLoopback() || ip.IsUnspecified()
	}
	return !strings.Contains(name, ".") || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".localdomain")
}

// reaches reports whether a program that asks for h gets to a proxy that listens
// on addr. A proxy on one loopback address has the other, too; other addresses of
// 127.0.0.0/8 may be another program's.
func reaches(h pat.Host, addr netip.AddrPort) bool {
	if h.DialPort() != strconv.Itoa(int(addr.Port())) {
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
	shown := pat.Redact(h.String())
	switch {
	case !there:
		return name + " beside it is missing"
	case !base.isString():
		return name + " beside it is no URL: " + o.mendBase()
	case p == atProxy:
		return name + " beside it leads to patrol's proxy"
	case p == atOtherProxy && err == nil:
		return name + " beside it leads to " + shown + ", the proxy of profile " + strconv.Quote(profile)
	case p == atOtherProxy:
		return name + " beside it leads to the proxy of profile " + strconv.Quote(profile)
	case p == unknownPlace:
		return name + " beside it is no URL that surely leads past patrol's port: " + o.mendBase()
	}
	return name + " beside it leads to " + shown
}

// mendBase says what to do about a base URL beside which nothing is written.
func (o Owner) mendBase() string {
	proxy := "the address that patrol status shows"
	if o.ProxyURL != "" {
		proxy = o.ProxyURL
	}
	return "if patrol's proxy is meant, make it " + proxy + "; else keep patrol's tokens out of there"
}
