package credwriter

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Paths returns where the three files are, as the tools that read them find
// them: by DATABRICKS_CONFIG_FILE, CLAUDE_CONFIG_DIR and XDG_DATA_HOME, else
// in home.
func Paths(getenv func(string) string, home string) (databrickscfg, claude, opencode string) {
	databrickscfg = getenv("DATABRICKS_CONFIG_FILE")
	if databrickscfg == "" {
		databrickscfg = "~/.databrickscfg"
	}
	if rest, ok := strings.CutPrefix(databrickscfg, "~"); ok {
		databrickscfg = home + rest
	}
	claude = getenv("CLAUDE_CONFIG_DIR")
	if claude == "" {
		claude = filepath.Join(home, ".claude")
	}
	data := getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // the XDG specification: then it is to be ignored
		data = filepath.Join(home, ".local", "share")
	}
	return databrickscfg, filepath.Join(claude, "settings.json"), filepath.Join(data, "opencode", "auth.json")
}

// Selection says which files are written. The profile in .databrickscfg
// always is.
type Selection struct {
	Claude, OpenCode bool

	// Create says that an agent's file, or its entry, is made where it is
	// missing.
	Create bool
}

// ParseWrite reads --write: "auto" for the profile and the agents' files that
// exist, or a list of databrickscfg, claude and opencode, which must contain
// databrickscfg and creates what is missing.
func ParseWrite(list string) (Selection, error) {
	if strings.TrimSpace(list) == "auto" {
		return Selection{Claude: true, OpenCode: true}, nil
	}
	s := Selection{Create: true}
	profile := false
	for name := range strings.SplitSeq(list, ",") {
		switch strings.TrimSpace(name) {
		case "databrickscfg":
			profile = true
		case "claude":
			s.Claude = true
		case "opencode":
			s.OpenCode = true
		case "auto":
			return Selection{}, fmt.Errorf("%q: auto stands alone, or name the files: databrickscfg,claude,opencode", list)
		default:
			return Selection{}, fmt.Errorf("%q isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode", strings.TrimSpace(name))
		}
	}
	if !profile {
		return Selection{}, fmt.Errorf("%q leaves out databrickscfg, where a restart finds its token: use databrickscfg,%s", list, list)
	}
	return s, nil
}
