package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/atomicfile"
	"patrol/rotator/ledger"
)

// lockPatience is how long another patrol may hold the state without being a
// service: one that rotates once, starts or ends.
const lockPatience = 30 * time.Second

// Lock returns what is to be kept fresh, and opens its ledger, which only one patrol
// at a time has. If a service runs with it, or has started meanwhile, that is used
// instead; one that doesn't answer is an error.
func (s *Session) Lock(ctx context.Context) (target.Target, error) {
	t, err := target.Resolve(s.o)
	if err != nil {
		return t, err
	}
	if t.Ignored != "" {
		s.Log.Warn("DATABRICKS_TOKEN is set and not used", "why", t.Ignored)
	}
	if s.Service == nil {
		err = s.lock(ctx, lockPatience)
	}
	return t, err
}

// lock opens the ledger. For a patrol that has it and is no service it waits as long
// as patience; a service waits until it has ended.
func (s *Session) lock(ctx context.Context, patience time.Duration) error {
	if err := state.MakePrivate(s.Dir); err != nil {
		return err
	}
	const tell, pause = time.Second, 50 * time.Millisecond
	began, told := time.Now(), false
	for {
		if done, err := s.tryLock(ctx); done {
			return err
		}
		waited, holder := time.Since(began), state.ReadHolder(s.Dir)
		if waited > patience && (s.o.Command != state.ServeCommand || !holder.OneShot()) {
			return stillHeld(s.Dir, holder)
		}
		what := fmt.Sprintf("waiting for another patrol that is using %s: %s", s.Dir, holder)
		if waited > tell && !told {
			told = true
			s.o.Complain("patrol", what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// tryLock opens the ledger, or uses the service that runs with it. It reports false
// if another patrol has the ledger.
func (s *Session) tryLock(ctx context.Context) (done bool, err error) {
	led, err := ledger.Open(ledger.Config{Dir: s.Dir, Instance: s.o.Instance, Log: s.Log})
	if err == nil {
		s.ledger = led
		return true, s.noteHolder()
	}
	if !errors.Is(err, ledger.ErrLocked) {
		return true, cli.Hinted(err, "patrol must be able to write there, or it would forget what is still to be revoked; --state-dir names another folder")
	}
	service, err := control.DialProfile(ctx, s.Profile.Name, s.Dir, control.Patience)
	if errors.Is(err, control.ErrNoService) {
		return false, nil
	}
	if err == nil {
		err = s.use(service)
	}
	return true, err
}

// noteHolder records who has the state now, unless it holds tokens of another
// profile.
func (s *Session) noteHolder() error {
	if last := state.ReadHolder(s.Dir); last.Profile != "" && last.Profile != s.Profile.Name && len(s.ledger.Pending()) > 0 {
		return control.OtherProfile(s.Profile.Name, s.Dir, last.Profile, "the patrol that left tokens in")
	}
	us := state.Holder{PID: os.Getpid(), Command: s.o.Command, Profile: s.Profile.Name}
	if s.o.WaitRevoke {
		us.Command += " --wait-revoke"
	}
	err := us.Write(s.Dir)
	if atomicfile.IsDiskError(err) {
		s.Log.Warn("who has the state folder can't be noted there", "err", err)
		return nil
	}
	return err
}

// stillHeld says that the state was not given back.
func stillHeld(dir string, holder state.Holder) error {
	if holder.OneShot() {
		return cli.Hinted(fmt.Errorf("another patrol is using the state in %s: %s", dir, holder),
			"it ends by itself, with --wait-revoke only after the grace: try again then, or end it")
	}
	return control.Unresponsive(dir, fmt.Errorf("%s has no control socket", holder))
}
