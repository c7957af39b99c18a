package environ

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"patrol/cmd/patrol/internal/cli"
)

// Exit codes of a shell, for commands that it can't run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

// FindCommand finds a command as a shell does.
func FindCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err // the name is said below
	}
	code, hint := exitNotFound, ""
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		err, hint = errors.New("found in the current folder only"), "if you mean it: ./"+name
	case errors.Is(err, fs.ErrPermission), errors.Is(err, exec.ErrNotFound) && isUnrunnable(name):
		code, err, hint = exitNotRunnable, fs.ErrPermission, "chmod +x makes a file a command"
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		err = errors.New("command not found")
	default:
		code = exitNotRunnable
	}
	return "", &cli.Error{Code: code, Err: fmt.Errorf("%s: %w", cli.Quote(name), err), Hint: hint}
}

// isUnrunnable reports whether a file of that name stands in the PATH and isn't a
// command.
func isUnrunnable(name string) bool {
	if name == "" || strings.ContainsRune(name, filepath.Separator) {
		return false
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}
