package doctor

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/environ"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/pat"
)

// signInAgain is the cure for an environment that was frozen.
const signInAgain = `eval "$(patrol env)", or start the tools with: patrol exec -- COMMAND`

// checkEnvironment: do Databricks tools that are started here read the profile?
func checkEnvironment(_ context.Context, in *input, f *findings) {
	set := slices.DeleteFunc(environ.Frozen(), func(name string) bool { return in.o.Get(name) == "" })
	switch {
	case len(set) == 0:
		f.ok("nothing in it hides the profile from Databricks tools")
		return
	case len(set) == 1 && set[0] == "DATABRICKS_HOST" && in.o.Get("DATABRICKS_CONFIG_PROFILE") != "":
		host, err := target.VariableHost(set[0], in.o.Get(set[0]))
		if own, err2 := target.VariableHost("", in.profile.read.Host); err == nil && err2 == nil && host.MaySame(own) {
			f.ok("DATABRICKS_HOST is the profile's")
			return
		}
	}
	f.fail(signInAgain, "set here: %s; Databricks tools use that and not the profile, which patrol keeps fresh", strings.Join(set, ", "))
}

// checkAgents: do agents that are started here reach the proxy?
func checkAgents(_ context.Context, in *input, f *findings) {
	for _, agent := range []struct {
		base string
		keys []string
	}{
		{"ANTHROPIC_BASE_URL", []string{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"}},
		{"OPENAI_BASE_URL", []string{"OPENAI_API_KEY"}},
	} {
		base := in.o.Get(agent.base)
		u, err := url.Parse(base)
		if base != "" && err == nil && in.isProxy(u.Host) {
			continue // the proxy takes the key off
		}
		for _, name := range agent.keys {
			if key := in.o.Get(name); in.ledger.knows(pat.Hash(key)) || pat.Redact(key) != key {
				f.warn(signInAgain, "%s holds a Databricks token, which dies with the next rotation", name)
			}
		}
		switch {
		case base == "":
		case err != nil || u.Host == "":
			f.warn(signInAgain, "%s leads to something that is no URL, past patrol's proxy", agent.base)
		default:
			f.warn(signInAgain, "%s leads to %s://%s, past patrol's proxy", agent.base, u.Scheme, u.Host)
		}
	}
	if len(f.list) == 0 {
		f.ok("nothing in the environment leads agents past the proxy")
	}
}
