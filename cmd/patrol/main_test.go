package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"patrol/cmd/patrol/internal/cli"
)

// canary is a token's value that no output may contain.
const canary = "dapi-canary-0123456789abcdef"

// noOwnersVariable, set to anything, has the test binary's patrol serve act as on a
// system that doesn't tell who owns a socket.
const noOwnersVariable = "TEST_NO_OWNERS"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"patrol":              func() { os.Exit(realMain(cli.Process{NoOwners: os.Getenv(noOwnersVariable) != ""})) },
		"patrol-on-slow-disk": patrolOnSlowDisk,
	})
}

// app is an environment with a home of its own.
type app struct{ environ cli.Env }

// newApp returns an app with a home of its own and this environment besides.
func newApp(t *testing.T, environ ...string) *app {
	t.Helper()
	return &app{environ: append([]string{"HOME=" + t.TempDir()}, environ...)}
}

func (a *app) getenv(name string) string { return a.environ.Get(name) }

// write makes a file below an app's home.
func (a *app) write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(a.getenv("HOME"), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
