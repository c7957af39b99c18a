package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
)

func newVersion(p cli.Process) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version of this binary, or the commit that it was built from, and the\nGo that built it.",
		Example: "  patrol version",
		Args:    noArgs,
		Run:     func(*cobra.Command, []string) { p.Printf("patrol %s\n", cli.Version()) },
	}
}
