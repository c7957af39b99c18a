// Package cli is the edge between a person and patrol. It reads and checks flags
// and variables, which become Options, asks for a token, and prints results, and
// errors with a hint and an exit code.
package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

// A Process is what patrol was started with. Commands take it from here and
// never from package os, so that tests can run them without a process.
type Process struct {
	Env
	Streams

	NoOwners bool // guard.Config's, of serve; tests alone set it
}

// Streams is where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Printf writes to Out. That it failed is reported at the end of the process:
// see CheckedWriter.
func (s Streams) Printf(format string, args ...any) { _, _ = fmt.Fprintf(s.Out, format, args...) }

// A CheckedWriter remembers that a write failed, so that no command has to check
// what it prints and none ends well whose output was lost.
type CheckedWriter struct {
	io.Writer
	Failed error // the first
}

func (c *CheckedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if err != nil && c.Failed == nil {
		c.Failed = err
	}
	return n, err
}

// Env is an environment as os.Environ returns it: all of it, because exec passes
// it on.
type Env []string

// Get returns the value of a variable, "" if it isn't set. Of two entries with
// one name the first counts, as in getenv(3).
func (e Env) Get(name string) string {
	for _, entry := range e {
		if n, value, ok := strings.Cut(entry, "="); ok && SameVariable(n, name) {
			return value
		}
	}
	return ""
}

// SameVariable reports whether two names name one variable here.
func SameVariable(a, b string) bool {
	if runtime.GOOS == "windows" {
		return strings.EqualFold(a, b)
	}
	return a == b
}

// Home returns the user's home folder, which must exist: patrol's files stand
// where the user's tools look for theirs, and those look there.
func (e Env) Home() (string, error) {
	name := "HOME"
	if runtime.GOOS == "windows" {
		name = "USERPROFILE"
	}
	dir := e.Get(name)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !filepath.IsAbs(dir) {
		return "", Hinted(fmt.Errorf("%s is %s, which is not the absolute path of a folder", name, Quote(dir)),
			"set "+name+" to your home folder: ~/.databrickscfg and patrol's state stand there")
	}
	return filepath.Clean(dir), nil
}

// Version describes this build: the version, or the commit where there is none, as
// Go has recorded it.
func Version() string {
	return fmt.Sprintf("%s (%s %s/%s)", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// UserAgent is what the workspace's log shows of us.
func UserAgent() string { return "patrol/" + strings.Trim(buildVersion(), "()") }

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
