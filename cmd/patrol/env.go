package main

import (
	"strings"

	"github.com/spf13/cobra"
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

// The shells that env can write for.
const (
	shellPOSIX = "posix"
	shellFish  = "fish"
)

func newEnv(a *app) *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use:     "env",
		GroupID: groupUse,
		Short:   "Print commands that sign a shell in",
		Long:    envLong,
		Example: `  eval "$(patrol env)"                    # sh, bash, zsh
  patrol env --shell fish | source        # fish
  eval "$(patrol env --profile work)"`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var line func(envChange) string
			switch shell {
			case shellPOSIX:
				line = posixLine
			case shellFish:
				line = fishLine
			default:
				return usageError("use posix (sh, bash, zsh, ksh) or fish", "--shell %s: no such shell", quote(shell))
			}
			changes, _, err := a.signIn(cmd)
			if err != nil {
				return err
			}
			for _, c := range changes {
				a.printf("%s\n", line(c))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&shell, "shell", shellPOSIX, "the `shell` to write for: posix or fish")
	addFlags(cmd, "profile", "listen", "state-dir")
	return cmd
}

func posixLine(c envChange) string {
	if c.unset {
		return "unset " + c.name
	}
	return "export " + c.name + "='" + strings.ReplaceAll(c.value, "'", `'\''`) + "'"
}

func fishLine(c envChange) string {
	if c.unset {
		// A universal variable would have to be erased for good, in every
		// session: it is covered instead.
		return "set -eg " + c.name + "; if set -q " + c.name + "; set -gx " + c.name + " ''; end"
	}
	return "set -gx " + c.name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(c.value) + "'"
}
