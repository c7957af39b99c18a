package main

import (
	"context"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/environ"
)

const envLong = `Print commands for a shell that sign it in with patrol, to be run by eval. They
- unset what was frozen when the shell started and would win over the fresh
  token: DATABRICKS_TOKEN, _HOST, _CLIENT_ID, _CLIENT_SECRET and the like;
- set DATABRICKS_CONFIG_PROFILE, so that Databricks tools read the profile;
- point OPENAI_BASE_URL and ANTHROPIC_BASE_URL at patrol's proxy, and set
  OPENAI_API_KEY and ANTHROPIC_AUTH_TOKEN to a dummy where no key is set, for
  the agents that don't start without one (a key that is set stays; the proxy
  takes it off the requests);
- add this machine to NO_PROXY and no_proxy.
The proxy is where the profile's running service says, else where --listen says.

No token is among them, so the shell stays signed in through every rotation.`

func newEnv(p cli.Process) *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use: "env", GroupID: groupUse, Short: "Print commands that sign a shell in", Long: envLong,
		Example: `  eval "$(patrol env)"                    # sh, bash, zsh
  patrol env --shell fish | source        # fish
  eval "$(patrol env --profile work)"`,
		Args: noArgs, RunE: p.Run(func(ctx context.Context, o cli.Options) error { return printEnv(ctx, o, shell) }),
	}
	cmd.Flags().StringVar(&shell, "shell", "posix", "the `shell` to write for: posix or fish")
	cli.AddFlags(cmd, "profile", "listen", "state-dir")
	return cmd
}

// printEnv prints the commands for a shell.
func printEnv(ctx context.Context, o cli.Options, shell string) error {
	write := map[string]func(environ.Change) string{"posix": environ.Change.POSIX, "fish": environ.Change.Fish}[shell]
	if write == nil {
		return cli.Usage("use posix (sh, bash, zsh, ksh) or fish", "--shell %s: no such shell", cli.Quote(shell))
	}
	changes, _, err := environ.SignIn(ctx, o)
	for _, c := range changes {
		o.Printf("%s\n", write(c))
	}
	return err
}
