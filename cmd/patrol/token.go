package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
)

func newToken(p cli.Process) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: "token", GroupID: groupUse, Short: "Print the current token",
		Example: `  curl -H "Authorization: Bearer $(patrol token)" https://dbc-1234.cloud.databricks.com/api/2.0/clusters/list`,
		Args:    noArgs, RunE: p.Run(inSession(session.OpenKnown, printToken)),
	}, "profile", "state-dir")
}

// printToken asks the service, or reads the profile if none runs.
func printToken(ctx context.Context, o cli.Options, s *session.Session) error {
	t, err := s.Token(ctx)
	if err == nil {
		o.Printf("%s\n", t.Expose())
	}
	return err
}
