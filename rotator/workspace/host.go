package workspace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// CanonicalHost returns a workspace's host in the one form that is compared:
// scheme and name in lower case, no port if it is the scheme's own, no path,
// and of a query only "?o=", which tells workspaces of one host apart. It
// refuses what could send a token astray: another scheme than https (http is
// for loopback), user names, a path.
func CanonicalHost(host string) (string, error) {
	if strings.TrimSpace(host) == "" {
		return "", errors.New("no workspace host given")
	}
	u, err := url.Parse(strings.TrimSpace(host))
	if err != nil || u.Host == "" || u.Opaque != "" {
		return "", fmt.Errorf("workspace host %q: want https://NAME, as in https://dbc-1.cloud.databricks.com", redact(host, nil))
	}
	name, port := strings.ToLower(u.Hostname()), u.Port()
	scheme := strings.ToLower(u.Scheme)
	switch {
	case u.User != nil:
		return "", errors.New("workspace host: a user name or password has no place in it")
	case strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("workspace host %q: want it without the path", redact(host, nil))
	case name == "":
		return "", fmt.Errorf("workspace host %q has no name", redact(host, nil))
	case scheme != "https" && (scheme != "http" || !isLoopback(name)):
		return "", fmt.Errorf("workspace host %q: want https://, or the token could be read on the way", redact(host, nil))
	}
	if port == "443" && scheme == "https" || port == "80" && scheme == "http" {
		port = ""
	}
	c := url.URL{Scheme: scheme, Host: name}
	switch {
	case port != "":
		c.Host = net.JoinHostPort(name, port)
	case strings.Contains(name, ":"):
		c.Host = "[" + name + "]"
	}
	for _, key := range []string{"o", "w", "workspace_id"} {
		if id := u.Query().Get(key); id != "" {
			c.RawQuery = url.Values{"o": {id}}.Encode()
			break
		}
	}
	return c.String(), nil
}

func isLoopback(name string) bool {
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// sameHost reports whether a token of host a may go to b. Both name the same
// server, and not two workspaces of it.
func sameHost(a, b string) bool {
	a, errA := CanonicalHost(a)
	b, errB := CanonicalHost(b)
	if errA != nil || errB != nil {
		return false
	}
	hostA, idA, _ := strings.Cut(a, "?")
	hostB, idB, _ := strings.Cut(b, "?")
	return hostA == hostB && (idA == idB || idA == "" || idB == "")
}
