package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

const statusLong = `Tell what patrol is doing for a profile: the token in use and when it will be
rotated, the files that it is written to, and the old tokens that are still to
be revoked. If no service runs, it tells what the last one has left behind.

Exit codes: 0 if a service runs and all is well; 3 if it needs a new token; 1 if
no service runs, the last rotation failed, a file can't be written, or something
else is wrong, which the lines that begin with PROBLEM say.`

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
