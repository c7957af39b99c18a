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
	name, kind string // kind stands in for the value in the help
	fallback   string // the default
	parse      func(*Options, Setting) error
	usage      string
	repeated   bool // may be repeated; a comma does the same
}

// kindBool is the kind of the flags that may stand without a value.
const kindBool = "bool"

// flagDefs returns every flag that has an environment variable, in the order in
// which they are checked. By default both loopbacks are listened on, because
// "localhost" may be tried as ::1 first.
func flagDefs() []flagDef {
	gateway := proxy.GatewayOfWorkspace
	return []flagDef{
		settingDef("host", "url", "the workspace, https://…; wins over DATABRICKS_HOST and the profile's", func(o *Options) *Setting { return &o.Host }),
		settingDef("profile", "name", "the profile in .databrickscfg that is kept fresh; wins over DATABRICKS_CONFIG_PROFILE", func(o *Options) *Setting { return &o.Profile }),
		{"listen", "host:port", "127.0.0.1:4000,[::1]:4000", parseListen, "address of the proxy; whoever doesn't come over loopback needs a key of --client-key-file or a token of patrol's; may be repeated", true},
		{"schedule", "cron", "0 */3 * * *", parseScheduleFlag, "when to rotate: five fields of cron, @hourly, @every 90m …; in UTC unless it starts with CRON_TZ=Zone", false},
		{"lifetime", "duration", "4h", parseLifetime, "lifetime of each token", false},
		{"grace", "duration", "5m", parseGrace, "how long a replaced token lives on after the files are written", false},
		{"write", "list", "auto", parseWrite, "files to write: auto (databrickscfg, and those agents' that exist), or a list of databrickscfg, claude, opencode, dotenv:PATH:NAME and file:PATH", true},
		{"instance", "name", "", parseInstance, "what this patrol calls itself in the comments of its tokens (default: made once, kept in the state)", false},
		{"state-dir", "folder", "", parseStateDir, "where ledger, lock and control socket stand (default $XDG_STATE_HOME/patrol/PROFILE)", false},
		{"log-level", "level", "info", parseLogLevel, "debug, info, warn or error", false},
		{"log-format", "format", formatText, parseLogFormat, "text or json", false},
		textDef("mint-profile", "name", "a profile that signs in by OAuth, Azure …: it mints when the token in use is dead", func(o *Options) *string { return &o.MintProfile }),
		boolDef("keep-bootstrap", "never revoke a token that patrol did not mint: the one that it was started with, or that was put into the profile or given to patrol login", func(o *Options) *bool { return &o.KeepBootstrap }),
		// Of the proxy alone:
		baseDef("upstream", "chat completions, completions and embeddings", "", func(o *Options) *string { return &o.Proxy.Upstream }),
		baseDef("anthropic-upstream", "Anthropic's messages", "/anthropic", func(o *Options) *string { return &o.Proxy.AnthropicUpstream }),
		baseDef("openai-upstream", "OpenAI's responses and models", "", func(o *Options) *string { return &o.Proxy.OpenAIUpstream }),
		baseDef("gemini-upstream", "Gemini's requests", "/google", func(o *Options) *string { return &o.Proxy.GeminiUpstream }),
		{"gateway", gateway + "|url", "", parseGateway, "derive the four upstreams from an AI gateway: " + gateway + " is {host}/ai-gateway; a URL is a dedicated gateway's host", false},
		{"upstream-ca", "file", "", parseCAFile, "trust the authorities in this PEM file too, besides those of the system", false},
		boolDef("allow-api", "serve /api/… of the workspace too; the token API never", func(o *Options) *bool { return &o.Proxy.AllowAPI }),
		{"filter", "on|off", "on", parseFilter, "mend what agents send that Databricks rejects, and what it sends that they misread", false},
		{"wait", "duration", "10s", parseWait, "how long a request waits for a token that works, before it gets 503", false},
		{"replay-limit", "bytes", "16777216", parseReplayLimit, "the longest request that is kept in memory, to be sent again if its token died on the way", false},
		{"allow-user", "user", "", parseAllowUser, "a further user of this machine who may use the proxy, by name or number; may be repeated", true},
		{"allow-host", "name", "", parseAllowHost, "a further name by which the proxy may be asked, besides localhost; may be repeated", true},
		textDef("client-key-file", "file", "keys, one a line, that let in clients whose user can't be known: not on this machine, or not on Linux", func(o *Options) *string { return &o.Guard.KeyFile }),
	}
}

// settingDef is a flag that others make sense of.
func settingDef(name, kind, usage string, field func(*Options) *Setting) flagDef {
	return flagDef{name: name, kind: kind, usage: usage, parse: func(o *Options, s Setting) error { *field(o) = s; return nil }}
}

// textDef is a flag whose value is taken as it is.
func textDef(name, kind, usage string, field func(*Options) *string) flagDef {
	return flagDef{name: name, kind: kind, usage: usage, parse: func(o *Options, s Setting) error { *field(o) = s.Value(); return nil }}
}

// boolDef is a flag that is off unless it is given.
func boolDef(name, usage string, field func(*Options) *bool) flagDef {
	return flagDef{name: name, kind: kindBool, fallback: "false", usage: usage, parse: func(o *Options, s Setting) (err error) {
		*field(o), err = parseBool(s)
		return err
	}}
}

// baseDef is a flag for the base URL of an upstream, which by default stands
// below the workspace's serving endpoints.
func baseDef(name, what, below string, field func(*Options) *string) flagDef {
	usage := "where " + what + " go (default {host}/serving-endpoints" + below + ")"
	return flagDef{name: name, kind: "url", usage: usage, parse: func(o *Options, s Setting) (err error) {
		*field(o), err = parseBase(s, "for example https://dbc-1234.cloud.databricks.com/serving-endpoints")
		return err
	}}
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
