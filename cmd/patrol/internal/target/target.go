package target

import (
	"cmp"
	"fmt"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// A Target is what a patrol keeps fresh: one profile of one workspace.
type Target struct {
	Profile Profile
	Host    pat.Host
	Ignored string // why DATABRICKS_TOKEN is set and not used; "" if that isn't so

	envToken pat.Token // DATABRICKS_TOKEN, if it came with this workspace; else zero
}

// Resolve says which workspace and profile are meant. The workspace is
// --host's, else DATABRICKS_HOST's unless --profile is given, else the
// profile's. It changes nothing.
func Resolve(o cli.Options) (Target, error) {
	p, err := SelectProfile(o)
	if err != nil {
		return Target{}, err
	}
	read, err := p.Read()
	if err != nil {
		return Target{}, err
	}
	if !read.Exists && p.From != "" && !o.Host.Given() {
		return Target{}, p.unknown("to make it: --profile " + p.Name + " --host https://…")
	}
	t := Target{Profile: p}
	own, err := VariableHost("the host of "+p.String(), read.Host)
	if err != nil {
		return t, err
	}
	from, err := t.chooseHost(o, own)
	if err != nil {
		return t, err
	}
	err = cmp.Or(t.checkSameHost(from, own), t.checkCanHoldToken(read, own), CheckMintProfile(o.MintProfile, p))
	if err == nil {
		t.takeEnvToken(o, !read.Token.IsZero())
	}
	return t, err
}

// chooseHost sets t.Host and returns where it was named.
func (t *Target) chooseHost(o cli.Options, own pat.Host) (from string, err error) {
	const variable = "DATABRICKS_HOST"
	env := o.Get(variable)
	switch {
	case o.Host.Given():
		from = o.Host.From
		t.Host, err = HostFlag(o.Host)
	case env != "" && !t.Profile.byFlag():
		from = variable
		t.Host, err = VariableHost(variable, env)
	case !own.IsZero():
		t.Host = own
	case env != "":
		return "", cli.Usage("add --host "+strings.TrimSpace(env)+" if that is the workspace",
			"no workspace is named: %s has no host, and %s is for those that don't name a profile with %s", t.Profile, variable, t.Profile.From)
	default:
		return "", cli.Usage("for example --host https://dbc-1234.cloud.databricks.com, or run: databricks configure",
			"no workspace is named: --host and %s are not set, and %s has no host", variable, t.Profile)
	}
	return from, err
}

// checkSameHost refuses to keep a token of one workspace in a profile of another: each
// tool that reads the profile would send it to the wrong place.
func (t *Target) checkSameHost(from string, own pat.Host) error {
	if own.IsZero() || own.MaySame(t.Host) {
		t.Host.Workspace = cmp.Or(t.Host.Workspace, own.Workspace)
		return nil
	}
	hint := fmt.Sprintf("for %s: --profile NAME --host %s, with a new name or one that belongs to it", t.Host, t.Host)
	if from == "DATABRICKS_HOST" {
		hint = fmt.Sprintf("for %s: --profile %s; %s", own, t.Profile.Name, hint)
	}
	return cli.Usage(hint, "%s is %s, but %s belongs to %s", from, t.Host, t.Profile, own)
}

// checkCanHoldToken says why the profile can't hold a token that patrol keeps fresh, if that
// is so.
func (t Target) checkCanHoldToken(read credwriter.Profile, own pat.Host) error {
	elsewhere := fmt.Sprintf("give patrol a profile of its own: --profile patrol --host %s", t.Host)
	switch {
	case read.OtherAuth != "":
		return cli.Usage(elsewhere, "%s signs in by %s: a token beside that would make every Databricks tool fail", t.Profile, read.OtherAuth)
	case own.IsZero() && !read.Token.IsZero():
		return cli.Usage(fmt.Sprintf("add host = %s to it if that is right; else %s", t.Host, elsewhere),
			"%s has a token and no host that says where it belongs", t.Profile)
	}
	return nil
}

// takeEnvToken uses DATABRICKS_TOKEN if it can only have come with the chosen
// workspace. Whoever names a profile with the flag means the profile's token; the
// pair of variables may only give its first one to a profile that has none, and
// only if --host says that it is for the same workspace.
func (t *Target) takeEnvToken(o cli.Options, has bool) {
	value := strings.TrimSpace(o.Get("DATABRICKS_TOKEN"))
	if value == "" {
		return
	}
	env, err := VariableHost("DATABRICKS_HOST", o.Get("DATABRICKS_HOST"))
	switch {
	case t.Profile.byFlag() && !o.Host.Given():
		t.Ignored = t.Profile.From + " is given"
	case t.Profile.byFlag() && has:
		t.Ignored = t.Profile.From + " is given, and " + t.Profile.String() + " has a token"
	case err != nil || env.IsZero():
		t.Ignored = "DATABRICKS_HOST doesn't say which workspace it is for"
	case !env.MaySame(t.Host):
		t.Ignored = "it is for " + env.String()
	default:
		t.envToken = pat.New(value, t.Host.String())
	}
}

// Candidates returns the tokens that this machine holds for the workspace now.
func (t Target) Candidates() ([]rotator.Candidate, error) {
	var found []rotator.Candidate
	if !t.envToken.IsZero() {
		found = append(found, rotator.Candidate{Source: "DATABRICKS_TOKEN", Token: t.envToken})
	}
	read, err := t.Profile.Read()
	if err != nil {
		return nil, err
	}
	own, err := VariableHost("the host of "+t.Profile.String(), read.Host)
	if err != nil {
		return nil, err
	}
	// Somebody may have changed the profile since the start.
	if !own.IsZero() && !own.MaySame(t.Host) {
		return nil, cli.Hinted(fmt.Errorf("%s belongs to %s now, not to %s", t.Profile, own, t.Host),
			"start patrol again if that is what you want")
	}
	if err := t.checkCanHoldToken(read, own); err != nil {
		return nil, err
	}
	if token := read.Token; !token.IsZero() {
		token.Host = t.Host
		found = append(found, rotator.Candidate{Source: t.Profile.String(), Rewritten: true, Token: token})
	}
	return found, nil
}

// CheckMintProfile refuses a --mint-profile that can't mint when the token of p is
// dead. A file that can't be read is another's to report.
func CheckMintProfile(name string, p Profile) error {
	const right = "name another profile for the same workspace, one that signs in by OAuth, Azure …"
	if name == "" {
		return nil
	}
	if name == p.Name {
		return cli.Usage(right, "--mint-profile names %s, the profile that is kept fresh: when its token is dead, it can't mint", p)
	}
	read, err := credwriter.ReadProfile(p.File, name)
	if err == nil && !read.Exists {
		return Profile{Name: name, From: "--mint-profile", File: p.File}.unknown(right)
	}
	if err == nil && !read.Token.IsZero() && read.OtherAuth == "" {
		return cli.Usage(right, "--mint-profile names profile %s in %s, which signs in with a token: nobody keeps that fresh, and when it is dead, it can't mint", name, p.File)
	}
	return nil
}
