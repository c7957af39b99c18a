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
	"patrol/rotator/atomicfile"
	"patrol/rotator/ledger"
)

// lockPatience is how long another patrol may hold the state without being a
// service: one that rotates once, starts or ends.
const lockPatience = 30 * time.Second

// acquire opens the ledger of the state folder. If a service runs with it, it
// returns that service instead; one that doesn't answer is an error. For a patrol
// that holds the ledger and is no service it waits as long as patience; a service
// waits until it has ended.
func (s *Session) acquire(ctx context.Context, patience time.Duration) (*ledger.Ledger, *control.Client, error) {
	if err := state.MakePrivate(s.Dir); err != nil {
		return nil, nil, err
	}
	const tell, pause = time.Second, 50 * time.Millisecond
	began, told := time.Now(), false
	for {
		led, err := ledger.Open(ledger.Config{Dir: s.Dir, Instance: s.o.Instance, Log: s.Log})
		if err == nil {
			if err := s.hold(led); err != nil {
				return nil, nil, errors.Join(err, led.Close())
			}
			return led, nil, nil
		}
		if !errors.Is(err, ledger.ErrLocked) {
			return nil, nil, cli.Hinted(err, "patrol must be able to write there, or it would forget what is still to be revoked; --state-dir names another folder")
		}
		service, err := control.DialProfile(ctx, s.Profile.Name, s.Dir, control.Patience)
		if err == nil || !errors.Is(err, control.ErrNoService) {
			return nil, service, err
		}
		waited, holder := time.Since(began), state.ReadHolder(s.Dir)
		if waited > patience && (s.command != state.ServeCommand || !holder.OneShot()) {
			return nil, nil, stillHeld(s.Dir, holder)
		}
		what := "waiting for another patrol that is using " + s.Dir
		if waited > tell && !told {
			told = true
			if holder.Alive() {
				s.o.Complain("patrol", what+": "+holder.String())
			} else {
				s.o.Complain("patrol", what)
			}
		}
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// hold records who has the state now, unless it holds tokens of another profile.
func (s *Session) hold(led *ledger.Ledger) error {
	if last := state.ReadHolder(s.Dir); last.Profile != "" && last.Profile != s.Profile.Name && len(led.Pending()) > 0 {
		return control.OtherProfile(s.Profile.Name, s.Dir, last.Profile, "the patrol that left tokens in")
	}
	err := state.Holder{PID: os.Getpid(), Command: s.command, Profile: s.Profile.Name}.Write(s.Dir)
	if atomicfile.IsDiskError(err) {
		s.Log.Warn("who has the state folder can't be noted there", "err", err)
		return nil
	}
	return err
}

// stillHeld says that the state was not given back.
func stillHeld(dir string, holder state.Holder) error {
	switch {
	case holder.OneShot():
		return cli.Hinted(fmt.Errorf("another patrol is using the state in %s: %s", dir, holder),
			"it ends by itself, with --wait-revoke only after the grace: try again then, or end it")
	case holder.Alive():
		return control.Unresponsive(dir, fmt.Errorf("%s has no control socket", holder))
	}
	return control.Unresponsive(dir, errors.New("it has no control socket"))
}
