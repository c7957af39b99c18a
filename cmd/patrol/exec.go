package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/environ"
)

func newExec(p cli.Process) *cobra.Command {
	cmd := cli.AddFlags(&cobra.Command{
		Use: "exec [flags] -- COMMAND [ARGUMENT...]", GroupID: groupUse, Short: "Run a command signed in",
		Example: `  patrol exec -- opencode
  patrol exec -- databricks jobs list
  patrol exec --profile work -- claude -p "what does this repository do?"
  patrol serve & patrol exec --wait-ready 30s -- ./agent     # in a container`,
		RunE: func(cmd *cobra.Command, args []string) error { return execute(p, cmd, args) },
	}, "wait-ready", "profile", "listen", "state-dir")
	// What stands after the command is the command's, flags too.
	cmd.Flags().SetInterspersed(false)
	return cmd
}

// execute runs the command in args.
func execute(p cli.Process, cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cli.Usage("for example: patrol exec -- opencode", "no command is given")
	}
	o, err := p.Options(cmd)
	if err == nil && o.WaitReady > 0 {
		err = environ.Await(cmd.Context(), o, o.WaitReady)
	}
	if err != nil {
		return err
	}
	changes, proxy, err := environ.SignIn(cmd.Context(), o)
	if err != nil {
		return err
	}
	path, err := environ.FindCommand(args[0])
	if err != nil {
		return err
	}
	if proxy.Closed != "" { // it is no error: the command may not need it, or may start before it
		o.Complain("patrol: warning", proxy.Closed)
	}
	return environ.Exec(p, path, args, changes)
}
