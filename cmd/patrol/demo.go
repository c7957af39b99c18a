package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/demo"
	"patrol/cmd/patrol/internal/state"
)

func newDemo(p cli.Process) *cobra.Command {
	return &cobra.Command{
		Use: "demo", GroupID: groupUse, Short: "Show it all against a built-in workspace",
		Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error { return demo.Run(cmd.Context(), p.Streams, serveHere) },
	}
}

// serveHere is "patrol serve" in this process.
func serveHere(ctx context.Context, p cli.Process, flags ...string) error {
	root := newRoot(p)
	root.SetArgs(append([]string{state.ServeCommand}, flags...))
	return root.ExecuteContext(ctx)
}
