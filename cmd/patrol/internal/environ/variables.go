// Package environ makes the environment of a command or a shell that is signed in
// with patrol, and runs the command.
package environ

import (
	"cmp"
	"slices"
	"strings"

	"patrol/cmd/patrol/internal/cli"
)

// A Change sets one variable, or unsets it.
type Change struct {
	Name  string
	Value string
	Unset bool
}

// Frozen returns the variables that sign a Databricks tool in as whoever the environment was made
// for, and make it skip the file that patrol keeps fresh. The tokens in them are
// those of the day when the shell or the app was started.
//
// ARM_… and GOOGLE_… stay: other tools live on them.
func Frozen() []string {
	return []string{
		"DATABRICKS_TOKEN", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET",
		"DATABRICKS_AUTH_TYPE", "DATABRICKS_USERNAME", "DATABRICKS_PASSWORD",
		"DATABRICKS_METADATA_SERVICE_URL", "DATABRICKS_OIDC_TOKEN_ENV", "DATABRICKS_OIDC_TOKEN_FILEPATH",
		"DATABRICKS_AZURE_RESOURCE_ID", "DATABRICKS_AZURE_LOGIN_APP_ID", "DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
	}
}

// keyVariables are those that agents take their key from, by what they are for. An agent
// sends nothing at all without one of them.
var keyVariables = [][]string{
	{"OPENAI_API_KEY"},
	{"ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"},
}

// changesFor returns what to change in an environment so that Databricks tools
// read profile from the file, and agents talk to the proxy; and which keys that were set
// it replaces.
//
// Keys that are set stay where the proxy lets its user in without one: it takes them
// off, and a tool with a base URL of its own may need them.
func changesFor(env cli.Env, profile string, a Access) (changes []Change, replaced []string) {
	for _, name := range Frozen() {
		changes = append(changes, Change{Name: name, Unset: true})
	}
	set := func(name, value string) { changes = append(changes, Change{Name: name, Value: value}) }
	set("DATABRICKS_CONFIG_PROFILE", profile)
	if file := env.Get("DATABRICKS_CONFIG_FILE"); file != "" {
		set("DATABRICKS_CONFIG_FILE", file)
	}
	base := cli.ProxyURL(a.Addr)
	set("OPENAI_BASE_URL", base+"/v1")
	set("ANTHROPIC_BASE_URL", base)
	for _, names := range keyVariables {
		isSet := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return env.Get(name) == "" })
		if len(isSet) == 0 {
			set(names[0], a.key)
		}
		for _, name := range isSet {
			if value := env.Get(name); a.needed != "" && value != a.key {
				set(name, a.key)
				replaced = append(replaced, name)
			}
		}
	}
	// Tools differ in which spelling they read.
	lower, upper := env.Get("no_proxy"), env.Get("NO_PROXY")
	set("NO_PROXY", withLoopback(upper, lower))
	set("no_proxy", withLoopback(lower, upper))
	return changes, replaced
}

// withLoopback adds this machine's names to a list of hosts that are reached
// without a proxy; other is the list under the other spelling, used if the first
// is empty.
func withLoopback(list, other string) string {
	list = cmp.Or(strings.TrimSpace(list), other)
	hosts := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(hosts, "*") {
		return list
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return strings.Join(hosts, ",")
}

// Apply returns environ with the changes made; each changed name stands in it
// once or not at all.
func Apply(environ []string, changes []Change) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, ok := strings.Cut(entry, "=")
		return ok && slices.ContainsFunc(changes, func(c Change) bool { return cli.SameVariable(c.Name, name) })
	})
	for _, c := range changes {
		if !c.Unset {
			out = append(out, c.Name+"="+c.Value)
		}
	}
	return out
}

// POSIX returns the command of sh, bash, zsh and ksh that makes the change.
func (c Change) POSIX() string {
	if c.Unset {
		return "unset " + c.Name
	}
	return "export " + c.Name + "=" + cli.ShellQuote(c.Value)
}

// Fish returns the command of fish that makes the change.
func (c Change) Fish() string {
	if c.Unset {
		// A universal variable would have to be erased for good, in every
		// session: it is covered instead.
		return "set -eg " + c.Name + "; if set -q " + c.Name + "; set -gx " + c.Name + " ''; end"
	}
	return "set -gx " + c.Name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(c.Value) + "'"
}
