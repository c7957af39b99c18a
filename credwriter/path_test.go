package credwriter

import "testing"

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

func TestParseWrite(t *testing.T) {
	for list, want := range map[string]Selection{
		"auto":                           {Claude: true, OpenCode: true},
		"databrickscfg":                  {Create: true},
		"claude, databrickscfg":          {Claude: true, Create: true},
		"databrickscfg,opencode,claude":  {Claude: true, OpenCode: true, Create: true},
		" databrickscfg , databrickscfg": {Create: true},
	} {
		if got, err := ParseWrite(list); got != want || err != nil {
			t.Errorf("ParseWrite(%q) = %+v, %v; want %+v", list, got, err, want)
		}
	}
	for list, want := range map[string]string{
		"":                   `"" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
		"claude":             `"claude" leaves out databrickscfg, where a restart finds its token: use databrickscfg,claude`,
		"databrickscfg,pi":   `"pi" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
		"databrickscfg,auto": `"databrickscfg,auto": auto stands alone, or name the files: databrickscfg,claude,opencode`,
		"databrickscfg,":     `"" isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode`,
	} {
		if got, err := ParseWrite(list); err == nil || err.Error() != want || got != (Selection{}) {
			t.Errorf("ParseWrite(%q) = %+v, %v", list, got, err)
		}
	}
}

func TestServes(t *testing.T) {
	const azure = "https://adb-123.4.azuredatabricks.net"
	for _, c := range []struct {
		owner Owner
		base  string
		want  bool
	}{
		{Owner{Host: host}, host, true},
		{Owner{Host: host}, "HTTPS://DBC-1.Cloud.Databricks.com:443/any/path?x=1", true},
		{Owner{Host: host}, host + "./", true},
		{Owner{Host: host}, host + ":8443", false},
		{Owner{Host: host}, "http://dbc-1.cloud.databricks.com", false},
		{Owner{Host: host}, "http://dbc-1.cloud.databricks.com:443", false},
		{Owner{Host: host}, "dbc-1.cloud.databricks.com", false},
		{Owner{Host: host}, host + ".evil.com", false},
		{Owner{Host: host}, host + "@evil.com", false},
		{Owner{Host: host}, "https://user@dbc-1.cloud.databricks.com", false},
		{Owner{Host: host}, "https://evil.com/" + host, false},
		{Owner{Host: host}, "https://evil.com#" + host, false},
		{Owner{Host: host}, "", false},
		{Owner{Host: host}, "https://", false},
		{Owner{Host: host}, "%zz://", false},
		{Owner{}, "", false},
		{Owner{}, "https://evil.com", false},
		{Owner{Host: host + "/?o=1"}, host + "/?o=2", false},
		{Owner{Host: host + "/?o=1"}, host, true},

		// The gateway.
		{Owner{Host: azure}, "https://123.0.ai-gateway.azuredatabricks.net/anthropic", true},
		{Owner{Host: azure}, "https://123.ai-gateway.azuredatabricks.net/anthropic", true},
		{Owner{Host: azure}, "https://124.0.ai-gateway.azuredatabricks.net/anthropic", false},
		{Owner{Host: azure}, "https://123.evil.ai-gateway.azuredatabricks.net", false},
		{Owner{Host: azure}, "http://123.0.ai-gateway.azuredatabricks.net:443", false},
		{Owner{Host: azure}, "https://123.0.ai-gateway.azuredatabricks.net.evil.com", false},
		{Owner{Host: azure}, "https://123.ai-gateway.cloud.databricks.com", false},
		{Owner{Host: host}, "https://123.ai-gateway.cloud.databricks.com/anthropic", false},
		{Owner{Host: host, WorkspaceID: "123"}, "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{Owner{Host: host + "?o=123"}, "https://123.ai-gateway.cloud.databricks.com/anthropic", true},
		{Owner{Host: host, WorkspaceID: "123"}, "https://0123.ai-gateway.cloud.databricks.com", false},
		{Owner{Host: host, WorkspaceID: "123"}, "https://123.0.ai-gateway.cloud.databricks.com", false},

		// Our proxy.
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "http://localhost:4000/anthropic", true},
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "http://[::1]:4000", true},
		{Owner{Host: host, ProxyURL: "http://localhost:4000/"}, "http://127.0.0.1:4000", true},
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "https://127.0.0.1:4000", false},
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "http://127.0.0.1", false},
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "http://127.0.0.2:4000", false},
		{Owner{Host: host, ProxyURL: "http://127.0.0.1:4000"}, "http://127.0.0.1.evil.com:4000", false},
		{Owner{Host: host, ProxyURL: "http://10.0.0.1:4000"}, "http://10.0.0.1:4000/x", true},
		{Owner{Host: host, ProxyURL: "http://10.0.0.1:4000"}, "http://127.0.0.1:4000", false},
		{Owner{Host: host}, "http://127.0.0.1:4000", false},
	} {
		if got := c.owner.serves(c.base); got != c.want {
			t.Errorf("%+v serves %q: %v", c.owner, c.base, got)
		}
	}
}
