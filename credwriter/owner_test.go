package credwriter

import (
	"testing"

	"patrol/rotator/pat"
)

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		env                             map[string]string
		databrickscfg, claude, opencode string
	}{
		{nil, "/h/.databrickscfg", "/h/.claude/settings.json", "/h/.local/share/opencode/auth.json"},
		{
			map[string]string{"DATABRICKS_CONFIG_FILE": "~/d/cfg", "CLAUDE_CONFIG_DIR": "/c", "XDG_DATA_HOME": "/x"},
			"/h/d/cfg", "/c/settings.json", "/x/opencode/auth.json",
		},
		{
			map[string]string{"DATABRICKS_CONFIG_FILE": "/etc/cfg", "XDG_DATA_HOME": "relative"},
			"/etc/cfg", "/h/.claude/settings.json", "/h/.local/share/opencode/auth.json",
		},
	} {
		d, cl, o := Paths(func(key string) string { return c.env[key] }, "/h")
		if d != c.databrickscfg || cl != c.claude || o != c.opencode {
			t.Errorf("Paths of %v: %s, %s, %s", c.env, d, cl, o)
		}
	}
}

func TestServes(t *testing.T) {
	const azure = "https://adb-123.4.azuredatabricks.net"
	for _, c := range []struct {
		host  string
		proxy string
		base  string
		want  bool
	}{
		{host, "", host, true},
		{host, "", "HTTPS://DBC-1.Cloud.Databricks.com:443/any/path?x=1", true},
		{host, "", host + "./", true},
		{host, "", host + ":8443", false},
		{host, "", "http://dbc-1.cloud.databricks.com", false},
		{host, "", "http://dbc-1.cloud.databricks.com:443", false},
		{host, "", "dbc-1.cloud.databricks.com", false},
		{host, "", host + ".evil.com", false},
		{host, "", host + "@evil.com", false},
		{host, "", "https://user@dbc-1.cloud.databricks.com", false},
		{host, "", "https://evil.com/" + host, false},
		{host, "", "https://evil.com#" + host, false},
		{host, "", "", false},
		{host, "", "https://", false},
		{host, "", "%zz://", false},
		{"", "", "", false},
		{"", "", "https://evil.com", false},
		{host + "/?o=1", "", host + "/?o=2", false},
		{host + "/?o=1", "", host, true},

		// The gateway.
		{azure, "", "https://123.0.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "", "https://123.ai-gateway.azuredatabricks.net/anthropic", true},
		{azure, "", "https://124.0.ai-gateway.azuredatabricks.net/anthropic", false},
		{azure, "", "https://123.evil.ai-gateway.azuredatabricks.net", false},
		{azure, "", "http://123.0.ai-gateway.azuredatabricks.net:443", false},
		{azure, "", "https://123.0.ai-gateway.azuredatabricks.net.evil.com", false},
		{azure, "", "https://123.ai-gateway.cloud.databricks.com", false},
		{host, "", "https://123.ai-gateway.cloud.databricks.com/anthropic", false},
		{host + "?o=123", "", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "", "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{host + "?o=123", "", "https://0123.ai-gateway.cloud.databricks.com", false},
		{host + "?o=123", "", "https://123.0.ai-gateway.cloud.databricks.com", false},

		// Our proxy.
		{host, "http://127.0.0.1:4000", "http://localhost:4000/anthropic", true},
		{host, "http://127.0.0.1:4000", "http://[::1]:4000", true},
		{host, "http://localhost:4000/", "http://127.0.0.1:4000", true},
		{host, "http://127.0.0.1:4000", "https://127.0.0.1:4000", false},
		{host, "http://127.0.0.1:4000", "http://127.0.0.1", false},
		{host, "http://127.0.0.1:4000", "http://127.0.0.2:4000", false},
		{host, "http://127.0.0.1:4000", "http://127.0.0.1.evil.com:4000", false},
		{host, "http://10.0.0.1:4000", "http://10.0.0.1:4000/x", true},
		{host, "http://10.0.0.1:4000", "http://127.0.0.1:4000", false},
		{host, "", "http://127.0.0.1:4000", false},
	} {
		o := Owner{Host: pat.New("", c.host).Host, ProxyURL: c.proxy}
		if got := o.serves(c.base); got != c.want {
			t.Errorf("%+v serves %q: %v", o, c.base, got)
		}
	}
}
