package cli

import (
	"fmt"
	"slices"
	"strings"
)

// WriteFlag says which files are written, as --write does. The profile always is.
type WriteFlag struct {
	Agents []string // "claude", "opencode"
	Create bool     // an agent's file, or its entry, where it is missing
}

func parseWrite(o *Options, s Setting) error {
	w, err := parseWriteList(strings.Join(s.Values, ","))
	if err != nil {
		return Usage("--write auto writes .databrickscfg, and the agents' files that exist", "%s %w", s.From, err)
	}
	o.Write = w
	return nil
}

// parseWriteList reads "auto", for the profile and the agents' files that exist, or
// a list of files, which creates what is missing.
func parseWriteList(list string) (WriteFlag, error) {
	if strings.TrimSpace(list) == "auto" {
		return WriteFlag{Agents: []string{"claude", "opencode"}}, nil
	}
	w := WriteFlag{Create: true}
	profile := false
	for name := range strings.SplitSeq(list, ",") {
		switch name = strings.TrimSpace(name); name {
		case "databrickscfg":
			profile = true
		case "claude", "opencode":
			if !slices.Contains(w.Agents, name) {
				w.Agents = append(w.Agents, name)
			}
		case "auto":
			return WriteFlag{}, fmt.Errorf("%q: auto stands alone, or name the files: databrickscfg,claude,opencode", list)
		default:
			return WriteFlag{}, fmt.Errorf("%q isn't a file that patrol writes: use auto, or a list of databrickscfg, claude and opencode", name)
		}
	}
	if !profile {
		return WriteFlag{}, fmt.Errorf("%q leaves out databrickscfg, where a restart finds its token: use databrickscfg,%s", list, list)
	}
	return w, nil
}
