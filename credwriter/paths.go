package credwriter

import (
	"cmp"
	"path/filepath"
	"strings"
)

// Paths returns where the three files are, as the tools that read them find
// them: by DATABRICKS_CONFIG_FILE, CLAUDE_CONFIG_DIR and XDG_DATA_HOME, else
// in home.
func Paths(getenv func(string) string, home string) (databrickscfg, claude, opencode string) {
	databrickscfg = cmp.Or(getenv("DATABRICKS_CONFIG_FILE"), "~/.databrickscfg")
	if rest, ok := strings.CutPrefix(databrickscfg, "~"); ok {
		databrickscfg = home + rest
	}
	claude = cmp.Or(getenv("CLAUDE_CONFIG_DIR"), filepath.Join(home, ".claude"))
	data := getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the XDG specification: then it is to be ignored
		data = filepath.Join(home, ".local", "share")
	}
	return databrickscfg, filepath.Join(claude, "settings.json"), filepath.Join(data, "opencode", "auth.json")
}
