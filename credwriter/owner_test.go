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
