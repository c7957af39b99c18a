package pat

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// Host is a workspace's address in the one form in which hosts are compared.
// The zero Host is none, and the same as no other. Hosts are made by ParseHost
// and HostOf, which keep to that form.
type Host struct {
	Scheme    string // "https" or "http"
	Name      string // in lower case, without a dot at its end
	Port      string // "" is the scheme's own
	Workspace string // the number that ?o= names where one host serves several workspaces; often ""
}

// ParseHost reads a host as the Databricks tools do: https where it has no
// scheme, and without regard to a path. The error doesn't quote s, which may be
// a secret in the wrong place.
func ParseHost(s string) (Host, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return Host{}, errors.New("no host is given")
	case !strings.Contains(s, ".") && Redact(s) != s:
		return Host{}, errors.New("this looks like a token, not a host")
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil {
		return Host{}, errNoHost
	}
	h := HostOf(u)
	switch {
	case h.Name == "" || h.Scheme != "https" && h.Scheme != "http":
		return Host{}, errNoHost
	case u.User != nil: // who writes one may mean to show another host
		return Host{}, errors.New("a user or password has no place in a host")
	}
	return h, nil
}

var errNoHost = errors.New("it is not a host such as https://dbc-1.cloud.databricks.com")

// HostOf returns the host that u, a URL with scheme and host, leads to. The
// workspace is what ?o=, ?w= or ?workspace_id= says, in this order.
func HostOf(u *url.URL) Host {
	h := Host{Scheme: strings.ToLower(u.Scheme), Name: strings.TrimRight(strings.ToLower(u.Hostname()), "."), Port: u.Port()}
	if h.Scheme == "https" && h.Port == "443" || h.Scheme == "http" && h.Port == "80" {
		h.Port = ""
	}
	query := u.Query()
	h.Workspace = cmp.Or(query.Get("o"), query.Get("w"), query.Get("workspace_id"))
	return h
}

// IsZero reports whether h is no host.
func (h Host) IsZero() bool { return h == Host{} }

// String returns the host as "https://name:port?o=1", "" for the zero Host.
func (h Host) String() string { return h.URL().String() }

// URL returns what String does, in its parts.
func (h Host) URL() *url.URL {
	u := &url.URL{Scheme: h.Scheme, Host: h.Name}
	switch {
	case h.Port != "":
		u.Host = net.JoinHostPort(h.Name, h.Port)
	case strings.Contains(h.Name, ":"):
		u.Host = "[" + h.Name + "]"
	}
	if h.Workspace != "" {
		u.RawQuery = url.Values{"o": {h.Workspace}}.Encode()
	}
	return u
}

// DialPort returns the port to connect to: Port, or the scheme's own.
func (h Host) DialPort() string {
	return cmp.Or(h.Port, map[string]string{"http": "80", "https": "443"}[h.Scheme])
}

// Same reports whether both are certainly one workspace: both name the same
// one of the host's, or neither names any. What one of them says of a token
// then holds for the other, that it doesn't know it included.
func (h Host) Same(o Host) bool { return h == o && !h.IsZero() }

// MaySame reports whether both may be one workspace: ?o= may stand in one of
// them alone, since most hosts are of one workspace and people leave it out.
func (h Host) MaySame(o Host) bool {
	if h.Workspace == "" || o.Workspace == "" {
		h.Workspace, o.Workspace = "", ""
	}
	return h.Same(o)
}

// Loopback reports whether the host can only be this machine.
func (h Host) Loopback() bool {
	ip, err := netip.ParseAddr(h.Name)
	return h.Name == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// Private reports whether nobody on the way reads what is sent there: it is
// encrypted, or doesn't leave this machine.
func (h Host) Private() bool { return h.Scheme == "https" || h.Scheme == "http" && h.Loopback() }

// MarshalText encodes String.
func (h Host) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote. What isn't a host is the zero
// Host, which no token goes to: a ledger's line is worth more than its host.
func (h *Host) UnmarshalText(text []byte) error {
	*h, _ = ParseHost(string(text))
	return nil
}
