package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/doctor"
)

const doctorLong = `Look for what keeps patrol, or the tools that it signs in, from working, and say
how to mend it: the service, its systemd unit and its socket, the port, the
environment of this shell, the profile, the files, the schedule, the token, the
workspace's clock and token quota, tokens that patrol has lost track of, the
profile that mints when the token is dead, and the upstreams.

It changes nothing, and works with no service, no network and no token. What the
running service was told by flags it knows itself; where none runs, give this
command the same flags.

Exit codes: 0 if nothing fails, warnings or not; 1 if something does.`

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
