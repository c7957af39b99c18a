package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// machine is a home folder, a workspace, and the real binary between them.
type machine struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token

	binary  string   // "" for the test binary
	environ []string // besides demoEnviron's

	proxy   string   // base URL of the first address
	listen  []string // all addresses
	control *controlClient
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

// start starts patrol serve and returns once it listens, with a token or
// without.
func (m *machine) start(tb testing.TB, flags ...string) {
	tb.Helper()
	state := filepath.Join(m.home, "s")
	m.cmd = exec.Command(cmp.Or(m.binary, "patrol"), append([]string{
		"serve", "--listen", "127.0.0.1:0", "--state-dir", state, "--schedule", "0 0 1 1 *", "--log-level", "debug",
	}, flags...)...)
	m.cmd.Env = append(demoEnviron(m.home), m.environ...)
	m.cmd.Stderr = &m.log
	if err := m.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.stop(tb) })
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		var p ping
		var err error
		if m.control, err = dialControl(tb.Context(), state, patience); err == nil {
			err = m.control.do(tb.Context(), http.MethodGet, pingPath, nil, &p)
		}
		if err == nil {
			m.proxy, m.listen = "http://"+p.Listen[0], p.Listen
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

// ask sends one request and returns an error for whatever isn't a whole
// answer with status 200.
func ask(ctx context.Context, c *http.Client, url, token string, stream bool) error {
	body := fmt.Sprintf(`{"model":"m","stream":%t,"messages":[{"role":"user","content":"hello"}]}`, stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("the answer was cut off: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, answer)
	case stream && !bytes.Contains(answer, []byte("data: [DONE]")):
		return fmt.Errorf("the stream has no end: %s", answer)
	}
	return nil
}

// TestAgentsThroughRotations: 64 clients that hold the bootstrap token for
// ever ask through the real binary while it rotates 50 times and revokes
// without a grace.
func TestAgentsThroughRotations(t *testing.T) {
	const clients, rotations, between = 64, 50, 100
	m := newMachine(t, workspacetest.Config{Events: 3})
	m.serve(t, "--grace", "0s")
	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int64
	var work sync.WaitGroup
	for i := range clients {
		work.Go(func() {
			c := &http.Client{Transport: new(http.Transport)}
			defer c.CloseIdleConnections()
			for ctx.Err() == nil {
				if err := ask(t.Context(), c, m.proxy+"/v1/chat/completions", m.first.Value, i%2 == 0); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for range rotations {
		for enough := answered.Load() + between; answered.Load() < enough && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
		var r rotateReply
		if err := m.control.do(t.Context(), http.MethodPost, "/rotate", nil, &r); err != nil {
			t.Errorf("rotating: %v", err)
		}
	}
	stop()
	work.Wait()
	m.wantSettled(t, rotations+1)
	t.Logf("%d requests answered", answered.Load())
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
