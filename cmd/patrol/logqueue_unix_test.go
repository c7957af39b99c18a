//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/workspacetest"
)

// serveTo starts a service that logs each of its steps to stderr, and ends it.
func (s *site) serveTo(t *testing.T, stderr *os.File, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("patrol", append([]string{"serve", "--listen", "127.0.0.1:0", "--grace", "0s", "--log-level", "debug"}, args...)...)} //nolint:noctx // the cleanup ends it
	p.Env, p.Stderr = s.app.environ, stderr
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// works makes sure that a service rotates, hands the new token on at once, revokes
// the old one and answers requests about each of which it logs something.
func (s *site) works(t *testing.T, proxy string) {
	t.Helper()
	client := http.Client{Timeout: patience}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		rotate := exec.CommandContext(ctx, "patrol", "rotate")
		rotate.Env = s.app.environ
		out, err := rotate.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		resp, err := client.Post(proxy+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[]}`)) //nolint:noctx // it has a timeout
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
	}
	refuse(t, proxy, 20)
	await(t, func() bool { return len(s.Live()) == 1 && s.Live()[0].Minted })
}

// refuse has a proxy refuse requests, about each of which it logs a line.
func refuse(t *testing.T, proxy string, requests int) {
	t.Helper()
	client := http.Client{Timeout: patience}
	for range requests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodTrace, proxy+"/v1/models", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Fatal(resp.Status)
		}
	}
}

// ends makes sure that SIGTERM ends a service well, and soon.
func (p *process) ends(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the log's reader holds up the end of the service")
	}
}

// fullPipe returns a pipe that nothing more can be written to.
func fullPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	if err := w.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	line := []byte("what stood there before\n")
	for {
		if _, err := w.Write(line); errors.Is(err, os.ErrDeadlineExceeded) {
			return r, w
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A log that nobody reads holds up nothing. Whoever reads it again learns how much
// of it is missing.
func TestLogThatNobodyReads(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	r, w := fullPipe(t)
	p := s.serveTo(t, w)
	proxy := s.awaitReady(t)
	s.works(t, proxy)
	refuse(t, proxy, 4000) // more than the queue has room for
	s.works(t, proxy)
	_ = w.Close() // the service has its own
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(p, r)
		read <- err
	}()
	await(t, func() bool { return strings.Contains(p.output(), "lines of the log are missing") })
	p.ends(t)
	if err := <-read; err != nil {
		t.Error(err)
	}
	for _, want := range []string{`msg="patrol serves"`, `msg="stopping`} {
		if !strings.Contains(p.output(), want) {
			t.Errorf("%q isn't in the log:\n%.3000s", want, p.output())
		}
	}
}

// A reader that is only stopped, as by Ctrl-S, doesn't hold up the end either.
func TestLogStaysFull(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	_, w := fullPipe(t)
	p := s.serveTo(t, w)
	s.works(t, s.awaitReady(t))
	p.ends(t)
	refused := s.serveTo(t, w, "--lifetime", "bogus") // an error of usage is no reason to wait
	if err := refused.Wait(); err == nil || refused.ProcessState.ExitCode() != cli.ExitUsage {
		t.Error(refused.ProcessState)
	}
}

// A reader that dies takes its lines along and not the service.
func TestLogReaderDies(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	p := s.serveTo(t, w)
	proxy := s.awaitReady(t)
	_ = r.Close()
	s.works(t, proxy)
	p.ends(t)
}

// Every other command ends when nobody reads what it prints.
func TestReaderOfDemoLeaves(t *testing.T) {
	t.Parallel()
	a := newApp(t, "PATH="+os.Getenv("PATH"))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "patrol", "demo")
	cmd.Env, cmd.Stdout = a.environ, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	_ = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
		t.Errorf("ended by %v", cmd.ProcessState)
	}
}
