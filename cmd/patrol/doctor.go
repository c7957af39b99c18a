package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/doctor"
)

func newDoctor(p cli.Process) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", GroupID: groupService, Short: "Say what is wrong, and how to mend it", Long: doctorLong,
		Example: `  patrol doctor
  patrol doctor --profile work --json | jq '.checks[] | select(.status != "ok")'`,
		Args: noArgs, RunE: p.Run(func(ctx context.Context, o cli.Options) error { return runDoctor(ctx, o, asJSON) }),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cli.AddFlags(cmd, "host", "profile", "listen", "upstream", "anthropic-upstream", "openai-upstream", "gemini-upstream",
		"gateway", "upstream-ca", "mint-profile", "schedule", "lifetime", "write", "state-dir")
	return cmd
}

// runDoctor makes all checks and prints what they found.
func runDoctor(ctx context.Context, o cli.Options, asJSON bool) error {
	report, err := doctor.Run(ctx, o)
	if err != nil {
		return err
	}
	if asJSON {
		o.PrintJSON(report)
	} else {
		report.Print(o.Streams)
	}
	if report.Failed > 0 {
		return cli.Silent(cli.ExitFailed)
	}
	return nil
}
