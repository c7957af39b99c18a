package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patrol/proxy"
	"patrol/proxy/guard"
)

// Options is what a command was told by flags and environment, checked. A field
// whose flag the command doesn't take is its zero value.
type Options struct {
	Process
	ProfileFlags // for what is said in return

	Host          Setting      // see target.Resolve
	Profile       Setting      // see target.SelectProfile
	Listen        []ListenAddr // at least one
	ListenGiven   bool         // Listen isn't the default
	Proxy         proxy.Config // what flags say of it
	CAFile        string       // which Proxy.RootCAs are from; "": none
	Guard         guard.Config // as Proxy
	MintProfile   string       // "": none
	KeepBootstrap bool
	Schedule      cron.Schedule // fires at least once
	CronSpec      string        // what Schedule was made of
	Lifetime      time.Duration // of each token, whole seconds
	Grace         time.Duration // from a written file to the revocation of the token before; may be 0
	Write         WriteFlag
	StateDir      string // absolute; "" for the profile's own
	Log           LogOptions
	Instance      string // "": as the ledger says
}

// Complain writes one line to Err.
func (o Options) Complain(kind, what string) { o.complain(o.Err, kind, what) }

// A Setting is what the user gave for one flag, and where.
type Setting struct {
	Flag   string   // "listen"
	Values []string // one, unless the flag may be repeated; never empty
	From   string   // "--listen" or "PATROL_LISTEN"; "" for the default
}

// Value is the only value of a flag that isn't repeatable, "" if there is none.
func (s Setting) Value() string {
	if len(s.Values) == 0 {
		return ""
	}
	return s.Values[0]
}

// Given reports whether the user gave it.
func (s Setting) Given() bool { return s.From != "" }

// Wrong returns an error of usage that names the flag or variable and one value
// of it.
func (s Setting) Wrong(value, what, hint string) error {
	name := s.From
	if name == "" {
		name = "--" + s.Flag
	}
	return Usage(hint, "%s %s: %s", name, Quote(value), what)
}

// Run makes what cobra runs of what a command does with its options.
func (p Process) Run(command func(context.Context, Options) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		o, err := p.Options(cmd)
		if err != nil {
			return err
		}
		return command(cmd.Context(), o)
	}
}

// Options reads the flags that cmd has, each from the command line, its variable
// or its default, and checks them. It warns of variables that are misspelled.
func (p Process) Options(cmd *cobra.Command) (Options, error) {
	o := Options{Process: p, ProfileFlags: ProfileFlagsOf(cmd)}
	o.warnOfTypos()
	for _, def := range flagDefs() {
		flag := cmd.Flags().Lookup(def.name)
		if flag == nil {
			continue
		}
		s, err := p.setting(flag)
		if err == nil {
			err = def.parse(&o, s)
		}
		if err != nil {
			return Options{}, err
		}
	}
	return o, o.check()
}

// ProfileFlagsOf returns what cmd's command line says of which patrol is meant.
func ProfileFlagsOf(cmd *cobra.Command) (all ProfileFlags) {
	for _, name := range []string{"profile", "state-dir"} {
		if flag := cmd.Flags().Lookup(name); flag != nil && flag.Changed {
			all += ProfileFlags(" --" + name + " " + ShellWord(strings.TrimSpace(flag.Value.String())))
		}
	}
	return all
}

// warnOfTypos names the variables that look like one of patrol's and aren't: what
// they should set is at its default.
func (o Options) warnOfTypos() {
	var known cobra.Command // it knows how to guess
	for _, def := range flagDefs() {
		known.AddCommand(&cobra.Command{Use: variable(def.name), Run: func(*cobra.Command, []string) {}})
	}
	for _, entry := range o.Env {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "PATROL_") || value == "" {
			continue
		}
		known.SuggestionsMinimumDistance = len(name) / len("PATROL_") // letters that are wrong
		if near := known.SuggestionsFor(name); len(near) > 0 && !slices.Contains(near, name) {
			o.Complain("patrol: warning", fmt.Sprintf("%s is no variable of patrol's and counts for nothing: did you mean %s?", name, near[0]))
		}
	}
}

// setting returns what counts for one flag: the command line, its variable or its
// default. A variable that is set to nothing counts as unset; a flag that is
// given nothing is a mistake.
func (p Process) setting(flag *pflag.Flag) (Setting, error) {
	text, ok := flag.Value.(*textFlag)
	if !ok {
		return Setting{}, fmt.Errorf("--%s isn't one of patrol's flags", flag.Name)
	}
	def := text.def
	s := Setting{Flag: def.name}
	var raw []string
	switch value := strings.TrimSpace(p.Get(variable(def.name))); {
	case flag.Changed:
		raw, s.From = text.values, "--"+def.name
	case value != "":
		raw, s.From = []string{value}, variable(def.name)
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
				return s, s.Wrong(value, "a value is missing", "leave it out, or give one")
			}
			s.Values = append(s.Values, v)
		}
	}
	return s, nil
}

// check looks at flags that must agree.
func (o Options) check() error {
	if o.Lifetime > 0 && o.Grace > 0 && o.Lifetime <= o.Grace {
		return Usage("a token replaced at half of its life should outlive its grace: raise --lifetime or lower --grace",
			"--lifetime %v is not longer than --grace %v", o.Lifetime, o.Grace)
	}
	for _, base := range []string{o.Proxy.Upstream, o.Proxy.AnthropicUpstream, o.Proxy.OpenAIUpstream, o.Proxy.GeminiUpstream} {
		if u, err := url.Parse(base); err == nil && IsOwnListener(u, o.Listen) {
			return Usage("an upstream is the Databricks side: {host}/serving-endpoints, or a gateway",
				"the upstream %s is the address that patrol itself listens on", u)
		}
	}
	return nil
}
