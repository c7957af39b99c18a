//go:build unix

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// become puts the command in this process's place: then signals, exit code, job
// control and terminal need no passing on. It returns only if that didn't work.
func (a *app) become(path string, args, environ []string) error {
	err := syscall.Exec(path, args, environ)
	hint := ""
	if errors.Is(err, syscall.ENOEXEC) {
		hint = "a script needs a first line such as #!/bin/sh"
	}
	return &exitError{code: exitNotRunnable, err: fmt.Errorf("%s: %w", quote(path), err), hint: hint}
}
