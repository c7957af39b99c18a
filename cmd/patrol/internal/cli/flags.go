package cli

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patrol/proxy"
)

// A flagDef is one flag, as every command that takes it has it.
type flagDef struct {
	name, kind string // kind stands in for the value in the help
	fallback   string // the default
	usage      string
	parse      func(Setting) error
	repeated   bool // may be repeated; a comma does the same
}

// kindBool is the kind of the flags that may stand without a value.
const kindBool = "bool"

// flagDefs returns every flag, in the order in which they are checked. What they are given goes into o.
func flagDefs(o *Options) []flagDef {
	gateway := proxy.GatewayOfWorkspace
	return []flagDef{
		newFlag("host", "url", "", &o.Host, asGiven, "the workspace, https://…; wins over DATABRICKS_HOST and the profile's"),
		newFlag("profile", "name", "", &o.Profile, asGiven, "the profile in .databrickscfg that is kept fresh; wins over DATABRICKS_CONFIG_PROFILE"),
		repeated(newFlag("listen", "host:port", "localhost:4000", &o.Listen, o.parseListen, "address of the proxy; either loopback address takes both, and 0.0.0.0 takes [::1] too; whoever doesn't come from this machine needs a client key (patrol keys); may be repeated")),
		newFlag("schedule", "cron", "0 */3 * * *", &o.Schedule, o.parseSchedule, "when to rotate: five fields of cron, @hourly, @every 90m …; in UTC unless it starts with CRON_TZ=Zone"),
		newFlag("lifetime", "duration", "4h", &o.Lifetime, parseLifetime, "lifetime of each token"),
		newFlag("grace", "duration", "5m", &o.Grace, parseGrace, "how long a replaced token lives on after the files are written"),
		repeated(newFlag("write", "list", "auto", &o.Write, o.parseWrite, "files to write: auto (databrickscfg, and those agents' that exist), or a list of databrickscfg, claude, opencode, dotenv:PATH:NAME and file:PATH")),
		newFlag("instance", "name", "", &o.Instance, parseInstance, "what this patrol calls itself in the comments of its tokens (default: made once, kept in the state)"),
		newFlag("state-dir", "folder", "", &o.StateDir, parseFolder, "where ledger, lock and control socket stand (default $XDG_STATE_HOME/patrol/PROFILE)"),
		newFlag("log-level", "level", "info", &o.Log.Level, parseLogLevel, "debug, info, warn or error"),
		newFlag("log-format", "format", FormatText, &o.Log.Format, parseLogFormat, "text or json"),
		newFlag("mint-profile", "name", "", &o.MintProfile, parseText, "a profile that signs in by OAuth, Azure …: it mints when the token in use is dead"),
		newFlag("keep-bootstrap", kindBool, "false", &o.KeepBootstrap, parseBool, "never revoke a token that patrol did not mint: the one that it was started with, or that was put into the profile or given to patrol login"),
		// Of one command alone:
		newFlag("json", kindBool, "false", &o.JSON, parseBool, "print JSON"),
		newFlag("wait-revoke", kindBool, "false", &o.WaitRevoke, parseBool, "stay until the old token is revoked, which takes as long as the grace"),
		newFlag("wait-ready", "duration", "0", &o.WaitReady, parseDuration, "wait so long for the service, until the profile holds a token that works"),
		newFlag("shell", "name", "posix", &o.Shell, parseText, "the shell to write for: posix or fish"),
		// Of the proxy alone:
		newFlag("upstream", "url", "", &o.Proxy.Upstream, parseText, "where chat completions, completions and embeddings go (default {host}/serving-endpoints)"),
		newFlag("anthropic-upstream", "url", "", &o.Proxy.AnthropicUpstream, parseText, "where Anthropic's messages go (default {host}/serving-endpoints/anthropic)"),
		newFlag("openai-upstream", "url", "", &o.Proxy.OpenAIUpstream, parseText, "where OpenAI's responses and models go (default {host}/serving-endpoints)"),
		newFlag("gemini-upstream", "url", "", &o.Proxy.GeminiUpstream, parseText, "where Gemini's requests go (default {host}/serving-endpoints/google)"),
		newFlag("gateway", gateway+"|url", "", &o.Proxy.Gateway, parseText, "derive the four upstreams from an AI gateway: "+gateway+" is {host}/ai-gateway; a URL is a dedicated gateway's host"),
		newFlag("upstream-ca", "file", "", &o.Proxy.RootCAs, o.parseCAFile, "trust the authorities in this PEM file too, besides those of the system"),
		newFlag("allow-api", kindBool, "false", &o.Proxy.AllowAPI, parseBool, "serve /api/… of the workspace too; what makes tokens and other credentials never"),
		newFlag("filter", "on|off", "on", &o.Proxy.NoFilter, parseNoFilter, "mend what agents send that Databricks rejects, and what it sends that they misread"),
		newFlag("wait", "duration", "10s", &o.Proxy.Wait, parseWait, "how long a request waits for a token that works, before it gets 503"),
		newFlag("replay-limit", "bytes", "16777216", &o.Proxy.ReplayLimit, parseReplayLimit, "the longest request that is kept in memory, to be sent again if its token died on the way"),
		newFlag("harden", kindBool, "false", &o.Harden, parseBool, "hide the service from other processes of the same user, and so from debuggers and ss -p (Linux)"),
		newFlag("replay-memory", "bytes", "", &o.Proxy.ReplayMemory, parseReplayMemory, "the memory for all requests that are kept (default 268435456, or a quarter of what the cgroup or GOMEMLIMIT allows)"),
		repeated(newFlag("allow-user", "user", "", &o.Guard.AllowUsers, parseList, "a further user of this machine who may use the proxy, by name or number, root too; may be repeated")),
		repeated(newFlag("allow-host", "name", "", &o.Guard.AllowHosts, parseList, "a further name by which the proxy may be asked, besides localhost; may be repeated")),
		newFlag("client-key-file", "file", "", &o.Guard.KeyFile, parseText, "further client keys, one a line, besides those of patrol keys: they let in clients whose user can't be known, not on this machine or not on Linux"),
		newFlag("old-tokens", "duration", "24h", &o.OldTokens, parseOldTokens, "for how long a running agent is let in by a token of patrol's that was replaced, over loopback, where the client's user can't be known"),
	}
}

