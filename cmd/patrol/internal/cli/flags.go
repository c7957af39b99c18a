package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patrol/proxy"
)

// A flagDef is one flag, as every command that takes it has it.
type flagDef struct {
	name     string
	kind     string // what stands in for the value in the help
	fallback string // the default
	parse    func(*Options, Setting) error
	usage    string
	repeated bool // may be repeated; a comma does the same
}

// kindBool is the kind of the flags that may stand without a value.
const kindBool = "bool"

// flagDefs returns every flag that has an environment variable, in the order in
// which they are checked.
func flagDefs() []flagDef {
	return slices.Concat([]flagDef{
		{
			name: "host", kind: "url", parse: func(o *Options, s Setting) error { o.Host = s; return nil },
			usage: "the workspace, https://…; wins over DATABRICKS_HOST and the profile's",
		},
		{
			name: "profile", kind: "name", parse: func(o *Options, s Setting) error { o.Profile = s; return nil },
			usage: "the profile in .databrickscfg that is kept fresh; wins over DATABRICKS_CONFIG_PROFILE",
		},
		// Both loopbacks, because "localhost" may be tried as ::1 first.
		{
			name: "listen", kind: "host:port", fallback: "127.0.0.1:4000,[::1]:4000", repeated: true, parse: parseListen,
			usage: "address of the proxy; whoever doesn't come over loopback needs a key of --client-key-file or a token of patrol's; may be repeated",
		},
		{
			name: "schedule", kind: "cron", fallback: "0 */3 * * *", parse: parseScheduleFlag,
			usage: "when to rotate: five fields of cron, @hourly, @every 90m …; in UTC unless it starts with CRON_TZ=Zone",
		},
		{name: "lifetime", kind: "duration", fallback: "4h", parse: parseLifetime, usage: "lifetime of each token"},
		{
			name: "grace", kind: "duration", fallback: "5m", parse: parseGrace,
			usage: "how long a replaced token lives on after the files are written",
		},
		{
			name: "write", kind: "list", fallback: "auto", repeated: true, parse: parseWrite,
			usage: "files to write: auto (databrickscfg, and those agents' that exist), or a list of databrickscfg, claude, opencode",
		},
		{
			name: "instance", kind: "name", parse: parseInstance,
			usage: "what this patrol calls itself in the comments of its tokens (default: made once, kept in the state)",
		},
		{
			name: "state-dir", kind: "folder", parse: parseStateDir,
			usage: "where ledger, lock and control socket stand (default $XDG_STATE_HOME/patrol/PROFILE)",
		},
		{name: "log-level", kind: "level", fallback: "info", parse: parseLogLevel, usage: "debug, info, warn or error"},
		{name: "log-format", kind: "format", fallback: formatText, parse: parseLogFormat, usage: "text or json"},
		textDef("mint-profile", "name", "a profile that signs in by OAuth, Azure …: it mints when the token in use is dead",
			func(o *Options) *string { return &o.MintProfile }),
		boolDef("keep-bootstrap", "never revoke a token that patrol did not mint: the one that it was started with, or that was put into the profile or given to patrol login",
			func(o *Options) *bool { return &o.KeepBootstrap }),
	}, proxyFlagDefs())
}

// proxyFlagDefs returns the flags that say something of the proxy alone.
func proxyFlagDefs() []flagDef {
	return []flagDef{
		baseDef("upstream", "chat completions, completions and embeddings", "", func(o *Options) *string { return &o.Proxy.Upstream }),
		baseDef("anthropic-upstream", "Anthropic's messages", "/anthropic", func(o *Options) *string { return &o.Proxy.AnthropicUpstream }),
		baseDef("openai-upstream", "OpenAI's responses and models", "", func(o *Options) *string { return &o.Proxy.OpenAIUpstream }),
		baseDef("gemini-upstream", "Gemini's requests", "/google", func(o *Options) *string { return &o.Proxy.GeminiUpstream }),
		{
			name: "gateway", kind: proxy.GatewayOfWorkspace + "|url", parse: parseGateway,
			usage: "derive the four upstreams from an AI gateway: " + proxy.GatewayOfWorkspace + " is {host}/ai-gateway; a URL is a dedicated gateway's host",
		},
		{
			name: "upstream-ca", kind: "file", parse: parseCAFile,
			usage: "trust the authorities in this PEM file too, besides those of the system",
		},
		boolDef("allow-api", "serve /api/… of the workspace too; the token API never", func(o *Options) *bool { return &o.Proxy.AllowAPI }),
		{
			name: "filter", kind: "on|off", fallback: "on", parse: parseFilter,
			usage: "mend what agents send that Databricks rejects, and what it sends that they misread",
		},
		{
			name: "wait", kind: "duration", fallback: "10s", parse: parseWait,
			usage: "how long a request waits for a token that works, before it gets 503",
		},
		{
			name: "replay-limit", kind: "bytes", fallback: "16777216", parse: parseReplayLimit,
			usage: "the longest request that is kept in memory, to be sent again if its token died on the way",
		},
		{
			name: "allow-user", kind: "user", repeated: true, parse: func(o *Options, s Setting) error { o.Guard.AllowUsers = s.Values; return nil },
			usage: "a further user of this machine who may use the proxy, by name or number; may be repeated",
		},
		{
			name: "allow-host", kind: "name", repeated: true, parse: func(o *Options, s Setting) error { o.Guard.AllowHosts = s.Values; return nil },
			usage: "a further name by which the proxy may be asked, besides localhost; may be repeated",
		},
		textDef("client-key-file", "file", "keys, one a line, that let in clients whose user can't be known: not on this machine, or not on Linux",
			func(o *Options) *string { return &o.Guard.KeyFile }),
	}
}

