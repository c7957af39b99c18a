package main

import (
	"cmp"
	"fmt"
	"strings"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// A target is what a patrol keeps fresh: one profile of one workspace.
type target struct {
	profile   selection
	workspace pat.Host
	envToken  pat.Token // DATABRICKS_TOKEN, if it came with this workspace; else the zero Token
	ignored   string    // why DATABRICKS_TOKEN is set and not used; "" if that isn't so
}

// resolveTarget says which workspace and profile are meant. The workspace is
// --host's, else DATABRICKS_HOST's unless --profile is given, else the
// profile's. It changes nothing.
func (a *app) resolveTarget(o options) (target, error) {
	p, err := a.selectProfile(o)
	if err != nil {
		return target{}, err
	}
	read, err := credwriter.ReadProfile(p.file, p.name)
	if err != nil {
		return target{}, fmt.Errorf("reading the profile: %w", err)
	}
	if !read.Exists && p.from != "" && !o.host.given() {
		return target{}, p.unknown("to make it: --profile " + p.name + " --host https://…")
	}
	t := target{profile: p}
	own, err := variableHost("the host of "+p.String(), read.Host)
	if err != nil {
		return t, err
	}
	from, err := a.chooseHost(o, &t, own)
	if err != nil {
		return t, err
	}
	if err := t.agree(from, own); err != nil {
		return t, err
	}
	if err := t.takes(read, own); err != nil {
		return t, err
	}
	if err := checkMintProfile(o.mintProfile, p); err != nil {
		return t, err
	}
	a.takeEnvToken(o, &t, !read.Token.IsZero())
	return t, nil
}

// chooseHost sets t.workspace and returns where it was named.
func (a *app) chooseHost(o options, t *target, own pat.Host) (from string, err error) {
	const variable = "DATABRICKS_HOST"
	env := a.getenv(variable)
	switch {
	case o.host.given():
		from = o.host.from
		t.workspace, err = hostFlag(o.host)
	case env != "" && !t.profile.flag:
		from = variable
		t.workspace, err = variableHost(variable, env)
	case !own.IsZero():
		t.workspace = own
	case env != "":
		return "", usageError("add --host "+strings.TrimSpace(env)+" if that is the workspace",
			"no workspace is named: %s has no host, and %s is for those that don't name a profile with %s", t.profile, variable, t.profile.from)
	default:
		return "", usageError("for example --host https://dbc-1234.cloud.databricks.com, or run: databricks configure",
			"no workspace is named: --host and %s are not set, and %s has no host", variable, t.profile)
	}
	return from, err
}

// variableHost reads a host that stands in a variable or a file, where it need
// not have a scheme. An empty one is the zero Host.
func variableHost(where, value string) (pat.Host, error) {
	if strings.TrimSpace(value) == "" {
		return pat.Host{}, nil
	}
	h, _, err := parseHost(value)
	if err != nil {
		return h, hostMistake(where, value, "", err)
	}
	return h, nil
}

// agree refuses to keep a token of one workspace in a profile of another: each
// tool that reads the profile would send it to the wrong place.
func (t *target) agree(from string, own pat.Host) error {
	if own.IsZero() || own.MaySame(t.workspace) {
		t.workspace.Workspace = cmp.Or(t.workspace.Workspace, own.Workspace)
		return nil
	}
	hint := fmt.Sprintf("for %s: --profile NAME --host %s, with a new name or one that belongs to it", t.workspace, t.workspace)
	if from == "DATABRICKS_HOST" {
		hint = fmt.Sprintf("for %s: --profile %s; %s", own, t.profile.name, hint)
	}
	return usageError(hint, "%s is %s, but %s belongs to %s", from, t.workspace, t.profile, own)
}

// takes says why the profile can't hold a token that patrol keeps fresh, if that
// is so.
func (t target) takes(read credwriter.Profile, own pat.Host) error {
	elsewhere := fmt.Sprintf("give patrol a profile of its own: --profile patrol --host %s", t.workspace)
	switch {
	case read.OtherAuth != "":
		return usageError(elsewhere, "%s signs in by %s: a token beside that would make every Databricks tool fail", t.profile, read.OtherAuth)
	case own.IsZero() && !read.Token.IsZero():
		return usageError(fmt.Sprintf("add host = %s to it if that is right; else %s", t.workspace, elsewhere),
			"%s has a token and no host that says where it belongs", t.profile)
	}
	return nil
}

// takeEnvToken uses DATABRICKS_TOKEN if it can only have come with the chosen
// workspace. Whoever names a profile with the flag means the profile's token; the
// pair of variables may only give its first one to a profile that has none, and
// only if --host says that it is for the same workspace.
func (a *app) takeEnvToken(o options, t *target, has bool) {
	value := strings.TrimSpace(a.getenv("DATABRICKS_TOKEN"))
	if value == "" {
		return
	}
	env, err := variableHost("DATABRICKS_HOST", a.getenv("DATABRICKS_HOST"))
	switch {
	case t.profile.flag && !o.host.given():
		t.ignored = t.profile.from + " is given"
	case t.profile.flag && has:
		t.ignored = t.profile.from + " is given, and " + t.profile.String() + " has a token"
	case err != nil || env.IsZero():
		t.ignored = "DATABRICKS_HOST doesn't say which workspace it is for"
	case !env.MaySame(t.workspace):
		t.ignored = "it is for " + env.String()
	default:
		t.envToken = pat.New(value, t.workspace.String())
	}
}

// candidates returns the tokens that this machine holds for the workspace now.
func (t target) candidates() ([]rotator.Candidate, error) {
	var found []rotator.Candidate
	if !t.envToken.IsZero() {
		found = append(found, rotator.Candidate{Source: "DATABRICKS_TOKEN", Token: t.envToken})
	}
	read, err := credwriter.ReadProfile(t.profile.file, t.profile.name)
	if err != nil {
		return nil, fmt.Errorf("reading the profile: %w", err)
	}
	own, err := variableHost("the host of "+t.profile.String(), read.Host)
	if err != nil {
		return nil, err
	}
	// Somebody may have changed the profile since the start.
	if !own.IsZero() && !own.MaySame(t.workspace) {
		return nil, hinted(fmt.Errorf("%s belongs to %s now, not to %s", t.profile, own, t.workspace),
			"start patrol again if that is what you want")
	}
	if err := t.takes(read, own); err != nil {
		return nil, err
	}
	if token := read.Token; !token.IsZero() {
		token.Host = t.workspace
		found = append(found, rotator.Candidate{Source: t.profile.String(), Rewritten: true, Token: token})
	}
	return found, nil
}
