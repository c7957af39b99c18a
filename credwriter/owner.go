package credwriter

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"patrol/rotator/pat"
)

// Owner says what is ours.
type Owner struct {
	// Host is this workspace. Its tokens go nowhere else. Its dedicated
	// gateway's host is known by the workspace's number, where Host says that
	// (Azure, ?o=); a gateway that can't be tied to this workspace isn't ours.
	Host pat.Host

	// ProxyURL is where agents reach our proxy, "http://127.0.0.1:4000";
	// empty if it isn't known.
	ProxyURL string

	// Ours reports whether the value with this pat.Hash is or was one of our
	// tokens. nil: none is.
	Ours func(hash string) bool
}

// ours reports whether a value is known as one of our tokens.
func (o Owner) ours(value string) bool {
	return value != "" && o.Ours != nil && o.Ours(pat.Hash(value))
}

// checkToken returns the value that is to be written, if it may be.
func (o Owner) checkToken(t pat.Token) (string, error) {
	value := t.Expose()
	switch {
	case value == "":
		return "", errors.New("there is no token to write")
	case !t.Host.MaySame(o.Host):
		return "", fmt.Errorf("the token came with %q: it isn't written for %q", t.Host.String(), o.Host.String())
	case !readAlike(value):
		return "", errors.New("the token has a character that the readers of credential files read differently")
	}
	return value, nil
}

// readAlike reports whether Go's, Python's and JavaScript's readers of
// .databrickscfg, shells and the readers of .env files agree on an unquoted value.
func readAlike(value string) bool {
	for _, r := range value {
		if r <= ' ' || r > '~' || strings.ContainsRune("\"'`#;%$", r) {
			return false
		}
	}
	return !strings.HasSuffix(value, `\`)
}

// dummyToken is a token that is never written: Check tries the edit with it.
func (o Owner) dummyToken() pat.Token {
	return pat.New("dapi"+strings.Repeat("0", 32), o.Host.String())
}

// serves reports whether requests to this base URL reach this workspace
// alone: it is the workspace, its gateway or our proxy.
func (o Owner) serves(base string) bool {
	b, err := pat.ParseHost(base)
	if err != nil || !strings.Contains(base, "://") {
		return false
	}
	if b.MaySame(o.Host) || o.isGateway(b) {
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

// isGateway reports whether b is this workspace's dedicated AI gateway,
// ID.ai-gateway.cloud.databricks.com or ID.N.ai-gateway.azuredatabricks.net.
// Its host names the workspace by number only.
func (o Owner) isGateway(b pat.Host) bool {
	id := o.Host.Workspace
	if azure, ok := strings.CutPrefix(o.Host.Name, "adb-"); ok && id == "" {
		id, _, _ = strings.Cut(azure, ".")
	}
	left, cloud, ok := strings.Cut(b.Name, ".ai-gateway.")
	if !ok || id == "" || b.Scheme != "https" || b.Port != "" || !strings.HasSuffix(o.Host.Name, "."+cloud) {
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
