package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

func newLogin(p cli.Process) *cobra.Command {
	// What happened is printed anyway, so the log says little.
	return cli.AddFlags(&cobra.Command{
		Use: "login", GroupID: groupService, Short: "Give patrol a new token to go on from",
		Example: `  patrol login
  patrol login --profile new --host https://dbc-1234.cloud.databricks.com
  pass show databricks | patrol login`,
		Args: noArgs, RunE: p.Run(inSession(session.Open, login)),
	}, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "lifetime", "grace", "write", "instance", "state-dir", "log-level=warn", "log-format")
}

// login gives a token to the service, or mints with it alone.
func login(ctx context.Context, o cli.Options, s *session.Session) error {
	host, err := s.Host()
	if err != nil {
		return err
	}
	token, err := o.AskToken(ctx, host)
	if err != nil {
		return err
	}
	w, err := s.Worker(ctx)
	if err != nil {
		return err
	}
	r, err := w.Login(ctx, token)
	if err != nil {
		return err
	}
	err = view.Login(o.Streams, r)
	if s.Service == nil {
		o.Printf("%s\n", o.Advise("no service runs: start one with: patrol serve"))
	}
	return err
}