// newFlag is a flag of which parse makes what goes into a field of the options.
func newFlag[T any](name, kind, fallback string, field *T, parse func(Setting) (T, error), usage string) flagDef {
	return flagDef{name: name, kind: kind, fallback: fallback, usage: usage, parse: func(s Setting) (err error) {
		*field, err = parse(s)
		return err
	}}
}

// repeated lets a flag be repeated.
func repeated(def flagDef) flagDef {
	def.repeated = true
	return def
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "PATROL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A textFlag is a flag to pflag: what it means is checked by parse, alike for
// flags and variables.
type textFlag struct {
	def   flagDef
	value string // the default, until it is given
	given bool
}

func (f *textFlag) Type() string   { return f.def.kind }
func (f *textFlag) String() string { return f.value }

// Set takes one occurrence of the flag. Of one that isn't to be repeated the last
// counts.
func (f *textFlag) Set(value string) error {
	if f.def.repeated && f.given {
		value = f.value + "," + value
	}
	f.value, f.given = value, true
	return nil
}

// AddFlags gives cmd the named flags, and returns it. "NAME=VALUE" gives one another default than
// it has in other commands.
func AddFlags(cmd *cobra.Command, names ...string) *cobra.Command {
	all := flagDefs(new(Options))
	for _, name := range names {
		name, fallback, _ := strings.Cut(name, "=")
		def := all[slices.IndexFunc(all, func(d flagDef) bool { return d.name == name })]
		value := &textFlag{def: def, value: cmp.Or(fallback, def.fallback)}
		flag := cmd.Flags().VarPF(value, name, "", def.usage+" ["+variable(name)+"]")
		if def.kind == kindBool {
			flag.NoOptDefVal = "true"
		}
	}
	return cmd
}

// FlagError adds to what pflag says of a flag what would be right.
func FlagError(cmd *cobra.Command, err error) error {
	hint := "see " + cmd.CommandPath() + " --help"
	if !cmd.HasParent() {
		hint = "flags come after the command: patrol serve --listen 127.0.0.1:4000; see patrol --help"
	}
	if _, typed, ok := strings.Cut(err.Error(), " in -"); ok {
		if name, _, _ := strings.Cut(typed, "="); cmd.Flags().Lookup(name) != nil {
			hint = "a flag begins with two dashes: --" + name
		}
	}
	return Usage(hint, "%s", err.Error())
}
