//go:build unix

package environ

import (
	"errors"
	"fmt"
	"syscall"

	"patrol/cmd/patrol/internal/cli"
)

// execve puts the command in this process's place: then signals, exit code, job
// control and terminal need no passing on. It returns only if that didn't work.
func execve(_ cli.Streams, path string, args, environ []string) error {
	err := syscall.Exec(path, args, environ)
	hint := ""
	if errors.Is(err, syscall.ENOEXEC) {
		hint = "a script needs a first line such as #!/bin/sh"
	}
	return &cli.Error{Code: exitNotRunnable, Err: fmt.Errorf("%s: %w", cli.Quote(path), err), Hint: hint}
}
