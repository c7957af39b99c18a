package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/atomicfile"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// An Engine is what a service and a command of its own share: everything that a
// rotation needs, for one profile of one workspace.
type Engine struct {
	Rotator *rotator.Rotator
	Client  *workspace.Client
	Ledger  *ledger.Ledger
	Keys    *state.Keys
	Minter  *Minter // nil: none
}

// Engine wires the rooms, with the ledger of Lock. It sends and changes nothing.
// listen is where the proxy listens, and handovers takes its tokens; both are nil if
// there is no proxy.
func (s *Session) Engine(ctx context.Context, t target.Target, listen []netip.AddrPort, handovers chan<- pat.Handover) (*Engine, error) {
	o := s.o
	e := &Engine{Ledger: s.ledger}
	var mintAs *workspace.Session
	var err error
	if e.Keys, err = s.openKeys(); err != nil {
		return nil, err
	}
	e.Client, err = workspace.New(workspace.Config{Host: t.Host.String(), UserAgent: cli.UserAgent(), RootCAs: o.Proxy.RootCAs, Log: s.Log})
	if err == nil && o.MintProfile != "" {
		if e.Minter, err = NewMinter(ctx, e.Client, t.Profile.File, o.MintProfile); err == nil {
			mintAs = e.Minter.Session
		}
	}
	if err != nil {
		return nil, fmt.Errorf("setting up the workspace's client: %w", err)
	}
	files, err := Files(o, t.Profile, Owner(o, s.Dir, listen, e.Keys, e.Client.Host(), s.ledger.Knows))
	if err != nil {
		return nil, err
	}
	var agents []rotator.File
	for _, f := range files[1:] {
		agents = append(agents, f)
	}
	e.Rotator, err = rotator.New(rotator.Config{
		Workspace:     e.Client,
		MintAs:        mintAs,
		KeepBootstrap: o.KeepBootstrap,
		Ledger:        s.ledger,
		Handovers:     handovers,
		Profile:       files[0],
		Agents:        agents,
		Candidates:    t.Candidates,
		Schedule:      o.Schedule,
		Lifetime:      o.Lifetime,
		Grace:         o.Grace,
		Log:           s.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("setting up the rotator: %w", err)
	}
	s.engine = e
	return e, nil
}

// openKeys reads the client keys. A disk that can't be read or written is no reason not to
// serve, and a file that is broken none for a command that does without it.
func (s *Session) openKeys() (*state.Keys, error) {
	keys, err := state.OpenKeys(s.Dir)
	if atomicfile.IsDiskError(err) || err != nil && s.o.Command != state.ServeCommand {
		s.Log.Error("the client keys can't be read or made: what isn't in force lets nobody in, and what stands in agents' files beside patrol's proxy is left as it is, until `patrol keys new NAME` works, or patrol is started again", "err", err)
		err = nil
	}
	return keys, err
}

// Files returns the credential files that --write selects, the profile first.
func Files(o cli.Options, p target.Profile, owner credwriter.Owner) ([]*credwriter.File, error) {
	home, err := o.Home()
	if err != nil {
		return nil, err
	}
	_, claude, openCode := credwriter.Paths(o.Get, home)
	files := []*credwriter.File{credwriter.NewDatabrickscfg(p.File, p.Name, owner)}
	for _, w := range o.Write.Files {
		switch w.Format {
		case "claude":
			files = append(files, credwriter.NewClaude(claude, o.Write.Create, owner))
		case "opencode":
			files = append(files, credwriter.NewOpenCode(openCode, credwriter.OpenCodeConfigs(o.Get, home), o.Write.Create, owner))
		case "dotenv":
			files = append(files, credwriter.NewDotenv(w.Path, w.Variable, owner))
		case "file":
			files = append(files, credwriter.NewTokenFile(w.Path, owner))
		}
	}
	return files, nil
}

// Rotate rotates because a person asked for it. Where the token is dead it was the
// minter that failed.
func (e *Engine) Rotate(ctx context.Context) (control.Rotation, error) {
	r, err := e.Rotator.Rotate(ctx, "patrol rotate")
	if err != nil && e.Minter != nil && errors.Is(e.Rotator.Ready(), rotator.ErrNeedsLogin) {
		err = cli.NeedsLogin(fmt.Errorf("minting by %s (--mint-profile): %w", e.Minter, err), "mend that profile, or give patrol a token: patrol login")
	}
	return rotationMessage(r), AtEdge(err)
}

// Login goes on from a token that a person brought. The error says whether it is
// in use although something failed.
func (e *Engine) Login(ctx context.Context, token string) (control.Rotation, error) {
	r, err := e.Rotator.Login(ctx, pat.New(token, e.Client.Host().String()))
	if err != nil && len(r.Files) > 0 && !errors.Is(err, rotator.ErrNeedsLogin) {
		err = cli.Hinted(fmt.Errorf("the token works and is in use, but patrol could not mint one of its own: %w", err),
			"a running service tries again; or: patrol rotate")
	}
	return rotationMessage(r), AtEdge(err)
}

// Logout revokes what patrol minted, and cleans the files.
func (e *Engine) Logout(ctx context.Context) (rotator.LogoutResult, error) {
	return e.Rotator.Logout(ctx)
}

// rotationMessage is r for a person.
func rotationMessage(r rotator.Rotation) control.Rotation {
	return control.Rotation{
		Token:      rotator.TokenInfo{ID: r.Token.ID, Expires: r.Token.Expiry},
		Old:        rotator.TokenInfo{ID: r.Old.ID, Expires: r.Old.Expiry},
		Joined:     r.Joined,
		Took:       r.Took.Seconds(),
		Files:      r.Files,
		User:       r.User,
		UserBefore: r.UserBefore,
		OldToken:   r.Old,
	}
}

// AtEdge gives errors of the rooms the exit code that they mean to a person.
func AtEdge(err error) error {
	if _, ok := errors.AsType[*cli.Error](err); ok || err == nil {
		return err
	}
	if errors.Is(err, rotator.ErrNeedsLogin) {
		return cli.NeedsLogin(err, "")
	}
	if errors.Is(err, rotator.ErrConflict) {
		return cli.Usage("", "%w", err)
	}
	return err
}

// A Minter is the profile of --mint-profile: it mints when the token in use is
// dead. It signs in with the first call.
type Minter struct {
	target.Profile
	*workspace.Session
}

// NewMinter reads the profile of that name; client is its workspace's. Nothing is
// signed in yet.
func NewMinter(ctx context.Context, client *workspace.Client, file, name string) (*Minter, error) {
	session, err := client.AsProfile(ctx, file, name)
	if err != nil {
		return nil, cli.Usage("it names a profile for the same workspace that signs in by OAuth, Azure …", "--mint-profile: %w", err)
	}
	return &Minter{Profile: target.Profile{Name: name, File: file}, Session: session}, nil
}

// Fix is what to do about a minter that doesn't work.
func (m *Minter) Fix() string {
	return fmt.Sprintf("mend %s; until then a token that is dead needs: patrol login", m)
}

// WarnIfBroken warns if --mint-profile doesn't work, while there is time to mend
// it. The service does without until its token is dead.
func (m *Minter) WarnIfBroken(ctx context.Context, log *slog.Logger) {
	if m == nil {
		return
	}
	const enough = 30 * time.Second
	bounded, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	if _, err := m.List(bounded); err != nil && ctx.Err() == nil {
		log.Warn("--mint-profile doesn't work: when the token in use is dead, nothing can mint",
			"profile", m.Name, "file", m.File, "err", err, "mend", m.Fix())
	}
}
