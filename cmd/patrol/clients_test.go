//go:build clients && linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests with the tag clients run what others have made against the real binary:
// agents, another user, a browser. What they lack they install, and what they
// can't have they fail for: none of them is ever skipped. All traffic stays on
// this machine.

// An npmPackage is an agent in the version that these tests were written for. What belongs
// to it, each by a hash, stands in testdata/npm/COMMAND/package-lock.json; a new version is
// written into package.json there, and into the lock by
// "npm install --package-lock-only --ignore-scripts".
type npmPackage struct {
	name, version, command string

	script string // what npm would run after it, "" for nothing
}

var (
	openCodePackage = npmPackage{"opencode-ai", "1.18.33", "opencode", "postinstall.mjs"}
	claudePackage   = npmPackage{"@anthropic-ai/claude-code", "2.1.332", "claude", "install.cjs"}
	codexPackage    = npmPackage{"@openai/codex", "0.171.0", "codex", ""}
	geminiPackage   = npmPackage{"@google/gemini-cli", "0.61.0", "gemini", ""}
)

// install returns the package's command. It installs into the user's cache once.
func (p npmPackage) install(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "patrol-clients", p.name, p.version)
	command := filepath.Join(dir, "node_modules", ".bin", p.command)
	if _, err := os.Stat(command); err == nil {
		return command
	}
	began := time.Now()
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		t.Fatal(err)
	}
	// Beside its place and then there at once: an install that was
	// interrupted isn't taken for one.
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "new-") //nolint:usetesting // on the cache's disk, for the rename
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	const patience = 3 * time.Minute
	if err := os.CopyFS(fresh, os.DirFS(filepath.Join("testdata", "npm", p.command))); err != nil {
		t.Fatal(err)
	}
	// The script is run by name, since npm's versions differ in whether they do.
	program{
		args: []string{"npm", "install", "--prefix", fresh, "--ignore-scripts", "--no-audit", "--no-fund"},
		env:  os.Environ(), patience: patience,
	}.mustDo(t)
	if p.script != "" {
		program{args: []string{"node", p.script}, dir: filepath.Join(fresh, "node_modules", p.name), env: os.Environ(), patience: patience}.mustDo(t)
	}
	_ = os.RemoveAll(dir)
	if err := os.Rename(fresh, dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("installed %s %s in %v: %s", p.name, p.version, time.Since(began).Round(time.Second), dir)
	return command
}

// debian returns the path of a command, which it installs from Debian's package
// if it isn't there.
func debian(t *testing.T, command, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(command)
	if err == nil {
		return path
	}
	if os.Geteuid() != 0 {
		t.Fatalf("%s is missing: install Debian's package %s, or run this as root", command, pkg)
	}
	began := time.Now()
	apt := func(args ...string) {
		const patience = 3 * time.Minute
		program{
			args: append([]string{"apt-get", "-qq", "-o", "DPkg::Lock::Timeout=60"}, args...),
			env:  append(os.Environ(), "DEBIAN_FRONTEND=noninteractive"), patience: patience,
		}.mustDo(t)
	}
	apt("update")
	apt("install", "-y", "--no-install-recommends", pkg)
	if path, err = exec.LookPath(command); err != nil {
		t.Fatal(err)
	}
	t.Logf("installed Debian's %s in %v", pkg, time.Since(began).Round(time.Second))
	return path
}

// A program is run to its end.
type program struct {
	args     []string
	dir      string
	env      []string
	patience time.Duration
	uid      uint32 // whose it is; 0 is our own user
}

// do returns what the program printed, on both outputs. When its time is over,
// it ends with whatever it has started.
func (p program) do(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
	cmd.Dir, cmd.Env = p.dir, p.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: p.uid, Gid: p.uid}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // for children that keep the output open
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("it didn't end in time (%v): %w", p.patience, err)
	}
	return out.String(), err
}

// beforeDeadline ends with the test, and in time before all tests are ended: nothing
// that they have started lives on.
func beforeDeadline(t *testing.T) context.Context {
	t.Helper()
	deadline, ok := t.Deadline()
	if !ok {
		return t.Context()
	}
	const margin = 10 * time.Second
	ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(-margin))
	t.Cleanup(cancel)
	return ctx
}

// mustDo fails the test if the program does.
func (p program) mustDo(t *testing.T) string {
	t.Helper()
	out, err := p.do(beforeDeadline(t))
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(p.args, " "), err, out)
	}
	return out
}

// strays stands in for the rest of the world: a proxy that refuses at once and
// notes for whom it was asked.
type strays struct {
	url   string
	mu    sync.Mutex
	asked []string
}

func newStrays(t *testing.T) *strays {
	t.Helper()
	s := &strays{}
	s.url = listenHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Contains(s.asked, r.Host) {
			s.asked = append(s.asked, r.Host)
		}
		http.Error(w, "there is no internet in this test", http.StatusForbidden)
	}))
	return s
}

// hosts returns for whom it was asked.
func (s *strays) hosts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// environ points a program at it for all that isn't on this machine.
func (s *strays) environ() []string {
	var environ []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		environ = append(environ, name+"="+s.url, strings.ToLower(name)+"="+s.url)
	}
	return append(environ, "no_proxy=127.0.0.1,localhost,::1")
}

// listenHTTP serves h on a port of this machine until the test ends.
func listenHTTP(t *testing.T, h http.Handler) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, h)
	return "http://" + ln.Addr().String()
}

// serveOn serves h on ln until the test ends or stop is called.
func serveOn(t *testing.T, ln net.Listener, h http.Handler) (stop func()) {
	t.Helper()
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	stop = sync.OnceFunc(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// minted waits until patrol has replaced the profile's token by its own, and
// returns that.
func (svc *testService) minted(t *testing.T) (token string) {
	t.Helper()
	await(t, func() bool {
		live := svc.ws.Live()
		if len(live) != 1 || !live[0].Minted {
			return false
		}
		token = live[0].Value
		return true
	})
	return token
}
