package doctor

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/environ"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/pat"
)

// signInAgain is the cure for an environment that was frozen.
const signInAgain = `eval "$(patrol env)", or start the tools with: patrol exec -- COMMAND`

// checkEnvironment: do Databricks tools that are started here read the profile?
func checkEnvironment(_ context.Context, in *input, f *findings) {
	set := slices.DeleteFunc(environ.Frozen(), func(name string) bool {
		return in.o.Get(name) == "" || name == "DATABRICKS_HOST" && in.namesProfile()
	})
	if len(set) == 0 {
		f.ok("nothing in it hides the profile from Databricks tools")
		return
	}
	f.fail(signInAgain, "set here: %s; Databricks tools use that and not the profile, which patrol keeps fresh", strings.Join(set, ", "))
}

// namesProfile reports whether the environment names a profile, and with it no other
// workspace than the profile's.
func (in *input) namesProfile() bool {
	host, err := target.VariableHost("", in.o.Get("DATABRICKS_HOST"))
	own, ownErr := target.VariableHost("", in.profile.read.Host)
	return in.o.Get("DATABRICKS_CONFIG_PROFILE") != "" && err == nil && ownErr == nil && host.MaySame(own)
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
		if err == nil && isOwnListener(u, in.o.Listen) {
			continue // the proxy takes the key off
		}
		for _, name := range agent.keys {
			if key := in.o.Get(name); in.knows(pat.Hash(key)) || pat.Redact(key) != key {
				f.warn(signInAgain, "%s holds a Databricks token, which dies with the next rotation", name)
			}
		}
		where := "something that is no URL"
		if err == nil && u.Host != "" {
			where = u.Scheme + "://" + u.Host // a password may stand before it
		}
		if base != "" {
			f.warn(signInAgain, "%s leads to %s, past patrol's proxy", agent.base, where)
		}
	}
	if len(f.list) == 0 {
		f.ok("nothing in the environment leads agents past the proxy")
	}
}

// isOwnListener reports whether u leads to one of our own addresses.
func isOwnListener(u *url.URL, addrs []cli.ListenAddr) bool {
	port := pat.HostOf(u).DialPort()
	ip, err := netip.ParseAddr(u.Hostname())
	return slices.ContainsFunc(addrs, func(a cli.ListenAddr) bool {
		reached := cli.Reaches(netip.AddrPortFrom(ip, a.Port()), a.AddrPort) || err != nil && pat.HostOf(u).Loopback()
		return reached && strconv.Itoa(int(a.Port())) == port
	})
}
