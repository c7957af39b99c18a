package cli

import (
	"cmp"
	"context"
	"errors"
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
	"patrol/rotator/pat"
)

// Options is what a command was told by flags and environment, checked. A field
// whose flag the command doesn't take is its zero value.
type Options struct {
	Process
	ProfileFlags        // for what is said in return
	Command      string // its name: "rotate"

	Host          Setting       // see target.Resolve
	Profile       Setting       // see target.SelectProfile
	Listen        []ListenAddr  // at least one
	ListenGiven   bool          // Listen isn't the default
	Proxy         proxy.Config  // what flags say of it
	CAFile        string        // which Proxy.RootCAs are from; "": none
	Guard         guard.Config  // as Proxy
	OldTokens     time.Duration // for how long a token that was replaced lets a client in
	MintProfile   string        // "": none
	KeepBootstrap bool
	Schedule      cron.Schedule // fires at least once
	CronSpec      string        // what Schedule was made of
	Lifetime      time.Duration // of each token, whole seconds
	Grace         time.Duration // from a written file to the revocation of the token before; may be 0
	Write         WriteFlag
	StateDir      string // absolute; "" for the profile's own
	Log           LogOptions
	Harden        bool   // hide the process from others of the same user
	Instance      string // "": as the ledger says

	JSON       bool          // of doctor and status: print that
	WaitRevoke bool          // of rotate: stay until the old token is revoked
	WaitReady  time.Duration // of exec: for a token that works
	Shell      string        // of env: "posix" or "fish"
}

// Complain writes one line to Err.
func (o Options) Complain(kind, what string) { o.complain(o.Err, kind, what) }

// A Setting is what the user gave for one flag, and where.
type Setting struct {
	Flag   string   // "listen"
	Values []string // one, unless the flag may be repeated; none is empty
	From   string   // "--listen" or "PATROL_LISTEN"; "" for the default
}

// Value is the value of a flag, "" if there is none; those of one that is repeated
// are a list.
func (s Setting) Value() string { return strings.Join(s.Values, ",") }

// Given reports whether the user gave it.
func (s Setting) Given() bool { return s.From != "" }

// Wrong returns an error of usage that names the flag or variable and one value
// of it.
func (s Setting) Wrong(value, what, hint string) error {
	return Usage(hint, "%s %s: %s", cmp.Or(s.From, "--"+s.Flag), Quote(value), what)
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
	o := Options{Process: p, ProfileFlags: ProfileFlagsOf(cmd), Command: cmd.Name()}
	defs := flagDefs(&o)
	o.warnOfTypos(defs)
	for _, def := range defs {
		flag := cmd.Flags().Lookup(def.name)
		if flag == nil {
			continue
		}
		s, err := p.setting(def, flag)
		if err == nil {
			err = def.parse(s)
		}
		if err != nil {
			return Options{}, err
		}
	}
	if o.Lifetime > 0 && o.Lifetime <= o.Grace {
		return Options{}, Usage("a token replaced at half of its life should outlive its grace: raise --lifetime or lower --grace",
			"--lifetime %v is not longer than --grace %v", o.Lifetime, o.Grace)
	}
	return o, o.checkUpstreams()
}

// checkUpstreams refuses places to which the token must not go.
func (o Options) checkUpstreams() error {
	const right = "an upstream is the Databricks side, for example https://dbc-1234.cloud.databricks.com/serving-endpoints, or a gateway"
	cfg := o.Proxy
	cfg.Host = "https://workspace" // which isn't known yet
	all, err := cfg.Upstreams()
	if err != nil {
		return Usage(right, "%w", err)
	}
	for _, u := range all {
		at, err := url.Parse(u.URL)
		if err == nil {
			err = CheckHostPort(at)
		}
		if err == nil && !pat.HostOf(at).Private() {
			err = errors.New("the token may only go over https://, or to this machine")
		}
		if err != nil {
			return Usage(right, "%s %s: %w", u.Setting, u.URL, err)
		}
	}
	return nil
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
func (o Options) warnOfTypos(defs []flagDef) {
	var known cobra.Command // it knows how to guess
	for _, def := range defs {
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
func (p Process) setting(def flagDef, flag *pflag.Flag) (Setting, error) {
	s := Setting{Flag: def.name}
	value := strings.TrimSpace(p.Get(variable(def.name)))
	switch {
	case flag.Changed:
		value, s.From = flag.Value.String(), "--"+def.name
	case value != "":
		s.From = variable(def.name)
	case flag.DefValue != "":
		value = flag.DefValue
	default:
		return s, nil
	}
	s.Values = []string{value}
	if def.repeated {
		s.Values = strings.Split(value, ",")
	}
	for i, v := range s.Values {
		if s.Values[i] = strings.TrimSpace(v); s.Values[i] == "" {
			return s, s.Wrong(value, "a value is missing", "leave it out, or give one")
		}
	}
	return s, nil
}
