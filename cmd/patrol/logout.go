package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

func newLogout(p cli.Process) *cobra.Command {
	// What happened is printed anyway, so the log says little.
	return cli.AddFlags(&cobra.Command{
		Use: "logout", GroupID: groupService, Short: "Revoke what patrol minted, and clean the files",
		Example: `  patrol logout
  patrol logout --profile work`,
		Args: noArgs, RunE: p.Run(inSession(session.OpenKnown, logout)),
	}, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "write", "state-dir", "log-level=error", "log-format")
}

// logout has the service log out, or does it alone.
func logout(ctx context.Context, o cli.Options, s *session.Session) error {
	if !s.HasState() {
		o.Printf("there is nothing to do: patrol has made no token for %s\n", s.Profile)
		return nil
	}
	w, err := s.Worker(ctx)
	if err != nil {
		return err
	}
	l, err := w.Logout(ctx)
	if err != nil {
		return err
	}
	err = view.Logout(o.Streams, l, time.Now())
	if s.Service != nil {
		o.Printf("%s\n", o.Advise("the service stays up without a token, until: patrol login"))
	}
	return err
}
