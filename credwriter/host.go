package credwriter

import (
	"net/url"
	"strings"
)

// origin is where a request goes: what of a URL decides who receives a token.
type origin struct {
	scheme, host, port string
	workspace          string // the number that ?o= names on a host of several workspaces; often empty
}

var usualPort = map[string]string{"https": "443", "http": "80"}

// parseOrigin reads a host as the Databricks tools do, with or without scheme
// and path.
func parseOrigin(s string) (origin, bool) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	// Who writes a user into a URL may mean to show another host.
	if err != nil || u.Hostname() == "" || u.User != nil {
		return origin{}, false
	}
	o := origin{
		scheme: strings.ToLower(u.Scheme),
		host:   strings.TrimSuffix(strings.ToLower(u.Hostname()), "."),
		port:   u.Port(),
	}
	for _, key := range []string{"w", "o", "workspace_id"} {
		if o.workspace == "" {
			o.workspace = u.Query().Get(key)
		}
	}
	if o.port == "" {
		o.port = usualPort[o.scheme]
	}
	return o, true
}

// String returns the origin as a profile's host is written.
func (o origin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.port != usualPort[o.scheme] {
		host += ":" + o.port
	}
	s := o.scheme + "://" + host
	if o.workspace != "" {
		s += "/?o=" + o.workspace
	}
	return s
}

// same reports whether both are one workspace. Where only one of them names a
// number the host alone decides: most hosts are of one workspace.
func (o origin) same(p origin) bool {
	if o.workspace != "" && p.workspace != "" && o.workspace != p.workspace {
		return false
	}
	return o.scheme == p.scheme && o.host == p.host && o.port == p.port
}

func sameHost(a, b string) bool {
	x, ok := parseOrigin(a)
	y, ok2 := parseOrigin(b)
	return ok && ok2 && x.same(y)
}

// serves reports whether requests to this base URL reach this workspace
// alone: it is the workspace, its gateway or our proxy.
func (o Owner) serves(base string) bool {
	b, ok := parseOrigin(base)
	if !ok || !strings.Contains(base, "://") {
		return false
	}
	if ours, ok := parseOrigin(o.Host); ok && (b.same(ours) || o.gateway(b, ours)) {
		return true
	}
	proxy, ok := parseOrigin(o.ProxyURL)
	if !ok || o.ProxyURL == "" || b.scheme != proxy.scheme || b.port != proxy.port {
		return false
	}
	return b.host == proxy.host || loopback(b.host) && loopback(proxy.host)
}

// loopback reports whether host is one of the spellings under which our proxy
// listens. Other addresses of 127.0.0.0/8 may be another program's.
func loopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// gateway reports whether b is this workspace's dedicated AI gateway,
// ID.ai-gateway.cloud.databricks.com or ID.N.ai-gateway.azuredatabricks.net.
// Its host names the workspace by number only.
func (o Owner) gateway(b, ours origin) bool {
	id := o.WorkspaceID
	if id == "" {
		id = ours.workspace
	}
	if azure, ok := strings.CutPrefix(ours.host, "adb-"); ok && id == "" {
		id, _, _ = strings.Cut(azure, ".")
	}
	left, cloud, ok := strings.Cut(b.host, ".ai-gateway.")
	if !ok || id == "" || b.scheme != "https" || b.port != "443" || !strings.HasSuffix(ours.host, "."+cloud) {
		return false
	}
	switch cloud {
	case "cloud.databricks.com":
		return left == id
	case "azuredatabricks.net":
		number, shard, _ := strings.Cut(left, ".")
		return number == id && strings.Trim(shard, "0123456789") == ""
	}
	return false
}
