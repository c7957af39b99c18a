package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/doctor"
)

func newDoctor(p cli.Process) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: "doctor", GroupID: groupService, Short: "Say what is wrong, and how to mend it",
		Example: `  patrol doctor
  patrol doctor --profile work --json | jq '.checks[] | select(.status != "ok")'`,
		Args: noArgs, RunE: p.Run(runDoctor),
	}, "json", "host", "profile", "listen", "upstream", "anthropic-upstream", "openai-upstream", "gemini-upstream",
		"gateway", "upstream-ca", "mint-profile", "schedule", "lifetime", "write", "state-dir")
}

// runDoctor makes all checks and prints what they found.
func runDoctor(ctx context.Context, o cli.Options) error {
	report, err := doctor.Run(ctx, o)
	if err != nil {
		return err
	}
	if o.JSON {
		o.PrintJSON(report)
	} else {
		report.Print(o.Streams)
	}
	if report.Failed > 0 {
		return cli.Silent(cli.ExitFailed)
	}
	return nil
}
