package main

import (
	"net/netip"
	"slices"
	"strings"
)

// An envChange sets one variable, or unsets it.
type envChange struct {
	name  string
	value string
	unset bool
}

// frozenVariables sign a Databricks tool in as whoever the environment was made
// for, and make it skip the file that patrol keeps fresh. The tokens in them are
// those of the day when the shell or the app was started.
//
// ARM_… and GOOGLE_… stay: other tools live on them.
func frozenVariables() []string {
	return []string{
		"DATABRICKS_TOKEN", "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET",
		"DATABRICKS_AUTH_TYPE", "DATABRICKS_USERNAME", "DATABRICKS_PASSWORD",
		"DATABRICKS_METADATA_SERVICE_URL", "DATABRICKS_OIDC_TOKEN_ENV", "DATABRICKS_OIDC_TOKEN_FILEPATH",
		"DATABRICKS_AZURE_RESOURCE_ID", "DATABRICKS_AZURE_LOGIN_APP_ID", "DATABRICKS_GOOGLE_SERVICE_ACCOUNT",
	}
}

// dummyKey is what agents send that refuse to start without a key. The proxy
// takes it off and puts the current token on.
const dummyKey = "patrol"

// agentEnv returns what to change in an environment so that Databricks tools
// read profile from the file, and agents talk to the proxy at addr.
//
// Keys that are set stay, whatever they are: the proxy takes them off, and a
// tool with a base URL of its own may need them.
func (a *app) agentEnv(profile string, addr netip.AddrPort) []envChange {
	var changes []envChange
	for _, name := range frozenVariables() {
		changes = append(changes, envChange{name: name, unset: true})
	}
	set := func(name, value string) { changes = append(changes, envChange{name: name, value: value}) }
	set("DATABRICKS_CONFIG_PROFILE", profile)
	if file := a.getenv("DATABRICKS_CONFIG_FILE"); file != "" {
		set("DATABRICKS_CONFIG_FILE", file)
	}
	base := proxyURL(addr)
	set("OPENAI_BASE_URL", base+"/v1")
	set("ANTHROPIC_BASE_URL", base)
	// OpenAI's SDKs and Claude Code send nothing at all without a key.
	if a.getenv("OPENAI_API_KEY") == "" {
		set("OPENAI_API_KEY", dummyKey)
	}
	if a.getenv("ANTHROPIC_AUTH_TOKEN") == "" && a.getenv("ANTHROPIC_API_KEY") == "" {
		set("ANTHROPIC_AUTH_TOKEN", dummyKey)
	}
	// Tools differ in which spelling they read.
	lower, upper := a.getenv("no_proxy"), a.getenv("NO_PROXY")
	set("NO_PROXY", withLoopback(upper, lower))
	set("no_proxy", withLoopback(lower, upper))
	return changes
}

// proxyURL returns the base URL of the proxy for programs on this machine. It is
// the address itself and not "localhost", whose other address may be somebody
// else's; only where patrol listens on all addresses it is one of them.
func proxyURL(addr netip.AddrPort) string {
	switch addr.Addr() {
	case netip.IPv4Unspecified(), netip.IPv6Unspecified(): // of both kinds
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port())
	}
	return "http://" + addr.String()
}

// withLoopback adds this machine's names to a list of hosts that are reached
// without a proxy; other is the list under the other spelling, used if the first
// is empty.
func withLoopback(list, other string) string {
	if strings.TrimSpace(list) == "" {
		list = other
	}
	hosts := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(hosts, "*") {
		return list
	}
	list = strings.TrimRight(list, ", ")
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		if slices.Contains(hosts, host) {
			continue
		}
		if list != "" {
			list += ","
		}
		list += host
	}
	return list
}

// applyEnv returns environ with the changes made; each changed name stands in it
// once or not at all.
func applyEnv(environ []string, changes []envChange) []string {
	out := make([]string, 0, len(environ)+len(changes))
	for _, entry := range environ {
		name, _, ok := strings.Cut(entry, "=")
		if ok && slices.ContainsFunc(changes, func(c envChange) bool { return sameVariable(c.name, name) }) {
			continue
		}
		out = append(out, entry)
	}
	for _, c := range changes {
		if !c.unset {
			out = append(out, c.name+"="+c.value)
		}
	}
	return out
}
