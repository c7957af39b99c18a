package credwriter

import (
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// serves reports whether requests to this base URL reach this workspace
// alone: it is the workspace, its gateway or our proxy.
func (o Owner) serves(base string) bool {
	b, err := pat.ParseHost(base)
	if err != nil || !strings.Contains(base, "://") {
		return false
	}
	if ours, err := pat.ParseHost(o.Host); err == nil && (b.MaySame(ours) || o.gateway(b, ours)) {
		return true
	}
	proxy, err := pat.ParseHost(o.ProxyURL)
	if err != nil || b.Scheme != proxy.Scheme || b.Port != proxy.Port {
		return false
	}
	return b.Name == proxy.Name || slices.Contains(proxyNames, b.Name) && slices.Contains(proxyNames, proxy.Name)
}

// proxyNames are the spellings under which our proxy listens. Other addresses
// of 127.0.0.0/8 may be another program's.
var proxyNames = []string{"localhost", "127.0.0.1", "::1"}

// gateway reports whether b is this workspace's dedicated AI gateway,
// ID.ai-gateway.cloud.databricks.com or ID.N.ai-gateway.azuredatabricks.net.
// Its host names the workspace by number only.
func (o Owner) gateway(b, ours pat.Host) bool {
	id := o.WorkspaceID
	if id == "" {
		id = ours.Workspace
	}
	if azure, ok := strings.CutPrefix(ours.Name, "adb-"); ok && id == "" {
		id, _, _ = strings.Cut(azure, ".")
	}
	left, cloud, ok := strings.Cut(b.Name, ".ai-gateway.")
	if !ok || id == "" || b.Scheme != "https" || b.Port != "" || !strings.HasSuffix(ours.Name, "."+cloud) {
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
