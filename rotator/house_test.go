package rotator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

const host = "https://w.example"

// host is the workspace's host.
func (h *house) host() string { return host + h.query }

// house is a machine with patrol on it, in a bubble of synctest: real files,
// the real SDK, a workspace in memory, and a clock that can be set.
type house struct {
	*testing.T
	dir   string
	ws    *workspacetest.Workspace
	query string            // of the workspace's host: "?o=7"
	way   http.RoundTripper // to the workspace; nil: a plain one
	proxy *receiver
	logs  *tail

	env      string // DATABRICKS_TOKEN
	profiles profiles
	clock    atomic.Int64 // by how many nanoseconds this machine's clock is off

	schedule cron.Schedule
	lifetime time.Duration
	grace    time.Duration
	mintAs   *workspace.Session

	ledger *ledger.Ledger
	r      *rotator.Rotator
	stop   func()
}

// receiver stands where the proxy does: it receives handovers.
type receiver struct {
	ch   chan pat.Handover
	mu   sync.Mutex
	got  []pat.Token
	hold bool            // keep Drained open
	open []chan struct{} // Drained channels that were kept open
}

func (p *receiver) run(ctx context.Context) {
	for {
		select {
		case h := <-p.ch:
			p.mu.Lock()
			p.got = append(p.got, h.Token)
			if p.hold {
				p.open = append(p.open, h.Drained)
			} else {
				close(h.Drained)
			}
			p.mu.Unlock()
			close(h.Installed)
		case <-ctx.Done():
			return
		}
	}
}

// token is what the proxy would put on a request.
func (p *receiver) token() pat.Token {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.got) == 0 {
		return pat.Token{}
	}
	return p.got[len(p.got)-1]
}

// inHouse runs f in a bubble, on a machine with a profile for the workspace
// and nothing in it.
func inHouse(t *testing.T, f func(h *house)) {
	t.Helper()
	inHouseWith(t, workspacetest.Config{}, f)
}

func inHouseWith(t *testing.T, cfg workspacetest.Config, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{
			T: t, dir: memoryDir(t), ws: workspacetest.New(cfg), logs: new(tail),
			lifetime: 4 * time.Hour, grace: 5 * time.Minute,
		}
		h.writeProfile("")
		f(h)
		h.close()
		h.checkCanary()
	})
}

func (h *house) cfgPath() string      { return filepath.Join(h.dir, ".databrickscfg") }
func (h *house) claudePath() string   { return filepath.Join(h.dir, "settings.json") }
func (h *house) openCodePath() string { return filepath.Join(h.dir, "auth.json") }
func (h *house) stateDir() string     { return filepath.Join(h.dir, "state") }

func (h *house) writeProfile(token string) {
	h.Helper()
	line := ""
	if token != "" {
		line = "token = " + token + "\n"
	}
	h.write(h.cfgPath(), "[DEFAULT]\nhost = "+h.host()+"\n"+line)
}

func (h *house) write(path, content string) {
	h.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		h.Fatal(err)
	}
}

func (h *house) read(path string) string {
	h.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	return string(data)
}

// profileToken is the token in the profile.
func (h *house) profileToken() string {
	h.Helper()
	p, err := credwriter.ReadProfile(h.cfgPath(), "DEFAULT")
	if err != nil {
		h.Fatal(err)
	}
	return p.Token.Expose()
}

// issue makes a token in the workspace and puts it into the profile.
func (h *house) issue(lifetime time.Duration) workspacetest.Token {
	h.Helper()
	tok := h.ws.Issue(workspacetest.IssueOptions{Lifetime: lifetime})
	h.writeProfile(tok.Value)
	return tok
}

// now is this machine's wall clock.
func (h *house) now() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) }

