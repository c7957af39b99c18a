package session

import (
	"context"
	"errors"
	"fmt"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
)

// ChangeKeys makes a change to the state folder's client keys. When it returns without
// an error, a running service has taken it up.
func (s *Session) ChangeKeys(ctx context.Context, change func(*state.Keys) error) error {
	if err := state.MakePrivate(s.Dir); err != nil {
		return err
	}
	keys, err := state.OpenKeys(s.Dir)
	if err == nil {
		err = change(keys)
	}
	if err != nil {
		return err
	}
	running := s.Service
	if running == nil { // one may have begun meanwhile, and have read the file before
		running, err = control.DialProfile(ctx, s.Profile.Name, s.Dir, control.Patience)
		if errors.Is(err, control.ErrNoService) {
			return nil
		}
	}
	if err == nil {
		err = running.ReloadKeys(ctx)
	}
	if err != nil {
		hint := cli.HintOf(err)
		err = cli.Hinted(fmt.Errorf("the keys are changed, but the running service doesn't know yet: %w", err), hint)
	}
	return err
}
