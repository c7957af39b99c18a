// Package target knows what a patrol keeps fresh: which profile, which workspace,
// how it signs in, and which tokens for it this machine holds.
package target

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/credwriter"
)

// A Profile is the profile that a command works with, and who said so.
type Profile struct {
	Name string
	From string // the flag or variable that names it; "" if the file does, or nobody
	File string // the path of .databrickscfg
}

// sharedVariable names the profile to all Databricks tools.
const sharedVariable = "DATABRICKS_CONFIG_PROFILE"

// byFlag reports whether patrol's own flag or variable names the profile.
func (p Profile) byFlag() bool { return p.From != "" && p.From != sharedVariable }

// String names the profile for messages.
func (p Profile) String() string {
	return fmt.Sprintf("profile %s in %s", p.Name, p.File)
}

// SelectProfile says which profile is meant: --profile, else
// DATABRICKS_CONFIG_PROFILE, else what the file's settings name, else DEFAULT. The
// profile need not exist. With the error that the file can't be read it is DEFAULT.
func SelectProfile(o cli.Options) (Profile, error) {
	home, err := o.Home()
	if err != nil {
		return Profile{}, err
	}
	p := Profile{Name: "DEFAULT"}
	p.File, _, _ = credwriter.Paths(o.Get, home)
	switch name := strings.TrimSpace(o.Get(sharedVariable)); {
	case o.Profile.Given():
		p.Name, p.From = o.Profile.Value(), o.Profile.From
	case name != "":
		p.Name, p.From = name, sharedVariable
	default:
		read, err := credwriter.ReadProfile(p.File, "")
		if err != nil {
			return p, fmt.Errorf("looking for the profile: %w", err)
		}
		p.Name = read.Name
	}
	if p.Name == "__settings__" || strings.ContainsAny(p.Name, "[]\r\n\t\x00") {
		return p, cli.Usage("a profile's name is one line without brackets", "%s %s: not the name of a profile", p.From, cli.Quote(p.Name))
	}
	return p, nil
}

// MustExist says so if the profile was named and isn't there: for commands that
// can't do anything then.
func (p Profile) MustExist() error {
	read, err := p.Read()
	if err == nil && !read.Exists && p.From != "" {
		err = p.unknown("")
	}
	return err
}

// Read returns what stands in the profile.
func (p Profile) Read() (credwriter.Profile, error) {
	read, err := credwriter.ReadProfile(p.File, p.Name)
	if err != nil {
		return read, fmt.Errorf("reading the profile: %w", err)
	}
	return read, nil
}

// unknown says that a profile that was named doesn't exist, and which do. create
// says how to make it, if that can be done.
func (p Profile) unknown(create string) error {
	hint := "there is no profile at all; make one with: databricks configure"
	if names := profileNames(p.File); len(names) > 0 {
		hint = "there are: " + strings.Join(names, ", ")
	}
	if create != "" {
		hint += "; " + create
	}
	return cli.Usage(hint, "%s names profile %s, which is not in %s", p.From, cli.Quote(p.Name), p.File)
}

// section matches the head of a profile in a file.
var section = regexp.MustCompile(`(?m)^[ \t]*\[([^\]\r\n]*)\]`)

// profileNames returns the profiles in a file, for messages: it reads what it
// can.
func profileNames(path string) (names []string) {
	text, _ := os.ReadFile(path)
	for _, m := range section.FindAllSubmatch(text, -1) {
		if name := string(m[1]); name != "__settings__" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
