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
	"patrol/rotator/workspacetest"
)

// testService is patrol serve, as the real binary, with a home folder and a workspace
// of its own.
type testService struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token

	binary  string   // "" for the test binary
	environ []string // besides machineEnviron's
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

func newTestService(tb testing.TB, cfg workspacetest.Config) *testService {
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
	return newTestServiceOf(tb, ws)
}

// newTestServiceOf is one whose profile has a token of ws.
func newTestServiceOf(tb testing.TB, ws *workspacetest.Server) *testService {
	tb.Helper()
	svc := &testService{home: tb.TempDir(), ws: ws, first: ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})}
	svc.signIn(tb, svc.first.Value)
	return svc
}

// signIn puts a token, or none, into the profile.
func (svc *testService) signIn(tb testing.TB, token string) {
	tb.Helper()
	cfg := fmt.Sprintf("[DEFAULT]\nhost = %s\n", svc.ws.URL)
	if token != "" {
		cfg += "token = " + token + "\n"
	}
	if err := os.WriteFile(filepath.Join(svc.home, ".databrickscfg"), []byte(cfg), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// serve starts patrol serve and returns once it is ready.
func (svc *testService) serve(tb testing.TB, flags ...string) {
	tb.Helper()
	svc.start(tb, flags...)
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if resp, err := http.Get(svc.proxy + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(end) {
			tb.Fatalf("patrol serve isn't ready:\n%s", svc.log.String())
		}
	}
}

func (svc *testService) state() string { return filepath.Join(svc.home, "s") }

// command is one of patrol's commands on this machine.
func (svc *testService) command(name string, flags ...string) *exec.Cmd {
	args := append(slices.Clone(svc.within), cmp.Or(svc.binary, "patrol"), name, "--state-dir", svc.state())
	args = append(args, flags...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(machineEnviron(svc.home), svc.environ...)
	return cmd
}

// machineEnviron is the environment of a machine that knows nothing of Databricks but
// the files in its home.
func machineEnviron(home string) []string {
	environ := []string{"HOME=" + home, "USERPROFILE=" + home, "NO_PROXY=127.0.0.1,localhost,::1"}
	for _, name := range []string{"PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP"} {
		if value, ok := os.LookupEnv(name); ok {
			environ = append(environ, name+"="+value)
		}
	}
	return environ
}

// start starts patrol serve and returns once it listens, with a token or
// without.
func (svc *testService) start(tb testing.TB, flags ...string) {
	tb.Helper()
	svc.cmd = svc.command("serve", append([]string{"--listen", "127.0.0.1:0", "--schedule", "0 0 1 1 *", "--log-level", "debug"}, flags...)...)
	svc.cmd.Stderr = &svc.log
	if err := svc.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { svc.stop(tb) })
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var err error
		if svc.control, err = control.Dial(tb.Context(), svc.state(), patience); err == nil {
			svc.listen = svc.control.Listen
			svc.proxy = "http://" + svc.listen[0]
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("patrol serve doesn't answer (%v):\n%s", err, svc.log.String())
		}
	}
}

func (svc *testService) stop(tb testing.TB) {
	tb.Helper()
	if svc.cmd == nil {
		return
	}
	_ = svc.cmd.Process.Signal(syscall.SIGTERM)
	if err := svc.cmd.Wait(); err != nil {
		tb.Errorf("patrol serve: %v\n%s", err, svc.log.String())
	}
	svc.cmd = nil
	for _, t := range svc.ws.Tokens() {
		if strings.Contains(svc.log.String(), t.Value) {
			tb.Errorf("the value of token %v is in the log", t)
		}
	}
}

// wantSettled waits until the queue is empty and checks what is left.
func (svc *testService) wantSettled(t *testing.T, minted int) {
	t.Helper()
	for end := time.Now().Add(patience); len(svc.ws.Live()) > 1 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	all, live := svc.ws.Tokens(), svc.ws.Live()
	if len(live) != 1 || len(all) != minted+1 || live[0].ID != all[len(all)-1].ID {
		t.Errorf("%d tokens minted, want %d; %d live, want the last one", len(all)-1, minted, len(live))
	}
}

// wantValid checks that no request reached the workspace without a token that
// was valid at that time.
func (svc *testService) wantValid(t *testing.T) {
	t.Helper()
	for _, r := range svc.ws.Requests() {
		if !r.Valid {
			t.Errorf("%s %s reached the workspace with a token that wasn't valid", r.Method, r.Path)
		}
	}
}

// BenchmarkServeReady measures from the start of the process until /readyz says
// yes, with a fresh token in the profile. The target is 200 ms.
func BenchmarkServeReady(b *testing.B) {
	svc := newTestService(b, workspacetest.Config{NoRecord: true})
	svc.serve(b)
	svc.stop(b)
	for b.Loop() {
		svc.serve(b)
		b.StopTimer()
		svc.stop(b)
		b.StartTimer()
	}
}
