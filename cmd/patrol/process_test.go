//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/environ"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/workspacetest"
)

// A site is a workspace, and a home whose profile has a token of it.
type site struct {
	*workspacetest.Workspace
	app   *app
	url   string
	ca    []byte // who signs its certificate, as a PEM file; nil without TLS
	state string
}

// shortDir returns a folder whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "patrol-test-") //nolint:usetesting // the path of t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func newSite(t *testing.T, cfg workspacetest.Config) *site {
	t.Helper()
	w, err := workspacetest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	a := newApp(t, "PATH="+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+shortDir(t), "GORACE=atexit_sleep_ms=0")
	dir, err := state.Dir(cli.Options{Process: cli.Process{Env: a.environ}}, "DEFAULT")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Workspace: w.Workspace, app: a, url: w.URL, ca: w.CA, state: dir}
	a.write(t, ".databrickscfg", s.profile())
	return s
}

// profile is a .databrickscfg with a new token.
func (s *site) profile() string {
	return fmt.Sprintf("[DEFAULT]\nhost = %s\ntoken = %s\n", s.url, s.Issue(workspacetest.IssueOptions{}).Value)
}

// minted counts the tokens that patrol has minted.
func (s *site) minted() (n int) {
	for _, t := range s.Tokens() {
		if t.Minted {
			n++
		}
	}
	return n
}

// A process is a patrol that was started.
type process struct {
	*exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer // stdout and stderr
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// patrol starts the binary; the test ends it.
func (s *site) patrol(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("patrol", args...)} //nolint:noctx // the cleanup ends it
	p.Env = s.app.environ
	p.Stdout, p.Stderr = p, p
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		if t.Failed() {
			t.Logf("patrol %s:\n%s", strings.Join(args, " "), p.output())
		}
	})
	return p
}

// await waits until what is true.
func await(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !what(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

// serve starts a service and returns it with its proxy's URL once it has minted.
func (s *site) serve(t *testing.T, args ...string) (p *process, proxy string) {
	t.Helper()
	p = s.patrol(t, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	return p, s.awaitReady(t)
}

// awaitReady waits until the service has minted, and returns its proxy's URL.
func (s *site) awaitReady(t *testing.T) (proxy string) {
	t.Helper()
	await(t, func() bool {
		c, err := control.Dial(t.Context(), s.state, patience)
		if err != nil {
			return false
		}
		report, err := c.Status(t.Context())
		if err != nil || !report.Ready || !report.Token.Ours {
			return false
		}
		proxy = "http://" + report.Service.Listen[0]
		profile := target.Profile{Name: "DEFAULT", File: filepath.Join(s.app.getenv("HOME"), ".databrickscfg")}
		return environ.CheckSignedIn(t.Context(), profile, s.state) == nil
	})
	return proxy
}

// Ten at once, alone: the first rotates, and the others have what they wanted.
func TestRotateTenAtOnceAlone(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	s := newSite(t, workspacetest.Config{Fault: func(r *http.Request) *workspacetest.Fault {
		if strings.HasSuffix(r.URL.Path, "/token/create") {
			<-goOn
		}
		return nil
	}})
	var all []*process
	for range 10 {
		all = append(all, s.patrol(t, "rotate"))
	}
	await(t, func() bool {
		waiting := 0
		for _, p := range all {
			if strings.Contains(p.output(), "waiting for another patrol") {
				waiting++
			}
		}
		return waiting == len(all)-1
	})
	close(goOn)
	rotated := 0
	for _, p := range all {
		if err := p.Wait(); err != nil {
			t.Errorf("%v", err)
		}
		switch out := p.output(); {
		case strings.Contains(out, "another patrol has just rotated: token"):
		case strings.Contains(out, "rotated: token"):
			rotated++
		default:
			t.Errorf("it doesn't say what happened: %s", out)
		}
	}
	if rotated != 1 || s.minted() != 1 {
		t.Errorf("%d rotated, %d tokens minted; want 1", rotated, s.minted())
	}
}

// Several at once, alone, where nothing can be minted: none says that another has.
func TestRotateFailsAtOnceAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	if p := s.patrol(t, "rotate", "--grace", "0s"); p.Wait() != nil {
		t.Fatal(p.output())
	}
	s.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Status: http.StatusInternalServerError, Times: workspacetest.Always})
	var all []*process
	for range 4 {
		all = append(all, s.patrol(t, "rotate", "--grace", "0s"))
	}
	for _, p := range all {
		_ = p.Wait()
		if code := p.ProcessState.ExitCode(); code != cli.ExitFailed {
			t.Errorf("exit code %d: %s", code, p.output())
		}
	}
}

