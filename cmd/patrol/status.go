package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

func newStatus(p cli.Process) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: "status", GroupID: groupService, Short: "Tell what is going on",
		Example: `  patrol status
  patrol status --profile work --json | jq .token.expires`,
		Args: noArgs, RunE: p.Run(inSession(session.OpenKnown, status)),
	}, "json", "profile", "state-dir")
}

// status prints what the service is doing, or what is left of the last one.
func status(ctx context.Context, o cli.Options, s *session.Session) error {
	now, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if o.JSON {
		o.PrintJSON(now)
	} else {
		view.Status(o, now, time.Now())
	}
	switch {
	case now.Running && now.NeedsLogin:
		return cli.Silent(cli.ExitLogin)
	case now.Running && now.Ready && len(now.Problems()) == 0:
		return nil
	}
	return cli.Silent(cli.ExitFailed)
}
