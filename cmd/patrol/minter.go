package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/workspace"
)

// A minter is the profile of --mint-profile: it mints when the token in use is
// dead.
type minter struct {
	name    string
	file    string // the path of .databrickscfg
	session *workspace.Session
}

// String names it for messages.
func (m *minter) String() string { return selection{name: m.name, file: m.file}.String() }

// newMinter reads the profile; client is its workspace's. Nothing is signed in
// yet.
func newMinter(ctx context.Context, client *workspace.Client, file, name string) (*minter, error) {
	session, err := client.AsProfile(ctx, file, name)
	if err != nil {
		return nil, usageError("it names a profile for the same workspace that signs in by OAuth, Azure …", "--mint-profile: %w", err)
	}
	return &minter{name: name, file: file, session: session}, nil
}

// checkMintProfile refuses a profile that can't mint when the token of p is
// dead. A file that can't be read is another's to report.
func checkMintProfile(name string, p selection) error {
	const right = "name another profile for the same workspace, one that signs in by OAuth, Azure …"
	if name == "" {
		return nil
	}
	if name == p.name {
		return usageError(right, "--mint-profile names %s, the profile that is kept fresh: when its token is dead, it can't mint", p)
	}
	read, err := credwriter.ReadProfile(p.file, name)
	if err == nil && !read.Exists {
		return selection{name: name, from: "--mint-profile", file: p.file}.unknown(right)
	}
	if err == nil && !read.Token.IsZero() && read.OtherAuth == "" {
		return usageError(right, "--mint-profile names profile %s in %s, which signs in with a token: nobody keeps that fresh, and when it is dead, it can't mint", name, p.file)
	}
	return nil
}

// try signs in and asks the workspace for the tokens of whom it has signed in
// as. It changes nothing, and blocks until that is answered or ctx is done.
func (m *minter) try(ctx context.Context) error {
	_, err := m.session.List(ctx)
	return err
}

// mend is what to do about a minter that doesn't work.
func (m *minter) mend() string {
	return fmt.Sprintf("mend %s; until then a token that is dead needs: patrol login", m)
}

// tryMinter warns if --mint-profile doesn't work, while there is time to mend
// it. The service does without until its token is dead.
func (c *core) tryMinter(ctx context.Context, log *slog.Logger) {
	if c.minter == nil {
		return
	}
	const enough = 30 * time.Second
	bounded, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	if err := c.minter.try(bounded); err != nil && ctx.Err() == nil {
		log.Warn("--mint-profile doesn't work: when the token in use is dead, nothing can mint",
			"profile", c.minter.name, "file", c.minter.file, "err", err, "mend", c.minter.mend())
	}
}

// rotationFailed gives the error of a rotation its exit code. Where the token is
// dead it was the minter that failed.
func (c *core) rotationFailed(err error) error {
	if err != nil && c.minter != nil && errors.Is(c.rotator.Ready(), rotator.ErrNeedsLogin) {
		return needsLogin(fmt.Errorf("minting by %s (--mint-profile): %w", c.minter, err), "mend that profile, or give patrol a token: patrol login")
	}
	return atEdge(err)
}

// checkMinter: can --mint-profile sign in?
func checkMinter(ctx context.Context, p *patient) []finding {
	const name = "mint-profile"
	profile := p.o.mintProfile
	if p.running != nil {
		profile = cmp.Or(p.status.Service.MintProfile, profile)
	}
	if profile == "" {
		return nil
	}
	if err := checkMintProfile(profile, p.selection); err != nil {
		return []finding{failed(name, "", err)}
	}
	if p.host == "" {
		return []finding{warning(name, "see profile", "not tried: it isn't known for which workspace")}
	}
	roots, err := p.o.proxy.rootCAs()
	if err != nil {
		return nil // checkWorkspace says so
	}
	client, err := workspace.New(workspace.Config{Host: p.host, UserAgent: userAgent(), RootCAs: roots, Timeout: doctorPatience})
	if err != nil {
		return []finding{failed(name, "", err)}
	}
	defer client.Close()
	m, err := newMinter(ctx, client, p.selection.file, profile)
	if err != nil {
		return []finding{failed(name, "", err)}
	}
	switch err := m.try(ctx); {
	case errors.Is(err, workspace.ErrPermission):
		return []finding{warning(name, "let whom it signs in as use personal access tokens, in the workspace's settings", "%s signs in, and may not ask for tokens: %v", m, err)}
	case err != nil:
		return []finding{failure(name, m.mend(), "%s can't mint when the token in use is dead: %v", m, err)}
	}
	return []finding{fine(name, "%s signs in", m)}
}
