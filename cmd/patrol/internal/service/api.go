package service

import (
	"context"
	"errors"

	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// api is what the service answers on the control socket.
func (s *Service) api() control.API {
	return control.API{
		Ping:      func() control.Ping { return s.info },
		Status:    s.status,
		Upstreams: s.proxy.Upstreams,
		Token:     s.token,
		Rotate:    s.Rotate,
		Login:     s.Login,
		Logout: func(ctx context.Context) (control.Logout, error) {
			// Whoever asked may leave: a logout isn't left half done.
			return s.Logout(context.WithoutCancel(ctx))
		},
	}
}

// token returns the token in use.
func (s *Service) token() (pat.Token, error) {
	t, err := s.Rotator.Current(), s.Rotator.Ready()
	return t, session.AtEdge(err)
}

// status tells what the service is doing.
func (s *Service) status() control.Status {
	n, status := s.proxy.Stats(), s.Rotator.Status()
	status.Files = s.fileStatuses()
	if err := s.ready(); err != nil && !status.Ready {
		status.Problem = err.Error()
	}
	return control.Status{
		Running:    true,
		NeedsLogin: errors.Is(s.Rotator.Ready(), rotator.ErrNeedsLogin),
		Service:    &s.info,
		Status:     status,
		Proxy: &control.Proxy{
			Requests: n.Requests, Waited: n.Waited, NoToken: n.NoToken, Failed: n.Failed, Stale: n.Stale, Resets: n.Resets, Unkept: n.Unkept,
			Refused: s.guard.Counters(),
		},
	}
}
