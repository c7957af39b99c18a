//go:build !unix

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"os/signal"
)

// become runs the command and passes its exit code on. Ctrl-C reaches every
// process on the console, so we only have to outlive it.
func (a *app) become(path string, args, environ []string) error {
	signal.Ignore()
	cmd := exec.Command(path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = environ
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitError{code: failed.ExitCode()}
	}
	if err != nil {
		return &exitError{code: exitNotRunnable, err: fmt.Errorf("%s: %w", quote(path), err)}
	}
	return nil
}
