package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patrol/credwriter"
)

// options is what a command was told by flags and environment, checked. A field
// whose flag the command doesn't take is its zero value.
type options struct {
	host          setting      // see target
	profile       setting      // see selectProfile
	listen        []listenAddr // at least one
	listenGiven   bool         // listen isn't the default
	proxy         proxyOptions
	mintProfile   string // "": none
	keepBootstrap bool
	schedule      cron.Schedule // fires at least once
	cronSpec      string        // what schedule was made of
	lifetime      time.Duration // of each token, whole seconds
	grace         time.Duration // from a written file to the revocation of the token before; may be 0
	write         credwriter.Selection
	stateDir      string // absolute; "" for the profile's own
	level         slog.Level
	logFormat     string
	instance      string // "": as the ledger says
}

// A setting is what the user gave for one flag, and where.
type setting struct {
	flag   string   // "listen"
	values []string // one, unless the flag may be repeated; never empty
	from   string   // "--listen" or "PATROL_LISTEN"; "" for the default
}

// value is the only value of a flag that isn't repeatable, "" if there is none.
func (s setting) value() string {
	if len(s.values) == 0 {
		return ""
	}
	return s.values[0]
}

// given reports whether the user gave it.
func (s setting) given() bool { return s.from != "" }

// wrong returns an error of usage that names the flag or variable and one value
// of it.
func (s setting) wrong(value, what, hint string) error {
	name := s.from
	if name == "" {
		name = "--" + s.flag
	}
	return usageError(hint, "%s %s: %s", name, quote(value), what)
}

// A flagDef is one flag, as every command that takes it has it.
type flagDef struct {
	name     string
	kind     string // what stands in for the value in the help
	fallback string // the default
	usage    string
	repeated bool // may be repeated; a comma does the same
	isBool   bool // may stand without a value
	parse    func(*options, setting) error
}

// The default addresses: both loopbacks, because "localhost" may be tried as
// ::1 first.
const defaultListen = "127.0.0.1:4000,[::1]:4000"