// textDef is a flag whose value is taken as it is.
func textDef(name, kind, usage string, field func(*Options) *string) flagDef {
	return flagDef{name: name, kind: kind, usage: usage, parse: func(o *Options, s Setting) error { *field(o) = s.Value(); return nil }}
}

// boolDef is a flag that is off unless it is given.
func boolDef(name, usage string, field func(*Options) *bool) flagDef {
	return flagDef{
		name: name, kind: kindBool, fallback: "false", usage: usage,
		parse: func(o *Options, s Setting) (err error) { *field(o), err = parseBool(s); return err },
	}
}

// baseDef is a flag for the base URL of an upstream, which by default stands
// below the workspace's serving endpoints.
func baseDef(name, what, below string, field func(*Options) *string) flagDef {
	return flagDef{
		name: name, kind: "url", usage: "where " + what + " go (default {host}/serving-endpoints" + below + ")",
		parse: func(o *Options, s Setting) (err error) {
			*field(o), err = parseBase(s, "for example https://dbc-1234.cloud.databricks.com/serving-endpoints")
			return err
		},
	}
}

// variable returns the environment variable of a flag.
func variable(flag string) string {
	return "PATROL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A textFlag is a flag to pflag: what it means is checked by parse, alike for
// flags and variables.
type textFlag struct {
	def    flagDef
	values []string
}

func (f *textFlag) Type() string   { return f.def.kind }
func (f *textFlag) String() string { return strings.Join(f.values, ",") }

// Set takes one occurrence of the flag. Of one that isn't to be repeated the last
// counts.
func (f *textFlag) Set(value string) error {
	if !f.def.repeated {
		f.values = nil
	}
	f.values = append(f.values, value)
	return nil
}

// AddFlags gives cmd the named flags.
func AddFlags(cmd *cobra.Command, names ...string) {
	for _, def := range flagDefs() {
		if !slices.Contains(names, def.name) {
			continue
		}
		usage := def.usage
		if def.fallback != "" {
			usage += " (default " + def.fallback + ")"
		}
		flag := cmd.Flags().VarPF(&textFlag{def: def}, def.name, "", usage+" ["+variable(def.name)+"]")
		if def.kind == kindBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// SetDefault gives one command another default than the others have.
func SetDefault(cmd *cobra.Command, name, fallback string) {
	flag := cmd.Flags().Lookup(name)
	if text, ok := flag.Value.(*textFlag); ok {
		flag.Usage = strings.Replace(flag.Usage, "(default "+text.def.fallback+")", "(default "+fallback+")", 1)
		text.def.fallback = fallback
	}
}

// FlagError says what is wrong with a flag, where pflag's words are for
// programmers.
func FlagError(cmd *cobra.Command, err error) error {
	hint := "see " + cmd.CommandPath() + " --help"
	if !cmd.HasParent() {
		hint = "flags come after the command: patrol serve --listen 127.0.0.1:4000; see patrol --help"
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		s := Setting{Flag: wrong.GetFlag().Name, Values: []string{wrong.GetValue()}, From: "--" + wrong.GetFlag().Name}
		var better error
		switch wrong.GetFlag().Value.Type() {
		case kindBool:
			_, better = parseBool(s)
		case "duration":
			_, better = parseDuration(s)
		}
		if better != nil {
			return better
		}
	}
	if _, typed, ok := strings.Cut(err.Error(), " in -"); ok {
		if name, _, _ := strings.Cut(typed, "="); cmd.Flags().Lookup(name) != nil {
			hint = "a flag begins with two dashes: --" + name
		}
	}
	return Usage(hint, "%s", err.Error())
}