// Ten at once, of a service: joined or one after the other.
func TestRotateTenAtOnceService(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.serve(t)
	before := s.minted()
	s.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Slow, Delay: 200 * time.Millisecond, Times: workspacetest.Always})
	var all []*process
	for range 10 {
		all = append(all, s.patrol(t, "rotate"))
	}
	rotated := 0
	for _, p := range all {
		if err := p.Wait(); err != nil {
			t.Errorf("%v", err)
		}
		switch out := p.output(); {
		case strings.HasPrefix(out, "rotated: token"):
			rotated++
		case !strings.HasPrefix(out, "joined a rotation that was under way: token"):
			t.Errorf("it doesn't say what happened: %s", out)
		}
	}
	if minted := s.minted() - before; rotated == 0 || minted != rotated {
		t.Errorf("%d rotated, %d tokens minted", rotated, minted)
	}
}

// At SIGTERM the requests under way finish, and no new ones come in.
func TestServeStops(t *testing.T) {
	t.Parallel()
	goOn := make(chan struct{})
	s := newSite(t, workspacetest.Config{})
	began := make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		<-goOn
		_, _ = io.WriteString(w, "last")
	}))
	defer upstream.Close()
	p, proxy := s.serve(t, "--upstream", upstream.URL)
	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		body, err := post(context.WithoutCancel(t.Context()), proxy)
		answered <- answer{body, err}
	}()
	<-began
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(proxy, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(goOn)
	if a := <-answered; a.body != "first last" || a.err != nil {
		t.Errorf("the request under way got %q, %v", a.body, a.err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(filepath.Join(s.state, control.SocketName)); err == nil {
		t.Error("the control socket is still there")
	}
}

// A second signal ends the service although a request is under way.
func TestServeSecondSignal(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	began := make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the server doesn't see its client leave
		began <- struct{}{}
		<-r.Context().Done()
	}))
	defer upstream.Close()
	p, proxy := s.serve(t, "--upstream", upstream.URL)
	answered := make(chan error, 1)
	go func() {
		_, err := post(context.WithoutCancel(t.Context()), proxy)
		answered <- err
	}()
	<-began
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return strings.Contains(p.output(), "stopping") })
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("ended by %v", p.ProcessState)
	}
	if err := <-answered; err == nil {
		t.Error("a request that was cut off looks whole")
	}
}

// post sends a chat completion and returns the answer's body.
func post(ctx context.Context, proxy string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, proxy+"/v1/chat/completions", strings.NewReader(`{"stream":true}`))
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// kill -9 leaves neither a lock nor a socket that the next start minds.
func TestServeKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	for range 3 {
		p, _ := s.serve(t)
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
	}
	p := s.patrol(t, "rotate")
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// A service that was stopped is named, and nothing is done behind its back.
func TestServeMute(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	p, _ := s.serve(t)
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	minted := s.minted()
	var all []*process
	for _, args := range [][]string{{"status"}, {"rotate"}, {"token"}, {"serve", "--listen", "127.0.0.1:0"}} {
		all = append(all, s.patrol(t, args...))
	}
	for _, p := range all {
		_ = p.Wait()
		if out := p.output(); p.ProcessState.ExitCode() != cli.ExitFailed || !strings.Contains(out, "holds the state in "+s.state+" but doesn't answer") {
			t.Errorf("%v: %v: %s", p.Args, p.ProcessState, out)
		}
	}
	if s.minted() != minted {
		t.Error("something was minted meanwhile")
	}
}

func TestServePortInUse(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	p := s.patrol(t, "serve", "--listen", ln.Addr().String())
	_ = p.Wait()
	want := fmt.Sprintf("listening on %s: the port is in use by", ln.Addr())
	if out := p.output(); p.ProcessState.ExitCode() != cli.ExitFailed || !strings.Contains(out, want) {
		t.Errorf("%v: %s", p.ProcessState, out)
	}
	if s.minted() != 0 {
		t.Error("something was minted")
	}
}
