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

// allowedHosts returns the set of hosts that a request may name, and the same
// for people.
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

// allowedHost returns an entry of the configuration as hostOf would return it.
func allowedHost(entry string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(entry, "["), "]")
	if addr, err := netip.ParseAddr(bare); err == nil {
		switch {
		case addr.Zone() != "":
			return "", errors.New("no browser or agent names a zone in a Host: leave it out")
		case addr.IsUnspecified():
			return "", errors.New("this address stands for no host: name those that clients use")
		case addr.Is6():
			// As clients write it: the shortest form, in brackets.
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
	case "localhost", "127.0.0.1", "[::1]": // spares nearly every request the map
		return true
	}
	_, ok := g.hosts[host]
	return ok
}

// maybeBrowser reports whether a request may be a web page's although nothing in it
// says so. Browsers tell a request's site to https and to loopback alone, and
// an image's origin to nobody; so under the names of --allow-host what calls
// itself a browser is one.
func maybeBrowser(r *http.Request, host string) bool {
	switch host {
	case "localhost", "127.0.0.1", "[::1]":
		return false
	}
	return len(r.Header["Origin"]) == 0 && len(r.Header["Sec-Fetch-Site"]) == 0 && strings.HasPrefix(r.UserAgent(), "Mozilla/")
}

// hostOf returns the host of an authority, host or host:port, in lower case.
// It is not ok if the authority has another form. It decodes nothing and
// normalizes nothing else: 127.1 and 0x7f.1 reach 127.0.0.1 too, but no client
// that was pointed at patrol sends them.
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
			// Anything beyond ASCII too: ſ and K fold to s and k.
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

// sameOrigin reports whether a request's Origin headers name the origin that
// it was sent to: one of them, of a page that was itself loaded from host, the
// request's Host, port included. The caller has checked that host is ours. A
// page at localhost:3000 is another origin; so is "null".
func sameOrigin(origins []string, host string) bool {
	authority, ok := originAuthority(origins)
	return ok && equalFoldASCII(authority, host)
}

// originAuthority returns host and port of the only Origin.
func originAuthority(origins []string) (string, bool) {
	if len(origins) != 1 {
		return "", false
	}
	// https as well: a name of AllowHosts may be served through a TLS server
	// in front of us.
	if a, ok := strings.CutPrefix(origins[0], "http://"); ok {
		return a, true
	}
	return strings.CutPrefix(origins[0], "https://")
}

// fetchSiteAllowed reports whether a request's Sec-Fetch-Site headers say that no page
// of another origin made it. same-site isn't enough: for a browser, all ports
// of localhost are one site.
func fetchSiteAllowed(sites []string) bool {
	return len(sites) == 1 && (sites[0] == "same-origin" || sites[0] == "none")
}

// equalFoldASCII is strings.EqualFold without its foldings beyond ASCII.
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
