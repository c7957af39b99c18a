package credwriter

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"patrol/rotator/pat"
)

// Owner says what is ours.
type Owner struct {
	// Host is this workspace. Its tokens go nowhere else. Its dedicated
	// gateway's host is known by the workspace's number, where Host says that
	// (Azure, ?o=); a gateway that can't be tied to this workspace isn't ours.
	Host pat.Host

	// ProxyURL is what agents are pointed at where their files are made anew,
	// "http://127.0.0.1:4000"; empty if it isn't known. It is one of Proxies.
	ProxyURL string

	// Proxies are the addresses of our own proxy. Beside its URL a token never
	// stands: whoever takes the port while patrol is down would be sent it.
	Proxies []netip.AddrPort

	// Others are the addresses of other profiles' proxies. What stands beside
	// their URLs is left to their services.
	Others []OtherProxy

	// ClientKey returns what stands beside our own proxy's URL: it opens that
	// proxy and nothing else. nil, or "": it isn't known, and nothing is written
	// there.
	ClientKey func() string

	// IsClientKey reports whether a value is another valid key of our proxy,
	// which its user has put there; nil: none is.
	IsClientKey func(value string) bool

	// Ours reports whether the value with this pat.Hash is or was one of our
	// tokens. nil: none is.
	Ours func(hash string) bool
}

// ours reports whether a value is known as one of our tokens.
func (o Owner) ours(value string) bool {
	return value != "" && o.Ours != nil && o.Ours(pat.Hash(value))
}

// clientKey returns the client key, "" if it isn't known.
func (o Owner) clientKey() string {
	if o.ClientKey == nil {
		return ""
	}
	return o.ClientKey()
}

// isKey reports whether a value is a valid key of our proxy.
func (o Owner) isKey(value string) bool {
	return value != "" && (value == o.clientKey() || o.IsClientKey != nil && o.IsClientKey(value))
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
