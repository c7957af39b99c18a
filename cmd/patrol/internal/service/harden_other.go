//go:build !linux

package service

import (
	"errors"

	"patrol/cmd/patrol/internal/cli"
)

// leaveNoTrace keeps the token out of core dumps.
func leaveNoTrace(hard bool) error {
	if hard {
		return cli.Hinted(errors.New("--harden is for Linux: this system has nothing like it"), "leave --harden out")
	}
	return forbidCoreDumps()
}
