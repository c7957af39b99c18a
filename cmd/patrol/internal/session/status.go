package session

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// Status asks the service, or reads what the last one has left behind.
func (s *Session) Status(ctx context.Context) (control.Status, error) {
	if s.Service != nil {
		s.warnIfOlder()
		return s.Service.Status(ctx)
	}
	var status control.Status
	instance, entries, err := ledger.Read(s.Dir)
	if err != nil {
		return status, fmt.Errorf("reading the ledger: %w", err)
	}
	status.Service = &control.Ping{Profile: s.Profile.Name, State: s.Dir}
	status.Instance = instance
	status.Problem = "no patrol runs for this profile; start it with: patrol serve"
	if err := state.CheckPrivate(s.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		status.Problem = fmt.Sprintf("no patrol can be found in its state folder: %v", err)
		if hint := cli.HintOf(err); hint != "" {
			status.Problem += "; " + hint
		}
	}
	status.Files, status.Retiring = []rotator.FileInfo{}, []rotator.RetiringInfo{}
	for _, e := range entries {
		switch {
		case e.Stage == ledger.Current:
			status.Host = e.Host.String()
			status.Token = rotator.DescribeToken(e)
		case !e.Stage.Ended():
			status.Retiring = append(status.Retiring, rotator.RetiringInfo{ID: e.ID, Expires: e.Expiry, Waits: "the next start of patrol"})
		}
	}
	return status, nil
}

// Token asks the service for the token in use, or reads the profile.
func (s *Session) Token(ctx context.Context) (pat.Token, error) {
	if s.Service != nil {
		return s.Service.Token(ctx)
	}
	read, err := s.Profile.Read()
	if err != nil {
		return pat.Token{}, err
	}
	if read.Token.IsZero() {
		return pat.Token{}, cli.NeedsLogin(fmt.Errorf("there is no token in %s, and no patrol runs for it", s.Profile), "run patrol login, or put a token into the profile")
	}
	return read.Token, CheckAlive(ctx, s.o, s.Profile, s.Dir, read.Token)
}

// CheckAlive says so if the profile's token no longer works, as far as the ledger
// knows. Where it has only expired by this machine's clock, which may be wrong, the
// workspace is asked; if that can't say, the token may work.
func CheckAlive(ctx context.Context, o cli.Options, p target.Profile, dir string, t pat.Token) error {
	_, entries, err := ledger.Read(dir)
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	for _, e := range entries {
		if e.Hash != t.Hash() {
			continue
		}
		late := e.Stage == ledger.Expired || !e.LocalExpiry.IsZero() && !time.Now().Before(e.LocalExpiry)
		if e.Stage == ledger.Revoked || late && refused(ctx, o, e.Host, t) {
			return cli.NeedsLogin(fmt.Errorf("the token in %s has expired or was revoked, and no patrol runs for it", p), "run patrol login")
		}
	}
	return nil
}

// refused reports whether the workspace says that it doesn't take a token.
func refused(ctx context.Context, o cli.Options, host pat.Host, t pat.Token) bool {
	const patience = 5 * time.Second
	client, err := workspace.New(workspace.Config{Host: host.String(), UserAgent: cli.UserAgent(), RootCAs: o.Proxy.RootCAs, Timeout: patience})
	if err != nil {
		return false
	}
	defer client.Close()
	_, err = client.As(t).List(ctx)
	return errors.Is(err, workspace.ErrInvalidToken)
}
