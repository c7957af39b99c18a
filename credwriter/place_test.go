package credwriter

import (
	"testing"

	"patrol/rotator/pat"
)

func TestPlaceOfWorkspace(t *testing.T) {
	const azure = "https://adb-123.4.azuredatabricks.net"
	for _, c := range []struct {
		host string
		base string
		want bool
	}{
		{host, host, true},
		{host, "HTTPS://DBC-1.Cloud.Databricks.com:443/any/path?x=1", true},
		{host, host + "./", true},
		{host, host + ":8443", false},
		{host, "http://dbc-1.cloud.databricks.com", false},
		{host, "http://dbc-1.cloud.databricks.com:443", false},
		{host, "dbc-1.cloud.databricks.com", false},
		{host, host + ".evil.com", false},
		{host, host + "@evil.com", false},
		{host, "https://user@dbc-1.cloud.databricks.com", false},
		{host, "https://evil.com/" + host, false},
		{host, "https://evil.com#" + host, false},
		{host, "", false},
		{host, "https://", false},
		{host, "%zz://", false},
		{"", "", false},
		{"", "https://evil.com", false},
		{host + "/?o=1", host + "/?o=2", false},
		{host + "/?o=1", host, true},

		// The gateway.
		{azure, "https://123.0.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "https://123.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "https://124.0.ai-gateway.azuredatabricks.net/anthropic", false},
		{azure, "https://123.evil.ai-gateway.azuredatabricks.net", false},
		{azure, "http://123.0.ai-gateway.azuredatabricks.net:443", false},
		{azure, "https://123.0.ai-gateway.azuredatabricks.net.evil.com", false},
		{azure, "https://123.ai-gateway.cloud.databricks.com", false},
		{host, "https://123.ai-gateway.cloud.databricks.com/anthropic", false},
		{host + "?o=123", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "https://0123.ai-gateway.cloud.databricks.com", false},
		{host + "?o=123", "https://123.0.ai-gateway.cloud.databricks.com", false},
	} {
		o := Owner{Host: pat.New("", c.host).Host}
		if p, _ := o.placeOf(c.base); (p == atWorkspace) != c.want {
			t.Errorf("at %s, %q is %v", c.host, c.base, p)
		}
	}
}

func TestPlaceOfProxy(t *testing.T) {
	const localhost, other = "127.0.0.1:4000", "127.0.0.1:4001"
	for _, c := range []struct {
		listen string
		base   string
		want   place
	}{
		{localhost, "http://localhost:4000/anthropic", atProxy},
		{localhost, " HTTP://LOCALHOST.:4000 ", atProxy},
		{localhost, "http://agents.localhost:4000", atProxy},
		{localhost, "http://127.0.0.1:4000?x#y", atProxy},
		{localhost, "http://[::1]:4000", atProxy}, // which it has, too
		{localhost, "http://[::ffff:127.0.0.1]:4000", atProxy},
		{localhost, "http://0.0.0.0:4000", atProxy},
		{localhost, "http://user:password@127.0.0.1:4000", atProxy},
		{localhost, "https://127.0.0.1:4000", atProxy},
		{"[::1]:4000", "http://127.0.0.1:4000", atProxy},
		{"127.0.0.1:80", "http://localhost", atProxy},
		{"127.0.0.1:443", "https://localhost/", atProxy},
		{localhost, "http://127.0.0.1", elsewhere},
		{localhost, "http://127.0.0.2:4000", elsewhere},
		{localhost, "http://127.0.0.1.evil.com:4000", elsewhere},
		{localhost, "http://localhost.evil.com:4000", elsewhere},
		{localhost, "http://evil.com:4000/http://127.0.0.1:4000", elsewhere},
		{localhost, "http://127.0.0.1:4000@evil.com", elsewhere},
		{localhost, "127.0.0.1:4000", elsewhere},
		{localhost, "localhost:4000", elsewhere},
		{localhost, "", elsewhere},
		{"127.0.0.2:4000", "http://127.0.0.2:4000", atProxy},
		{"127.0.0.2:4000", "http://127.0.0.1:4000", elsewhere},
		{"10.0.0.1:4000", "http://10.0.0.1:4000/x", atProxy},
		{"10.0.0.1:4000", "http://127.0.0.1:4000", elsewhere},
		{"0.0.0.0:4000", "http://127.0.0.7:4000", atProxy},
		{"[::]:4000", "http://localhost:4000", atProxy},
		{"0.0.0.0:4000", "http://10.0.0.1:4000", elsewhere}, // it isn't known to be this machine's
		{localhost, "http://localhost:4001", atOtherProxy},
		{other, "http://localhost:4001", atProxy},
	} {
		o := Owner{Host: newToken.Host, Proxies: addrs(c.listen), Others: []OtherProxy{{addrs(other)[0], "work"}}}
		if got, profile := o.placeOf(c.base); got != c.want || (profile == "work") != (got == atOtherProxy) {
			t.Errorf("a proxy on %s: %q is %v %q, want %v", c.listen, c.base, got, profile, c.want)
		}
	}
	if p, _ := (Owner{}).placeOf("http://127.0.0.1:4000"); p != elsewhere {
		t.Errorf("without a proxy: %v", p)
	}
}
