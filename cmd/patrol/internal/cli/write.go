package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// WriteFlag says which files are written, as --write does. The profile always is.
type WriteFlag struct {
	Files  []WriteFile
	Create bool // an agent's file, or its entry, where it is missing
}

// WriteFile is one file that --write names.
type WriteFile struct {
	Format   string // "claude", "opencode", "dotenv" or "file"
	Path     string // absolute; "" if its tool says where it is
	Variable string // of dotenv
}

func (o *Options) parseWrite(s Setting) (WriteFlag, error) {
	w, err := parseWriteList(s.Values, o.Home)
	if err != nil {
		err = Usage("--write auto writes .databrickscfg, and the agents' files that exist", "%s %w", s.From, err)
	}
	return w, err
}

// parseWriteList reads "auto", for the profile and the agents' files that exist, or
// a list of files, which creates what is missing.
func parseWriteList(entries []string, home func() (string, error)) (WriteFlag, error) {
	list := strings.Join(entries, ",")
	switch {
	case list == "auto":
		return WriteFlag{Files: []WriteFile{{Format: "claude"}, {Format: "opencode"}}}, nil
	case slices.Contains(entries, "auto"):
		return WriteFlag{}, fmt.Errorf("%q: auto stands alone, or name the files: databrickscfg,claude,opencode", list)
	}
	w := WriteFlag{Create: true}
	for _, entry := range entries {
		if entry == "databrickscfg" {
			continue
		}
		file, err := parseWriteFile(entry, home)
		if err != nil {
			return WriteFlag{}, fmt.Errorf("%q %w", entry, err)
		}
		if !slices.Contains(w.Files, file) {
			w.Files = append(w.Files, file)
		}
	}
	if !slices.Contains(entries, "databrickscfg") {
		return WriteFlag{}, fmt.Errorf("%q leaves out databrickscfg, where a restart finds its token: use databrickscfg,%s", list, list)
	}
	return w, nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseWriteFile reads one entry of the list.
func parseWriteFile(entry string, home func() (string, error)) (f WriteFile, err error) {
	f.Format, f.Path, _ = strings.Cut(entry, ":")
	switch {
	case entry == "claude" || entry == "opencode":
		return f, nil
	case f.Format == "dotenv":
		colon := max(strings.LastIndex(f.Path, ":"), 0) // a path may have some of its own
		f.Path, f.Variable = f.Path[:colon], strings.TrimPrefix(f.Path[colon:], ":")
		if !variableName.MatchString(f.Variable) {
			return WriteFile{}, errors.New("needs the name of a variable: dotenv:PATH:NAME")
		}
	case f.Format != "file":
		return WriteFile{}, errors.New("isn't a file that patrol writes: use auto, or a list of databrickscfg, claude, opencode, dotenv:PATH:NAME and file:PATH")
	}
	if f.Path == "" {
		return WriteFile{}, errors.New("has no path: use dotenv:PATH:NAME or file:PATH")
	}
	if rest, ok := strings.CutPrefix(f.Path, "~/"); ok { // which no shell expands there
		dir, err := home()
		if err != nil {
			return WriteFile{}, err
		}
		f.Path = filepath.Join(dir, rest)
	}
	f.Path, err = filepath.Abs(f.Path)
	return f, err
}
