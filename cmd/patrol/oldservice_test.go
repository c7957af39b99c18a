//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// recorded returns what version 1 said on its control socket.
func recorded(t *testing.T, name string) json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "version1", "control", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// serveControl answers on the control socket of the site's service until the test
// ends.
func serveControl(t *testing.T, s *site, handler http.Handler) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ln, err := control.Listen(s.state, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, ln, handler, log, time.Second) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// A command that meets a service of version 1 says so, what to do, and what that
// service can tell.
func TestCommandMeetsVersion1(t *testing.T) {
	s := newSite(t, workspacetest.Config{})
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, name := range map[string]string{
		"GET /ping": "ping.json", "GET /status": "status.json", "GET /upstreams": "upstreams.json",
		"GET /token": "token.json", "POST /rotate": "rotate.json",
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(recorded(t, name)) })
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = w.Write(recorded(t, "refused.json"))
	})
	serveControl(t, s, mux)
	run := func(stdin string, args ...string) (code int, stdout, stderr string) {
		cmd := exec.CommandContext(t.Context(), "patrol", args...)
		var out, errs bytes.Buffer
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.app.environ, strings.NewReader(stdin), &out, &errs
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	const older, restart = "is older than this command", "start it again"
	for _, tt := range []struct {
		name, stdin, stdout string
		code                int
	}{
		{"status", "", "token          d24f85c9b8b4…, minted by patrol", 0},
		{"rotate", "", "rotated: token ef2683ff4b21… replaces d24f85c9b8b4…", 0},
		{"login", "dapi-bogus\n", "", cli.ExitUsage},
		{"logout", "", "", cli.ExitFailed}, // which this one doesn't know
	} {
		code, stdout, stderr := run(tt.stdin, tt.name)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || strings.Count(stderr, older) != 1 || !strings.Contains(stderr, restart) {
			t.Errorf("%s: exit code %d\n%s%s", tt.name, code, stdout, stderr)
		}
	}
	if code, stdout, stderr := run("", "token"); code != 0 || stdout != "dapi-of-version-1\n" || stderr != "" {
		t.Errorf("token: exit code %d\n%s%s", code, stdout, stderr)
	}
	if _, stdout, _ := run("", "doctor", "--json"); !strings.Contains(stdout, restart) || !strings.Contains(stdout, `"failed":`) {
		t.Errorf("doctor: %s", stdout)
	}
}
