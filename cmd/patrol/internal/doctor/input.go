package doctor

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/target"
	"patrol/credwriter"
	"patrol/proxy"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// input is what the checks look at. What could not be had is an error that they
// report.
type input struct {
	o         cli.Options // those of the running service, as far as it says
	dir       string      // the state folder
	profile   profile
	targetErr error // why it isn't known what to keep fresh
	entries   []ledger.Entry
	ledgerErr error
	service   running
	client    *workspace.Client // nil: it isn't known which workspace is meant
	token     pat.Token         // to ask the workspace with; zero if there is none
	upstreams []proxy.Upstream
}

// profile is the profile, and what stands in it.
type profile struct {
	target.Profile
	read credwriter.Profile
	err  error
}

// running is the service that runs, and those of this user's other profiles.
type running struct {
	status control.Status // not Running: none runs, or err
	err    error
	others []control.Ping
}

// gather finds what can be had without the network.
func gather(ctx context.Context, o cli.Options) (*input, error) {
	in := &input{o: o}
	var err error
	in.profile.Profile, in.dir, err = session.LocateKnown(o)
	if cli.IsUsage(err) || in.profile.File == "" {
		return nil, err
	}
	// That the file can't be read the checks say.
	in.profile.read, in.profile.err = in.profile.Read()
	withoutMinter := o
	withoutMinter.MintProfile = "" // a check of its own
	var t target.Target
	t, in.targetErr = target.Resolve(withoutMinter)
	_, in.entries, in.ledgerErr = ledger.Read(in.dir)
	in.service.err = in.askService(ctx)
	in.service.others = control.Neighbors(ctx, o.Env, in.dir)
	host := in.service.status.Host
	if !in.service.status.Running && in.targetErr == nil {
		host = t.Host.String()
		in.standIn(t)
	}
	if host != "" {
		in.client, err = workspace.New(workspace.Config{Host: host, UserAgent: cli.UserAgent(), RootCAs: o.Proxy.RootCAs, Timeout: patience})
		return in, err
	}
	return in, nil
}

// askService learns what the running service knows, and what it was told.
func (in *input) askService(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := control.Dial(ctx, in.dir, control.Patience)
	if err != nil {
		return err
	}
	status, err := client.Status(ctx)
	if err != nil {
		return fmt.Errorf("asking the running service: %w", err)
	}
	in.service.status = status
	in.o.MintProfile = cmp.Or(client.MintProfile, in.o.MintProfile)
	in.o.Listen = nil
	for _, l := range client.Listen {
		if addr, err := netip.ParseAddrPort(l); err == nil {
			in.o.Listen = append(in.o.Listen, cli.ListenAddr{AddrPort: addr})
		}
	}
	in.token, _ = client.Token(ctx)         // none: the status says why
	in.upstreams, _ = client.Upstreams(ctx) // none: they aren't asked
	return nil
}

// standIn finds what a service that keeps t fresh would tell.
func (in *input) standIn(t target.Target) {
	if all, err := t.Candidates(); err == nil && len(all) > 0 {
		in.token = all[len(all)-1].Token // the profile's, if it has one
	}
	cfg := in.o.Proxy
	cfg.Host = t.Host.String()
	in.upstreams, _ = cfg.Upstreams()
}

// knows reports whether a token with this hash is in the ledger.
func (in *input) knows(hash string) bool {
	return hash != "" && slices.ContainsFunc(in.entries, func(e ledger.Entry) bool { return e.Hash == hash })
}

// login is what to do where there is no token that works.
func (in *input) login() string {
	switch {
	case in.client == nil && in.profile.read.Host == "":
		return "patrol login --host https://…"
	case len(in.service.others) > 0: // it may be another profile that is meant
		return "for a patrol of its own: patrol login --profile " + cli.ShellWord(in.profile.Name)
	}
	return "patrol login"
}
