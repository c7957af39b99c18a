package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
)

func newVersion(p cli.Process) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  patrol version",
		Args:    noArgs,
		Run:     func(*cobra.Command, []string) { p.Printf("patrol %s\n", cli.Version()) },
	}
}
