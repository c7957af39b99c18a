// Package session opens what a command works with, the same way for all of them:
// the profile and its state folder, the service that runs with it, and where none
// runs an engine of the command's own. Both are called alike.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator"
	"patrol/rotator/ledger"
)

// A Session is a command at work on one profile. It must be closed.
type Session struct {
	Profile target.Profile
	Dir     string          // the state folder, which need not exist
	Service *control.Client // the running service; nil if none runs

	o      cli.Options
	Log    *slog.Logger
	ledger *ledger.Ledger // with its lock; nil until it is needed
	engine *Engine        // nil until it is needed
}

// Open finds the profile, which need not exist, and the service that runs for it.
// It opens no ledger: what needs one does. One that runs for another workspace
// than --host's is an error.
func Open(ctx context.Context, o cli.Options) (*Session, error) {
	p, dir, err := Locate(o)
	if err != nil {
		return nil, err
	}
	s := &Session{Profile: p, Dir: dir, o: o, Log: o.Log.New(o.Err)}
	service, err := control.DialProfile(ctx, p.Name, dir, control.Patience)
	switch {
	case errors.Is(err, control.ErrNoService):
		return s, nil
	case err != nil:
		return nil, err
	}
	return s, s.use(service)
}

// OpenKnown is Open for commands that make nothing: a profile that was named must
// exist, or have a state.
func OpenKnown(ctx context.Context, o cli.Options) (*Session, error) {
	if _, _, err := LocateKnown(o); err != nil {
		return nil, err
	}
	return Open(ctx, o)
}

// Locate returns the profile that a command is about and its state folder.
// Neither need exist. With an error they are what SelectProfile takes them for.
func Locate(o cli.Options) (target.Profile, string, error) {
	p, err := target.SelectProfile(o)
	dir, noDir := state.Dir(o, p.Name)
	return p, dir, cmp.Or(err, noDir)
}

// LocateKnown is Locate, but a profile that was named must exist, or have a state.
func LocateKnown(o cli.Options) (p target.Profile, dir string, err error) {
	p, dir, err = Locate(o)
	if _, noState := os.Stat(dir); err == nil && noState != nil {
		err = p.MustExist()
	}
	return p, dir, err
}

// use works with a service that runs, unless --host is for another workspace.
func (s *Session) use(service *control.Client) error {
	s.Service = service
	if !s.o.Host.Given() {
		return nil
	}
	want, err := target.HostFlag(s.o.Host)
	if err != nil {
		return err
	}
	if have, err := target.VariableHost("the service's host", service.Host); err != nil || !have.MaySame(want) {
		return cli.Usage("leave --host out, or name the profile that belongs to it",
			"the service that runs for profile %s is for %s, not %s", service.Profile, service.Host, want)
	}
	return nil
}

// warnIfOlder says that the service is older than this command, which makes do with
// what that one answers.
func (s *Session) warnIfOlder() {
	if p := s.Service; p.Older() {
		s.o.Complain("patrol: warning", fmt.Sprintf("the service that runs for profile %s (pid %d, patrol %s) is older than this command; %s", p.Profile, p.PID, p.Version, control.StartAgain))
	}
}

// HasState reports whether a patrol has ever run for the profile.
func (s *Session) HasState() bool {
	_, err := os.Stat(s.Dir)
	return s.Service != nil || !errors.Is(err, os.ErrNotExist)
}

// Host returns the workspace: the running service's, or the one that is meant.
func (s *Session) Host() (string, error) {
	if s.Service != nil {
		return s.Service.Host, nil
	}
	t, err := target.Resolve(s.o)
	return t.Host.String(), err
}

// Worker returns the running service, or makes an engine of our own.
func (s *Session) Worker(ctx context.Context) (control.Worker, error) {
	if s.Service == nil {
		t, err := s.Lock(ctx)
		if err != nil {
			return nil, err
		}
		if s.Service == nil {
			return s.Engine(ctx, t, nil, nil)
		}
	}
	s.warnIfOlder()
	return s.Service, nil
}

// Rotate rotates now. Where another patrol has done so while we waited for it,
// the result is that one's.
func (s *Session) Rotate(ctx context.Context) (control.Rotation, error) {
	before, unreadable := s.entry(isCurrent)
	w, err := s.Worker(ctx)
	if err != nil {
		return control.Rotation{}, err
	}
	if s.engine != nil {
		// The entry's time doesn't tell: each start records the current token again.
		now, err := s.entry(isCurrent)
		if unreadable == nil && err == nil && now.Stage == ledger.Current && now.Ours() && now.Nonce != before.Nonce {
			return control.Rotation{Token: rotator.DescribeToken(now), Another: true}, nil
		}
		err = s.engine.Rotator.Start(ctx)
		if needsNone := s.engine.Minter != nil && errors.Is(err, rotator.ErrNeedsLogin); err != nil && !needsNone {
			return control.Rotation{}, AtEdge(err)
		}
	}
	return w.Rotate(ctx)
}

// AwaitRevoked waits until the token that Rotate has replaced is no longer to be
// revoked, and returns why it lives on if it does: "" is revoked or expired.
func (s *Session) AwaitRevoked(ctx context.Context, r control.Rotation) (left string, err error) {
	if s.Service != nil {
		err = s.awaitService(ctx, r.Old.ID)
	} else {
		err = s.engine.Rotator.AwaitRevoked(ctx, r.OldToken)
	}
	if err != nil {
		return "", err
	}
	e, _ := s.entry(func(e ledger.Entry) bool { // nothing is to be learned from a broken ledger
		return r.Old.ID != "" && e.ID == r.Old.ID && e.Stage == ledger.Left
	})
	return e.Reason, nil
}

// awaitService waits until the service's queue no longer has the token with this
// id, or any if that isn't known.
func (s *Session) awaitService(ctx context.Context, id string) error {
	const pause = 200 * time.Millisecond
	for {
		status, err := s.Service.Status(ctx)
		if err != nil {
			return fmt.Errorf("waiting for the old token to be revoked: %w", err)
		}
		if !slices.ContainsFunc(status.Retiring, func(old rotator.RetiringInfo) bool { return old.ID == id || id == "" }) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the old token to be revoked, which the service goes on with: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Close ends what runs, which may take as long as a rotation that is under way, and
// gives the state back.
func (s *Session) Close() {
	if s.engine != nil {
		s.engine.Rotator.Close()
		s.engine.Client.Close()
	}
	if s.ledger != nil {
		_ = s.ledger.Close() // it logs what it could not write
	}
}

// entry returns the first entry of the ledger that matches, the zero Entry if none
// does.
func (s *Session) entry(matches func(ledger.Entry) bool) (ledger.Entry, error) {
	_, entries, err := ledger.Read(s.Dir)
	i := slices.IndexFunc(entries, matches)
	if i < 0 {
		return ledger.Entry{}, err
	}
	return entries[i], err
}

// isCurrent reports whether an entry is that of the token in use.
func isCurrent(e ledger.Entry) bool { return e.Stage == ledger.Current }
