package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// signInAgain is the cure for an environment that was frozen.
const signInAgain = `eval "$(patrol env)", or start the tools with: patrol exec -- COMMAND`

// checkEnvironment: do Databricks tools that are started here read the profile?
func checkEnvironment(_ context.Context, p *patient) []finding {
	const name = "environment"
	var set []string
	for _, variable := range frozenVariables() {
		if p.app.getenv(variable) != "" {
			set = append(set, variable)
		}
	}
	switch {
	case len(set) == 0:
		return []finding{fine(name, "nothing in it hides the profile from Databricks tools")}
	case len(set) == 1 && set[0] == "DATABRICKS_HOST" && p.app.getenv("DATABRICKS_CONFIG_PROFILE") != "":
		host, err := variableHost(set[0], p.app.getenv(set[0]))
		if own, err2 := variableHost("", p.profile.Host); err == nil && err2 == nil && host.MaySame(own) {
			return []finding{fine(name, "DATABRICKS_HOST is the profile's")}
		}
	}
	return []finding{failure(name, signInAgain,
		"set here: %s; Databricks tools use that and not the profile, which patrol keeps fresh", strings.Join(set, ", "))}
}

// checkAgentEnv: do agents that are started here reach the proxy?
func checkAgentEnv(_ context.Context, p *patient) []finding {
	const name = "agents"
	var found []finding
	for _, agent := range []struct{ base, key string }{
		{"ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN"},
		{"ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"},
		{"OPENAI_BASE_URL", "OPENAI_API_KEY"},
	} {
		base, key := p.app.getenv(agent.base), p.app.getenv(agent.key)
		u, err := url.Parse(base)
		if base != "" && err == nil && p.isOurs(u.Host) {
			continue // the proxy takes the key off
		}
		known := slices.ContainsFunc(p.entries, func(e ledger.Entry) bool { return e.Hash != "" && e.Hash == pat.Hash(key) })
		if known || redact(key) != key {
			found = append(found, warning(name, signInAgain, "%s holds a Databricks token, which dies with the next rotation", agent.key))
		}
		if base == "" || slices.ContainsFunc(found, func(f finding) bool { return strings.HasPrefix(f.What, agent.base) }) {
			continue
		}
		to := "something that is no URL"
		if err == nil && u.Host != "" {
			to = u.Scheme + "://" + u.Host
		}
		found = append(found, warning(name, signInAgain, "%s leads to %s, past patrol's proxy", agent.base, to))
	}
	if found == nil {
		found = append(found, fine(name, "nothing in the environment leads agents past the proxy"))
	}
	return found
}

// checkProfile: can the profile hold a token that tools use?
func checkProfile(_ context.Context, p *patient) []finding {
	const name = "profile"
	switch {
	case p.profileErr != nil:
		return []finding{failed(name, "", p.profileErr)}
	case p.profile.OtherAuth != "":
		return []finding{failure(name, "give patrol a profile of its own: --profile patrol --host "+cmp.Or(p.profile.Host, "https://…"),
			"%s signs in by %s: a token in it is not used, or makes every tool fail", p.selection, p.profile.OtherAuth)}
	case p.targetErr != nil:
		return []finding{failed(name, "", p.targetErr)}
	case !p.profile.Exists:
		return []finding{warning(name, "patrol makes it, once it has a token: "+p.login(), "there is no %s", p.selection)}
	}
	return []finding{fine(name, "%s, for %s", p.selection, p.target.workspace)}
}

// checkDefaultProfile: do tools that aren't told a profile use this one?
func checkDefaultProfile(_ context.Context, p *patient) []finding {
	const name = "default"
	read, err := credwriter.ReadProfile(p.selection.file, "")
	if err != nil {
		return nil // checkProfile says so
	}
	if p.misled() {
		other := p.others[0]
		mend := fmt.Sprintf("take that setting out, if %s is meant; else run a patrol for this profile too: %s", other.Profile, p.serveBeside())
		return []finding{failure(name, mend, "[__settings__] default_profile = %s in %s has tools that aren't told a profile use that one, and not %s, which a patrol keeps fresh",
			read.Name, p.selection.file, other.Profile)}
	}
	used := cmp.Or(strings.TrimSpace(p.app.getenv("DATABRICKS_CONFIG_PROFILE")), read.Name)
	if used != p.selection.name {
		return []finding{warning(name, signInAgain+"; or set default_profile = "+p.selection.name+" under [__settings__] in "+p.selection.file,
			"tools that aren't told a profile use %s, and not %s, which patrol keeps fresh", used, p.selection.name)}
	}
	return []finding{fine(name, "tools that aren't told a profile use %s", used)}
}

