package main

import (
	"context"
	"embed"
	"strings"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
)

// The groups that the overview shows the commands in.
const (
	groupService = "service"
	groupUse     = "use"
)

// newRoot returns the whole command line. Its errors go back to run: cobra
// prints nothing but help.
func newRoot(p cli.Process) *cobra.Command {
	root := &cobra.Command{
		Use:           "patrol",
		Short:         "Keep a Databricks token fresh and every tool signed in with it",
		Version:       cli.Version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		// With Args set, cobra leaves an unknown command to RunE.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetVersionTemplate("patrol {{.Version}}\n")
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages", "Flags.FlagUsagesWrapped 90"))
	root.SetFlagErrorFunc(cli.FlagError)
	root.AddGroup(
		&cobra.Group{ID: groupService, Title: "The service:"},
		&cobra.Group{ID: groupUse, Title: "Working with it:"},
	)
	root.AddCommand(newServe(p), newRotate(p), newLogin(p), newLogout(p), newStatus(p), newDoctor(p), newToken(p), newKeys(p), newExec(p), newEnv(p), newDemo(p), newVersion(p))
	root.SetHelpCommand(newHelp())
	addLongHelp(append(root.Commands(), root)...)
	return root
}

// inSession makes a command of what it does with the session that open returns.
func inSession(
	open func(context.Context, cli.Options) (*session.Session, error),
	do func(context.Context, cli.Options, *session.Session) error,
) func(context.Context, cli.Options) error {
	return func(ctx context.Context, o cli.Options) error {
		s, err := open(ctx, o)
		if err != nil {
			return err
		}
		defer s.Close()
		return do(ctx, o, s)
	}
}

// newHelp replaces cobra's help command, which exits with 0 on a topic that it
// doesn't know.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// unknownCommand says so and names what may have been meant.
func unknownCommand(root *cobra.Command, name string) error {
	hint := "see patrol --help"
	root.SuggestionsMinimumDistance = 2
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean patrol " + strings.Join(near, ", patrol ") + "?"
	}
	return cli.Usage(hint, "unknown command %s", cli.Quote(name))
}

// noArgs refuses arguments. It doesn't repeat them: one may be a token that was
// pasted where a prompt was expected.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return cli.Usage("see "+cmd.CommandPath()+" --help",
		"%s takes no arguments, but got %d", cmd.CommandPath(), len(args))
}

// helpTexts has the long help of each command, as its reader sees it, in a file that
// bears the command's name.
//
//go:embed help
var helpTexts embed.FS

// addLongHelp gives commands their long help.
func addLongHelp(commands ...*cobra.Command) {
	for _, cmd := range commands {
		if text, err := helpTexts.ReadFile("help/" + cmd.Name() + ".txt"); err == nil { // help itself has none
			cmd.Long = string(text)
		}
	}
}
