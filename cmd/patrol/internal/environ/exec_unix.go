//go:build unix

package environ

import (
	"errors"
	"fmt"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
)

// Exec puts the command at path in this process's place, with changes made to the
// environment: then signals, exit code, job control and terminal need no passing
// on. It returns only if that didn't work.
func Exec(p cli.Process, path string, args []string, changes []Change) error {
	err := syscall.Exec(path, args, Apply(p.Env, changes))
	hint := ""
	if errors.Is(err, syscall.ENOEXEC) {
		hint = "a script needs a first line such as #!/bin/sh"
	}
	return &cli.Error{Code: exitNotRunnable, Err: fmt.Errorf("%s: %w", cli.Quote(path), err), Hint: hint}
}
