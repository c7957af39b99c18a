package guard

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// allowedHosts returns the set of hosts that a request may name, and a list of
// them for messages.
func allowedHosts(more []string) (map[string]struct{}, string, error) {
	hosts := map[string]struct{}{"localhost": {}, "127.0.0.1": {}, "[::1]": {}}
	list := "localhost, 127.0.0.1 and [::1]"
	for _, entry := range more {
		host, err := allowedHost(entry)
		if err != nil {
			return nil, "", fmt.Errorf("allowed host %q: %w", entry, err)
		}
		hosts[host] = struct{}{}
	}
	if len(hosts) > 3 {
		list = strings.Join(slices.Sorted(maps.Keys(hosts)), ", ")
	}
	return hosts, list, nil
}

// allowedHost returns an entry of Config.AllowHosts in the form that hostOf gives
// to a request's Host.
func allowedHost(entry string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		switch {
		case addr.Zone() != "":
			return "", errors.New("no browser or agent names a zone in a Host: leave it out")
		case addr.IsUnspecified():
			return "", errors.New("this address stands for no host: name those that clients use")
		case addr.Is6():
			// Clients write the shortest form, in brackets.
			return "[" + addr.String() + "]", nil
		}
		return addr.String(), nil
	}
	host, ok := hostOf(entry)
	switch {
	case strings.Contains(entry, "*"):
		return "", errors.New("patterns aren't known here: name each host in full")
	case strings.Contains(entry, "://"):
		return "", errors.New("write the host alone, without the scheme")
	case strings.HasSuffix(entry, "."):
		return "", errors.New("write it without the dot at its end")
	case ok && len(host) != len(entry):
		return "", errors.New("write the host alone, without the port: any port goes with it")
	case !ok:
		return "", errors.New("this is neither a host name nor an IP address")
	}
	return host, nil
}

func (g *Guard) allowsHost(host string) bool {
	switch host {
	case "localhost", "127.0.0.1", "[::1]": // spares nearly every request the look-up below
		return true
	}
	_, ok := g.hosts[host]
	return ok
}

// maybeBrowser reports whether a web page may have made r, although r has neither
// Origin nor Sec-Fetch-Site. Browsers send Sec-Fetch-Site only to https and to
// loopback hosts, and no Origin when they load an image. So if r names one of
// Config.AllowHosts, its User-Agent decides.
func maybeBrowser(r *http.Request, host string) bool {
	switch host {
	case "localhost", "127.0.0.1", "[::1]":
		return false
	}
	return len(r.Header["Origin"]) == 0 && len(r.Header["Sec-Fetch-Site"]) == 0 && strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// hostOf returns the host of an authority, which is host or host:port, in lower
// case; ok is false for any other form. It decodes and normalizes nothing else:
// 127.1 and 0x7f.1 reach 127.0.0.1 too, but a client that was told to use patrol
// doesn't send them.
func hostOf(authority string) (host string, ok bool) {
	end := len(authority)
	if strings.HasPrefix(authority, "[") {
		end = strings.IndexByte(authority, ']') + 1
		if end == 0 {
			return "", false
		}
	} else if i := strings.IndexByte(authority, ':'); i >= 0 {
		end = i
	}
	host = authority[:end]
	if host == "" || !validPort(authority[end:]) {
		return "", false
	}
	upper := false
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		case 'A' <= c && c <= 'Z':
			upper = true
		case host[0] == '[' && (c == ':' || i == 0 || i == len(host)-1):
		default:
			// Not in ASCII either: Unicode folds ſ and K to s and k.
			return "", false
		}
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, true
}

// validPort reports whether s is empty or a colon and a port.
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 {
		return false
	}
	for i := 1; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// sameOrigin reports whether a request comes from a page that was loaded from
// host, the request's own Host, port included: there is one Origin, and it names
// host. The caller has checked that host is ours. A page at localhost:3000 is
// another origin; so is "null".
func sameOrigin(origins []string, host string) bool {
	authority, ok := originAuthority(origins)
	return ok && equalFoldASCII(authority, host)
}

// originAuthority returns the host and port that a request's Origin names. It is
// not ok if there are several, or if it isn't an http or https origin.
func originAuthority(origins []string) (string, bool) {
	if len(origins) != 1 {
		return "", false
	}
	// https is possible too: a TLS server may stand in front of patrol and serve
	// one of Config.AllowHosts.
	if a, ok := strings.CutPrefix(origins[0], "http://"); ok {
		return a, true
	}
	return strings.CutPrefix(origins[0], "https://")
}

// fetchSiteAllowed reports whether a request's Sec-Fetch-Site says that no page
// of another origin made it. same-site doesn't: for a browser, all ports of
// localhost are one site.
func fetchSiteAllowed(sites []string) bool {
	return len(sites) == 1 && (sites[0] == "same-origin" || sites[0] == "none")
}

// equalFoldASCII is strings.EqualFold for ASCII letters alone.
func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerASCII(a[i]) != lowerASCII(b[i]) {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
