package service

import (
	"errors"
	"fmt"
	"os"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator"
	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// Status tells what the service is doing.
func (s *Service) Status() control.Status {
	status := s.rotatorStatus()
	if err := s.ready(); err != nil && !status.Ready {
		status.Problem = err.Error()
	}
	return control.Status{
		Running:    true,
		NeedsLogin: errors.Is(s.Rotator.Ready(), rotator.ErrNeedsLogin),
		Service:    &s.info,
		Status:     status,
		Proxy: &control.Proxy{
			Stats: s.proxy.Stats(), Refused: s.guard.Counters(),
			Clients: s.guard.Clients(), ReplacedTokenAt: recent(s.guard.ReplacedTokenAt(), time.Now()),
		},
	}
}

// recent is at, or the zero time if that is a day ago: an agent that has sent nothing
// since then was restarted, or is gone.
func recent(at, now time.Time) time.Time {
	const day = 24 * time.Hour
	if now.Sub(at) >= day {
		return time.Time{}
	}
	return at
}

// ready says why there is no token that works, and what to do about it. Who
// asks the service has no other place for the hint of an error.
func (s *Service) ready() error {
	err := s.Rotator.Ready()
	if hint := cli.HintOf(err); hint != "" {
		err = fmt.Errorf("%w: %s", err, hint)
	}
	if s.Minter != nil && errors.Is(err, rotator.ErrNeedsLogin) {
		err = fmt.Errorf("%w; %s, which mints then (--mint-profile), has not yet: patrol doctor says why", err, s.Minter)
	}
	return err
}

// rotatorStatus looks, too, whether something else stands in a file's place: a
// rotation, which would find it, may be hours away.
func (s *Service) rotatorStatus() rotator.Status {
	status := s.Rotator.Status()
	for i := range status.Files {
		f := &status.Files[i]
		if info, err := os.Stat(f.Path); err == nil && f.Error == "" {
			if err := atomicfile.CheckRegular(f.Path, info); err != nil {
				f.Error = err.Error()
			}
		}
	}
	return status
}

// warnings says for /readyz what is wrong with the state folder, and which credential
// files can't be written. No supervisor should restart or starve a patrol for that: it
// serves, and a start would find the same. The profile's file comes first.
func (s *Service) warnings() (all []string) {
	if err := s.folder.Problem(); err != nil {
		all = append(all, pat.Redact(err.Error()))
	}
	for i, f := range s.rotatorStatus().Files {
		then := "it is tried again until it can be"
		if i == 0 {
			then = "no new token is minted until it can be"
		}
		if f.Error != "" {
			all = append(all, pat.Redact(f.Name+" can't be written: "+f.Error+"; "+then))
		}
	}
	return all
}
