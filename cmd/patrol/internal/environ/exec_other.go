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
	cmd := exec.Cmd{Path: path, Args: args, Env: Apply(p.Env, changes), Stdin: p.In, Stdout: p.Out, Stderr: p.Err}
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return cli.Silent(failed.ExitCode())
	}
	if err != nil {
		return &cli.Error{Code: exitNotRunnable, Err: fmt.Errorf("%s: %w", cli.Quote(path), err)}
	}
	return nil
}
