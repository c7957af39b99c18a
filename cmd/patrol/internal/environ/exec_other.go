//go:build !unix

package environ

import (
	"errors"
	"fmt"
	"os/exec"
	"os/signal"

	"patrol/cmd/patrol/internal/cli"
)

// Exec runs the command at path with changes made to the environment, and passes
// its exit code on. Ctrl-C reaches every process on the console, so we only have to
// outlive it.
func Exec(p cli.Process, path string, args []string, changes []Change) error {
	signal.Ignore()
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = Apply(p.Env, changes)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.In, p.Out, p.Err
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return cli.Silent(failed.ExitCode())
	}
	if err != nil {
		return &cli.Error{Code: exitNotRunnable, Err: fmt.Errorf("%s: %w", cli.Quote(path), err)}
	}
	return nil
}
