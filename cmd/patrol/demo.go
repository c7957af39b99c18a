package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/demo"
)

const demoLong = `Show the main job in 15 seconds, on this machine alone: a Databricks workspace in
memory, "patrol serve" with a schedule of seconds, and five clients that were
all signed in with the same token at the start. Nothing of yours is read or
written: the demo has a home folder of its own, and removes it.

Two clients are there to show what happens without patrol, and fail from the
first rotation on. Exit code 1 if any of the others failed.`

func newDemo(p cli.Process) *cobra.Command {
	return &cobra.Command{
		Use: "demo", GroupID: groupUse, Short: "Show it all against a built-in workspace", Long: demoLong,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return demo.Run(cmd.Context(), p) },
	}
}
