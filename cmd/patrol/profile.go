package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"

	"patrol/credwriter"
)

// A selection is the profile that a command works with, and who said so.
type selection struct {
	name string
	from string // the flag or variable that names it; "" if the file does, or nobody
	flag bool   // the flag or its variable names it, and not only DATABRICKS_CONFIG_PROFILE
	file string // the path of .databrickscfg
}

// String names the profile for messages.
func (p selection) String() string {
	return fmt.Sprintf("profile %s in %s", p.name, p.file)
}

// selectProfile says which profile is meant: --profile, else
// DATABRICKS_CONFIG_PROFILE, else what the file's settings name, else DEFAULT. The
// profile need not exist.
func (a *app) selectProfile(o options) (selection, error) {
	home, err := a.home()
	if err != nil {
		return selection{}, err
	}
	p := selection{}
	p.file, _, _ = credwriter.Paths(a.getenv, home)
	switch name := strings.TrimSpace(a.getenv("DATABRICKS_CONFIG_PROFILE")); {
	case o.profile.given():
		p.name, p.from, p.flag = o.profile.value(), o.profile.from, true
	case name != "":
		p.name, p.from = name, "DATABRICKS_CONFIG_PROFILE"
	default:
		read, err := credwriter.ReadProfile(p.file, "")
		if err != nil {
			return p, fmt.Errorf("looking for the profile: %w", err)
		}
		p.name = read.Name
	}
	if p.name == "__settings__" || strings.ContainsAny(p.name, "[]\r\n\t\x00") {
		return p, usageError("a profile's name is one line without brackets", "%s %s: not the name of a profile", p.from, quote(p.name))
	}
	return p, nil
}

// existingProfile is selectProfile for commands that can't do anything with a
// profile that isn't there: one that was named must exist.
func (a *app) existingProfile(o options) (selection, error) {
	p, err := a.selectProfile(o)
	if err != nil || p.from == "" {
		return p, err
	}
	read, err := credwriter.ReadProfile(p.file, p.name)
	if err != nil {
		return p, fmt.Errorf("reading the profile: %w", err)
	}
	if !read.Exists {
		return p, p.unknown("")
	}
	return p, nil
}

// unknown says that a profile that was named doesn't exist, and which do. create
// says how to make it, if that can be done.
func (p selection) unknown(create string) error {
	hint := "there is no profile at all; make one with: databricks configure"
	if names := profileNames(p.file); len(names) > 0 {
		hint = "there are: " + strings.Join(names, ", ")
	}
	if create != "" {
		hint += "; " + create
	}
	return usageError(hint, "%s names profile %s, which is not in %s", p.from, quote(p.name), p.file)
}

// profileNames returns the profiles in a file, for messages: it reads what it
// can.
func profileNames(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var names []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		name, ok := strings.CutPrefix(line, "[")
		name, _, closed := strings.Cut(name, "]")
		if ok && closed && name != "__settings__" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