func (h *house) client() *workspace.Client {
	h.Helper()
	way := h.way
	if way == nil {
		way = h.ws.Transport()
	}
	c, err := workspace.New(workspace.Config{Host: h.host(), Transport: way})
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// open makes a Rotator as a start of the process does; nothing runs yet.
func (h *house) open() {
	h.Helper()
	log := slog.New(slog.NewTextHandler(h.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	if h.ledger, err = ledger.Open(ledger.Config{Dir: h.stateDir(), Now: h.now, Log: log}); err != nil {
		h.Fatal(err)
	}
	owner := credwriter.Owner{Host: parseHost(h.host()), Ours: h.ledger.Knows}
	h.proxy = &receiver{ch: make(chan pat.Handover)}
	h.r, err = rotator.New(rotator.Config{
		Workspace: h.client(),
		MintAs:    h.mintAs,
		Ledger:    h.ledger,
		Handovers: h.proxy.ch,
		Profile:   credwriter.NewDatabrickscfg(h.cfgPath(), "DEFAULT", owner),
		Agents: []rotator.File{
			credwriter.NewClaude(h.claudePath(), false, owner),
			credwriter.NewOpenCode(h.openCodePath(), nil, false, owner),
		},
		Candidates: h.candidates,
		Schedule:   h.schedule,
		Lifetime:   h.lifetime,
		Grace:      h.grace,
		Now:        h.now,
		Log:        log,
	})
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.Context())
	var work sync.WaitGroup
	work.Go(func() { h.proxy.run(ctx) })
	h.stop = func() {
		h.r.Close()
		cancel()
		work.Wait()
		if err := h.ledger.Close(); err != nil {
			h.Error(err)
		}
		h.stop = nil
	}
}

// serve starts the service: it returns once it has settled.
func (h *house) serve() {
	h.Helper()
	h.open()
	ctx, cancel := context.WithCancel(h.Context())
	done := make(chan struct{})
	stop := h.stop
	h.stop = func() {
		cancel()
		<-done
		stop()
	}
	go func() {
		defer close(done)
		_ = h.r.Start(ctx)
		_ = h.r.Run(ctx)
	}()
	synctest.Wait()
}

func (h *house) close() {
	if h.stop != nil {
		h.stop()
	}
}

// restart ends the service and starts it anew.
func (h *house) restart() {
	h.Helper()
	h.close()
	h.serve()
}

// pass lets time pass.
func (h *house) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (h *house) candidates() ([]rotator.Candidate, error) {
	var all []rotator.Candidate
	if h.env != "" {
		all = append(all, rotator.Candidate{Source: "DATABRICKS_TOKEN", Token: pat.New(h.env, h.host())})
	}
	t, err := h.profiles.token(h.cfgPath())
	if err != nil {
		return nil, err
	}
	if !t.IsZero() {
		all = append(all, rotator.Candidate{Source: "profile DEFAULT", Rewritten: true, Token: pat.New(t.Expose(), h.host())})
	}
	return all, nil
}

// profiles reads a profile as patrol does, and parses it only if it changed:
// the simulation reads it half a million times.
type profiles struct {
	mu   sync.Mutex
	text string
	last pat.Token
}

func (p *profiles) token(path string) (pat.Token, error) {
	text, err := readProfile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return pat.Token{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if text != p.text {
		read, err := credwriter.ReadProfile(path, "DEFAULT")
		if err != nil {
			return pat.Token{}, err
		}
		p.text, p.last = text, read.Token
	}
	return p.last, nil
}

// readProfile is os.ReadFile for a small file that is no pipe: three system
// calls, not ten.
func readProfile(path string) (string, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = syscall.Close(fd) }()
	var data [4096]byte
	n, err := syscall.Read(fd, data[:])
	if err == nil && n == len(data) {
		err = errors.New("it is longer than any that a test writes")
	}
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	return string(data[:n]), nil
}

// live returns the ids of the tokens that live in the workspace.
func (h *house) live() []string {
	var ids []string
	for _, t := range h.ws.Live() {
		ids = append(ids, t.ID)
	}
	return ids
}

func (h *house) isLive(id string) bool { return slices.Contains(h.live(), id) }

// wantOne checks that one token lives, that it is where it should be, and
// returns it.
func (h *house) wantOne() workspacetest.Token {
	h.Helper()
	live := h.ws.Live()
	if len(live) != 1 {
		h.Fatalf("%d tokens live, want 1:\n%s", len(live), h.story())
	}
	if got := h.profileToken(); got != live[0].Value {
		h.Errorf("the profile doesn't hold the token that lives:\n%s", h.story())
	}
	if got := h.proxy.token(); got.Expose() != live[0].Value {
		h.Errorf("the proxy has %v, not the token that lives:\n%s", got, h.story())
	}
	return live[0]
}

// story is the end of the log so far, and the status.
func (h *house) story() string {
	const enough = 40
	lines := strings.Split(strings.TrimSpace(h.logs.String()), "\n")
	status, _ := json.MarshalIndent(h.r.Status(), "", " ")
	return fmt.Sprintf("%s\n%s", strings.Join(lines[max(0, len(lines)-enough):], "\n"), status)
}

// checkCanary looks for the value of every token ever made in whatever patrol
// has written but the credential files.
func (h *house) checkCanary() {
	h.Helper()
	var written strings.Builder
	written.WriteString(h.logs.String())
	if h.r != nil {
		status, err := json.Marshal(h.r.Status())
		if err != nil {
			h.Fatal(err)
		}
		written.WriteString(string(status))
	}
	files, err := filepath.Glob(filepath.Join(h.stateDir(), "*"))
	if err != nil {
		h.Fatal(err)
	}
	for _, f := range files {
		written.WriteString(h.read(f))
	}
	ids := map[string]string{}
	for _, t := range h.ws.Tokens() {
		ids[t.Value] = t.ID
	}
	const mark, length = "dapi", 36 // of every value that a workspace makes
	for rest := written.String(); ; {
		i := strings.Index(rest, mark)
		if i < 0 {
			return
		}
		rest = rest[i:]
		if id, ok := ids[rest[:min(length, len(rest))]]; ok {
			h.Errorf("the value of token %s got out:\n%s", id, written.String())
		}
		rest = rest[len(mark):]
	}
}

// tail keeps all that was logged, and is safe for concurrent use.
type tail struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