// checkFiles: can the credential files be written, are they closed to others, and
// what in them isn't patrol's?
func checkFiles(_ context.Context, p *patient) []finding {
	const name = "files"
	proxy := proxyURL(p.o.listen[0].addr)
	if p.running != nil && len(p.status.Service.Listen) > 0 {
		if addr, err := netip.ParseAddrPort(p.status.Service.Listen[0]); err == nil {
			proxy = proxyURL(addr)
		}
	}
	profile, agents, err := p.app.files(p.o, target{profile: p.selection}, credwriter.Owner{
		Host:        p.host,
		WorkspaceID: p.target.workspace.Workspace,
		ProxyURL:    proxy,
		Ours: func(hash string) bool {
			return slices.ContainsFunc(p.entries, func(e ledger.Entry) bool { return e.Hash == hash })
		},
	})
	if err != nil {
		return []finding{failed(name, "", err)}
	}
	var found []finding
	for _, f := range append([]rotator.File{profile}, agents...) {
		if p.running != nil && !slices.ContainsFunc(p.status.Files, func(s fileStatus) bool { return s.Path == f.Path() }) {
			continue // the service was told to leave it alone
		}
		found = append(found, p.checkFile(name, f)...)
	}
	return found
}

// checkFile looks at one credential file.
func (p *patient) checkFile(name string, f rotator.File) (found []finding) {
	path := f.Path()
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return []finding{fine(name, "%s: there is none", path)}
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		to, _ := os.Readlink(path)
		return []finding{failure(name, "make what it leads to, or take the link away", "%s is a link to %s, which isn't there", path, to)}
	} else if err != nil {
		return []finding{failed(name, "", err)}
	}
	if !info.Mode().IsRegular() {
		return []finding{failed(name, "", notAFile(path, info.Mode()))}
	}
	if uid, ok := ownerOf(info); ok && uid != os.Geteuid() {
		return []finding{failure(name, "run patrol as the owner of the file", "%s belongs to uid %d, and patrol runs as uid %d", path, uid, os.Geteuid())}
	} else if ok && info.Mode().Perm()&0o077 != 0 && p.secret(f) {
		found = append(found, failure(name, "chmod 600 "+path, "%s is open to others (mode %04o)", path, info.Mode().Perm()))
	}
	what := path
	if p.host != "" { // or whose tokens belong there isn't known
		found = append(found, checkContent(name, f)...)
		if end, err := filepath.EvalSymlinks(path); err == nil && end != filepath.Clean(path) {
			what += ", which is " + end
		}
		what += ": can be written"
	}
	if found == nil {
		found = append(found, fine(name, "%s", what))
	}
	return found
}

// checkContent: can't the file be written, and what in it isn't patrol's?
func checkContent(name string, f rotator.File) (found []finding) {
	if err := f.Check(); err != nil {
		return []finding{failed(name, "", err)}
	}
	if looks, ok := f.(interface{ Left() ([]string, error) }); ok {
		left, err := looks.Left()
		if err != nil {
			return []finding{failed(name, "", err)}
		}
		for _, what := range left {
			found = append(found, warning(name, "nothing, if you mean it to be so; else take it out, and patrol puts its own there", "left alone: %s", what))
		}
	}
	return found
}

// secret reports whether a file holds, or is for, tokens: an agent's settings
// without one are anybody's to read.
func (p *patient) secret(f rotator.File) bool {
	if f.Path() == p.selection.file {
		return true
	}
	return slices.ContainsFunc(p.entries, func(e ledger.Entry) bool {
		if e.Stage.Ended() || e.Hash == "" {
			return false
		}
		holds, err := f.Holds(e.Hash)
		return err != nil || holds
	})
}

// checkToken: is the profile's token the one that it should be?
func checkToken(_ context.Context, p *patient) []finding {
	const name = "token"
	token := p.profile.Token
	switch {
	case p.profileErr != nil:
		return nil // checkProfile says so
	case token.IsZero() && p.token.IsZero():
		return []finding{failure(name, p.login(), "there is none in %s", p.selection)}
	case p.running != nil && p.token.IsZero():
		return nil // checkService says so
	case p.running != nil && token.Same(p.token):
		return []finding{fine(name, "%s holds the current token", p.selection)}
	case p.running != nil:
		return []finding{failure(name, "patrol rotate", "%s doesn't hold the current token", p.selection)}
	case token.IsZero():
		return []finding{warning(name, "patrol serve puts one of its own there", "there is none in %s, but in the environment", p.selection)}
	}
	if p.ledgerErr != nil {
		return nil // checkState says so
	}
	if err := dead(p.selection, p.dir, token); err != nil {
		return []finding{failed(name, "patrol login", err)}
	}
	for _, e := range p.entries {
		if e.Hash == token.Hash() && e.Ours() {
			return []finding{fine(name, "%s holds patrol's last token, %s", p.selection, tokenName(e.ID))}
		}
	}
	return []finding{fine(name, "%s holds one that patrol didn't mint: its first", p.selection)}
}