// flagDefs returns every flag that has an environment variable, in the order in
// which they are checked.
func flagDefs() []flagDef {
	defs := []flagDef{
		{
			name: "host", kind: "url",
			usage: "the workspace, https://…; wins over DATABRICKS_HOST and the profile's",
			parse: func(o *options, s setting) error { o.host = s; return nil },
		},
		{
			name: "profile", kind: "name",
			usage: "the profile in .databrickscfg that is kept fresh; wins over DATABRICKS_CONFIG_PROFILE",
			parse: func(o *options, s setting) error { o.profile = s; return nil },
		},
		{
			name: "listen", kind: "host:port", fallback: defaultListen, repeated: true,
			usage: "address of the proxy; whoever doesn't come over loopback needs a key of --client-key-file or a token of patrol's; may be repeated",
			parse: parseListen,
		},
		{
			name: "schedule", kind: "cron", fallback: "0 */3 * * *",
			usage: "when to rotate: five fields of cron, @hourly, @every 90m …; in UTC unless it starts with CRON_TZ=Zone",
			parse: parseScheduleFlag,
		},
		{
			name: "lifetime", kind: "duration", fallback: "4h",
			usage: "lifetime of each token", parse: parseLifetime,
		},
		{
			name: "grace", kind: "duration", fallback: "5m",
			usage: "how long a replaced token lives on after the files are written", parse: parseGrace,
		},
		{
			name: "write", kind: "list", fallback: "auto", repeated: true,
			usage: "files to write: auto (databrickscfg, and those agents' that exist), or a list of databrickscfg, claude, opencode",
			parse: parseWrite,
		},
		{
			name: "instance", kind: "name",
			usage: "what this patrol calls itself in the comments of its tokens (default: made once, kept in the state)", parse: parseInstance,
		},
		{
			name: "state-dir", kind: "folder",
			usage: "where ledger, lock and control socket stand (default $XDG_STATE_HOME/patrol/PROFILE)", parse: parseStateDir,
		},
		{
			name: "log-level", kind: "level", fallback: "info",
			usage: "debug, info, warn or error", parse: parseLogLevel,
		},
		{
			name: "log-format", kind: "format", fallback: formatText,
			usage: "text or json", parse: parseLogFormat,
		},
	}
	defs = append(defs, flagDef{
		name: "mint-profile", kind: "name",
		usage: "a profile that signs in by OAuth, Azure …: it mints when the token in use is dead",
		parse: func(o *options, s setting) error { o.mintProfile = s.value(); return nil },
	}, flagDef{
		name: "keep-bootstrap", kind: "bool", fallback: "false", isBool: true,
		usage: "never revoke a token that patrol did not mint: the one that it was started with, or that was put into the profile or given to patrol login",
		parse: func(o *options, s setting) (err error) { o.keepBootstrap, err = parseBool(s); return err },
	})
	return append(defs, proxyFlagDefs()...)
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

// addFlags gives cmd the named flags.
func addFlags(cmd *cobra.Command, names ...string) {
	for _, def := range flagDefs() {
		if !slices.Contains(names, def.name) {
			continue
		}
		usage := def.usage
		if def.fallback != "" {
			usage += " (default " + def.fallback + ")"
		}
		flag := cmd.Flags().VarPF(&textFlag{def: def}, def.name, "", usage+" ["+variable(def.name)+"]")
		if def.isBool {
			flag.NoOptDefVal = "true"
		}
	}
}

// setDefault gives one command another default than the others have.
func setDefault(cmd *cobra.Command, name, fallback string) {
	flag := cmd.Flags().Lookup(name)
	if text, ok := flag.Value.(*textFlag); ok {
		flag.Usage = strings.Replace(flag.Usage, "(default "+text.def.fallback+")", "(default "+fallback+")", 1)
		text.def.fallback = fallback
	}
}

// options reads the flags that cmd has, each from the command line, its variable
// or its default, and checks them.
func (a *app) options(cmd *cobra.Command) (options, error) {
	var o options
	a.chosen = ""
	a.warnOfTypos()
	for _, def := range flagDefs() {
		flag := cmd.Flags().Lookup(def.name)
		if flag == nil {
			continue
		}
		s, err := a.setting(flag)
		if err != nil {
			return options{}, err
		}
		if err := def.parse(&o, s); err != nil {
			return options{}, err
		}
		if s.from == "--profile" || s.from == "--state-dir" {
			a.chosen += " " + s.from + " " + argument(s.value())
		}
	}
	return o, o.check()
}

// warnOfTypos names the variables that look like one of patrol's and aren't: what
// they should set is at its default.
func (a *app) warnOfTypos() {
	const short = len("PATROL_PROFILE")
	var known cobra.Command // it knows how to guess
	for _, def := range flagDefs() {
		known.AddCommand(&cobra.Command{Use: variable(def.name), Run: func(*cobra.Command, []string) {}})
	}
	for _, entry := range a.environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "PATROL_") || value == "" {
			continue
		}
		known.SuggestionsMinimumDistance = 1
		if len(name) > short {
			known.SuggestionsMinimumDistance = 2
		}
		if near := known.SuggestionsFor(name); len(near) > 0 && !slices.Contains(near, name) {
			a.complain("patrol: warning", fmt.Sprintf("%s is no variable of patrol's and counts for nothing: did you mean %s?", name, near[0]))
		}
	}
}

// setting returns what counts for one flag: the command line, its variable or its
// default. A variable that is set to nothing counts as unset; a flag that is
// given nothing is a mistake.
func (a *app) setting(flag *pflag.Flag) (setting, error) {
	text, ok := flag.Value.(*textFlag)
	if !ok {
		return setting{}, fmt.Errorf("--%s isn't one of patrol's flags", flag.Name)
	}
	def := text.def
	s := setting{flag: def.name}
	var raw []string
	switch value := strings.TrimSpace(a.getenv(variable(def.name))); {
	case flag.Changed:
		raw, s.from = text.values, "--"+def.name
	case value != "":
		raw, s.from = []string{value}, variable(def.name)
	case def.fallback != "":
		raw = []string{def.fallback}
	}
	for _, value := range raw {
		values := []string{value}
		if def.repeated {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			v = strings.TrimSpace(v)
			if v == "" {
				return s, s.wrong(value, "a value is missing", "leave it out, or give one")
			}
			s.values = append(s.values, v)
		}
	}
	return s, nil
}

// check looks at flags that must agree.
func (o options) check() error {
	if o.lifetime > 0 && o.grace > 0 && o.lifetime <= o.grace {
		return usageError("a token replaced at half of its life should outlive its grace: raise --lifetime or lower --grace",
			"--lifetime %v is not longer than --grace %v", o.lifetime, o.grace)
	}
	for _, u := range []*url.URL{o.proxy.upstream, o.proxy.anthropic, o.proxy.openAI, o.proxy.gemini} {
		if u != nil && ownListener(u, o.listen) {
			return usageError("an upstream is the Databricks side: {host}/serving-endpoints, or a gateway",
				"the upstream %s is the address that patrol itself listens on", u)
		}
	}
	return nil
}
