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
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", GroupID: groupService, Short: "Tell what is going on", Long: statusLong,
		Example: `  patrol status
  patrol status --profile work --json | jq .token.expires`,
		Args: noArgs, RunE: p.Run(func(ctx context.Context, o cli.Options) error { return status(ctx, o, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cli.AddFlags(cmd, "profile", "state-dir")
	return cmd
}

// status prints what the service is doing, or what is left of the last one.
func status(ctx context.Context, o cli.Options, asJSON bool) error {
	s, err := session.OpenKnown(ctx, o, "status")
	if err != nil {
		return err
	}
	defer s.Close()
	now, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if asJSON {
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
