package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/demo"
)

func newDemo(p cli.Process) *cobra.Command {
	return &cobra.Command{
		Use: "demo", GroupID: groupUse, Short: "Show it all against a built-in workspace", Long: demoLong,
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return demo.Run(cmd.Context(), p) },
	}
}
