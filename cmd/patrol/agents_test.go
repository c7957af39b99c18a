package main

import (
	"bytes"
	"cmp"
	"fmt"
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

	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/demo"
	"patrol/rotator/workspacetest"
)

// machine is a home folder, a workspace, and the real binary between them.
type machine struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token

	binary  string   // "" for the test binary
	environ []string // besides demo.Environ's
	within  []string // a command that runs the binary; nil for none

	proxy   string   // base URL of the first address
	listen  []string // all addresses
	control *control.Client
	log     logBuffer
	cmd     *exec.Cmd
}

// A logBuffer takes a log that is read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newMachine(tb testing.TB, cfg workspacetest.Config) *machine {
	tb.Helper()
	ws, err := workspacetest.Start(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := ws.Close(); err != nil {
			tb.Error(err)
		}
	})
	return newHome(tb, ws)
}

// newHome is a home folder whose profile has a token of ws.
func newHome(tb testing.TB, ws *workspacetest.Server) *machine {
	tb.Helper()
	m := &machine{home: tb.TempDir(), ws: ws, first: ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})}
	m.signIn(tb, m.first.Value)
	return m
}

// signIn puts a token, or none, into the profile.
func (m *machine) signIn(tb testing.TB, token string) {
	tb.Helper()
	cfg := fmt.Sprintf("[DEFAULT]\nhost = %s\n", m.ws.URL)
	if token != "" {
		cfg += "token = " + token + "\n"
	}
	if err := os.WriteFile(filepath.Join(m.home, ".databrickscfg"), []byte(cfg), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// serve starts patrol serve and returns once it is ready.
func (m *machine) serve(tb testing.TB, flags ...string) {
	tb.Helper()
	m.start(tb, flags...)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if resp, err := http.Get(m.proxy + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			tb.Fatalf("patrol serve isn't ready:\n%s", m.log.String())
		}
	}
}

func (m *machine) state() string { return filepath.Join(m.home, "s") }

// command is one of patrol's commands on this machine.
func (m *machine) command(name string, flags ...string) *exec.Cmd {
	args := append(slices.Clone(m.within), cmp.Or(m.binary, "patrol"), name, "--state-dir", m.state())
	args = append(args, flags...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(demo.Environ(m.home), m.environ...)
	return cmd
}

// start starts patrol serve and returns once it listens, with a token or
// without.
func (m *machine) start(tb testing.TB, flags ...string) {
	tb.Helper()
	m.cmd = m.command("serve", append([]string{"--listen", "127.0.0.1:0", "--schedule", "0 0 1 1 *", "--log-level", "debug"}, flags...)...)
	m.cmd.Stderr = &m.log
	if err := m.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.stop(tb) })
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var err error
		if m.control, err = control.Dial(tb.Context(), m.state(), patience); err == nil {
			m.listen = m.control.Listen
			m.proxy = "http://" + m.listen[0]
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("patrol serve doesn't answer (%v):\n%s", err, m.log.String())
		}
	}
}

func (m *machine) stop(tb testing.TB) {
	tb.Helper()
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	if err := m.cmd.Wait(); err != nil {
		tb.Errorf("patrol serve: %v\n%s", err, m.log.String())
	}
	m.cmd = nil
	for _, t := range m.ws.Tokens() {
		if strings.Contains(m.log.String(), t.Value) {
			tb.Errorf("the value of token %v is in the log", t)
		}
	}
}

// wantSettled waits until the queue is empty and checks what is left.
func (m *machine) wantSettled(t *testing.T, minted int) {
	t.Helper()
	for end := time.Now().Add(patience); len(m.ws.Live()) > 1 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	all, live := m.ws.Tokens(), m.ws.Live()
	if len(live) != 1 || len(all) != minted+1 || live[0].ID != all[len(all)-1].ID {
		t.Errorf("%d tokens minted, want %d; %d live, want the last one", len(all)-1, minted, len(live))
	}
}

// wantValid checks that no request reached the workspace without a token that
// was valid at that time.
func (m *machine) wantValid(t *testing.T) {
	t.Helper()
	for _, r := range m.ws.Requests() {
		if !r.Valid || r.TokenHash == "" {
			t.Errorf("%s %s reached the workspace with a token that wasn't valid", r.Method, r.Path)
		}
	}
}

// BenchmarkServeReady measures from the start of the process until /readyz says
// yes, with a fresh token in the profile. The target is 200 ms.
func BenchmarkServeReady(b *testing.B) {
	m := newMachine(b, workspacetest.Config{KeepRequests: -1})
	m.serve(b)
	m.stop(b)
	for b.Loop() {
		m.serve(b)
		b.StopTimer()
		m.stop(b)
		b.StartTimer()
	}
}
