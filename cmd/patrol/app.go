package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// app is what the process was started with. Commands take it from here and
// never from package os, so that tests can run them without a process.
type app struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer

	chosen string // the flags of the command line that say which patrol is meant: see advise
}

// printf writes to stdout. That it failed is reported by run.
func (a *app) printf(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }

// getenv returns the value of a variable, "" if it isn't set. Of two entries
// with one name the first counts, as in getenv(3).
func (a *app) getenv(name string) string {
	for _, entry := range a.environ {
		if n, value, ok := strings.Cut(entry, "="); ok && sameVariable(n, name) {
			return value
		}
	}
	return ""
}

// sameVariable reports whether two names name one variable here.
func sameVariable(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// home returns the user's home folder, which must exist: patrol's files stand
// where the user's tools look for theirs, and those look there.
func (a *app) home() (string, error) {
	name := "HOME"
	if runtime.GOOS == "windows" {
		name = "USERPROFILE"
	}
	dir := a.getenv(name)
	hint := "set " + name + " to your home folder: ~/.databrickscfg and patrol's state stand there"
	if dir == "" {
		return "", hinted(errors.New(name+" is not set"), hint)
	}
	if !filepath.IsAbs(dir) {
		return "", hinted(errors.New(name+" is "+quote(dir)+", which is not an absolute path"), hint)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", hinted(errors.New(name+" is "+quote(dir)+", which is not a folder"), hint)
	}
	return filepath.Clean(dir), nil
}
