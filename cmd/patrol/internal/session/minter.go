package session

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/workspace"
)

// A Minter is the profile of --mint-profile: it mints when the token in use is
// dead.
type Minter struct {
	target.Profile
	session *workspace.Session
}

// NewMinter reads the profile of that name; client is its workspace's. Nothing is
// signed in yet.
func NewMinter(ctx context.Context, client *workspace.Client, file, name string) (*Minter, error) {
	session, err := client.AsProfile(ctx, file, name)
	if err != nil {
		return nil, cli.Usage("it names a profile for the same workspace that signs in by OAuth, Azure …", "--mint-profile: %w", err)
	}
	return &Minter{Profile: target.Profile{Name: name, File: file}, session: session}, nil
}

// Try signs in and asks the workspace for the tokens of whom it has signed in
// as. It changes nothing, and blocks until that is answered or ctx is done.
func (m *Minter) Try(ctx context.Context) error {
	_, err := m.session.List(ctx)
	return err
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
	if err := m.Try(bounded); err != nil && ctx.Err() == nil {
		log.Warn("--mint-profile doesn't work: when the token in use is dead, nothing can mint",
			"profile", m.Name, "file", m.File, "err", err, "mend", m.Fix())
	}
}
