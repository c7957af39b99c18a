package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/environ"
)

func newEnv(p cli.Process) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: "env", GroupID: groupUse, Short: "Print commands that sign a shell in",
		Example: `  eval "$(patrol env)"                    # sh, bash, zsh
  patrol env --shell fish | source        # fish
  eval "$(patrol env --profile work)"`,
		Args: noArgs, RunE: p.Run(printEnv),
	}, "shell", "profile", "listen", "state-dir")
}

// printEnv prints the commands for a shell.
func printEnv(ctx context.Context, o cli.Options) error {
	write := map[string]func(environ.Change) string{"posix": environ.Change.POSIX, "fish": environ.Change.Fish}[o.Shell]
	if write == nil {
		return cli.Usage("use posix (sh, bash, zsh, ksh) or fish", "--shell %s: no such shell", cli.Quote(o.Shell))
	}
	changes, _, err := environ.SignIn(ctx, o)
	for _, c := range changes {
		o.Printf("%s\n", write(c))
	}
	return err
}
