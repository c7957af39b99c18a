package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/credwriter"
	"patrol/proxy"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// input is what the checks look at. What could not be had is an error that they
// report.
type input struct {
	o         cli.Options
	dir       string // the state folder
	profile   profile
	target    target.Target
	targetErr error
	ledger    entries
	service   service
	token     pat.Token // to ask the workspace with; zero if there is none
	host      string    // the workspace; "" if it isn't known
	upstreams []proxy.Upstream
}

// profile is the profile, and what stands in it.
type profile struct {
	target.Profile
	read credwriter.Profile
	err  error
}

// entries is what the ledger knows.
type entries struct {
	instance string
	list     []ledger.Entry
	err      error
}

// knows reports whether a token with this hash is in the ledger.
func (e entries) knows(hash string) bool {
	return hash != "" && slices.ContainsFunc(e.list, func(e ledger.Entry) bool { return e.Hash == hash })
}

// service is the running service, and those of this user's other profiles.
type service struct {
	client *control.Client // nil: none runs, or err
	status control.Status
	err    error
	others []control.Ping
}

// none reports whether it is certain that no service runs.
func (s service) none() bool { return errors.Is(s.err, control.ErrNoService) }

// gather finds what can be had without the network.
func gather(ctx context.Context, o cli.Options) (*input, error) {
	in := &input{o: o}
	home, err := o.Home()
	if err != nil {
		return nil, err
	}
	in.profile.Profile, in.dir, err = session.LocateKnown(o)
	if cli.IsUsage(err) {
		return nil, err
	}
	if err != nil { // the file can't be read: the checks say so
		in.profile.Name = "DEFAULT"
		if o.Profile.Given() {
			in.profile.Name = o.Profile.Value()
		}
		in.profile.File, _, _ = credwriter.Paths(o.Get, home)
		if in.dir, err = state.Dir(o, in.profile.Name); err != nil {
			return nil, err
		}
	}
	in.profile.read, in.profile.err = in.profile.Read()
	withoutMinter := o
	withoutMinter.MintProfile = "" // a check of its own
	in.target, in.targetErr = target.Resolve(withoutMinter)
	in.ledger.instance, in.ledger.list, in.ledger.err = ledger.Read(in.dir)
	in.askService(ctx)
	in.service.others = control.Neighbors(ctx, o.Env, in.dir)
	in.fillIn()
	return in, nil
}

// askService learns what the running service knows.
func (in *input) askService(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := control.Dial(ctx, in.dir, control.Patience)
	if err != nil {
		in.service.err = err
		return
	}
	if in.service.status, err = client.Status(ctx); err != nil {
		in.service.err = fmt.Errorf("asking the running service: %w", err)
		return
	}
	in.service.client, in.host = client, in.service.status.Host
	if schedule, err := cli.ParseSchedule(client.Schedule, time.Now()); err == nil { // an older service doesn't say
		in.o.Schedule, in.o.CronSpec = schedule, client.Schedule
	}
	in.o.MintProfile = cmp.Or(client.MintProfile, in.o.MintProfile)
	if token, err := client.Token(ctx); err == nil {
		in.token = token
	}
	in.upstreams, _ = client.Upstreams(ctx) // an older service has none
}

// fillIn finds what the service could not tell.
func (in *input) fillIn() {
	if in.targetErr != nil {
		return
	}
	if in.host == "" {
		in.host = in.target.Host.String()
	}
	if all, err := in.target.Candidates(); err == nil && len(all) > 0 && in.service.client == nil {
		in.token = all[len(all)-1].Token // the profile's, if it has one
	}
	if len(in.upstreams) == 0 {
		cfg, host := in.o.Proxy, in.target.Host
		host.Workspace = "" // a path is put behind these URLs
		cfg.Host = host.String()
		in.upstreams, _ = cfg.Upstreams()
	}
}

// listens returns the addresses of the proxy: those of the running service, or
// those that one would have.
func (in *input) listens() (all []netip.AddrPort) {
	if in.service.client == nil {
		for _, l := range in.o.Listen {
			all = append(all, l.AddrPort)
		}
		return all
	}
	for _, l := range in.service.client.Listen {
		if addr, err := netip.ParseAddrPort(l); err == nil {
			all = append(all, addr)
		}
	}
	return all
}

// isProxy reports whether a URL's host is the proxy.
func (in *input) isProxy(host string) bool {
	addr, err := netip.ParseAddrPort(strings.Replace(host, "localhost", "127.0.0.1", 1))
	return err == nil && slices.ContainsFunc(in.listens(), func(ln netip.AddrPort) bool { return cli.Reaches(addr, ln) })
}

// login is what to do where there is no token that works.
func (in *input) login() string {
	if in.isWrongDefault() {
		return "see default; or, for a patrol of its own: patrol login"
	}
	if in.host == "" && in.profile.read.Host == "" {
		return "patrol login --host https://…"
	}
	return "patrol login"
}

// isWrongDefault reports whether a setting in the file, and nothing that the user
// said, picks this profile, while a patrol runs for another and none for this.
func (in *input) isWrongDefault() bool {
	if len(in.service.others) == 0 || !in.service.none() || in.profile.From != "" || in.profile.Name == "DEFAULT" {
		return false
	}
	read, err := credwriter.ReadProfile(in.profile.File, "")
	return err == nil && read.Name == in.profile.Name
}

// serveBeside is the command for a service beside those of other profiles.
func (in *input) serveBeside() string {
	return fmt.Sprintf("patrol serve --profile %s --listen 127.0.0.1:4001", cli.ShellWord(in.profile.Name))
}
