package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/credwriter"
	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/processtest"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

// roles are what this binary does as a process that is to be killed.
var roles = map[string]func(args []string) int{}

func TestMain(m *testing.M) { processtest.Main(m, roles) }

// A machine is a home and a state folder, for processes that come and go.
type machine struct{ dir, host string }

func (m machine) state() string { return filepath.Join(m.dir, "state") }

// A run of patrol on a machine.
type run struct {
	*rotator.Rotator
	ledger *ledger.Ledger
	client *workspace.Client
	proxy  *receiver
	stop   func()
}

// start makes what a process of patrol is made of: the real ledger, writers and
// SDK. Nothing runs yet but what stands in the proxy's place.
func (m machine) start(log *slog.Logger, now func() time.Time, set ...func(*rotator.Config)) (*run, error) {
	led, err := ledger.Open(ledger.Config{Dir: m.state(), Log: log, Now: now})
	if err != nil {
		return nil, err
	}
	client, err := workspace.New(workspace.Config{Host: m.host, Log: log})
	if err != nil {
		return nil, errors.Join(err, led.Close())
	}
	r := &run{ledger: led, client: client, proxy: &receiver{ch: make(chan pat.Handover)}}
	profile, agents := m.files(led.Knows)
	cfg := rotator.Config{
		Workspace: client, Ledger: led, Handovers: r.proxy.ch, Profile: profile, Agents: agents,
		Candidates: m.candidates, Now: now, Log: log,
	}
	for _, f := range set {
		f(&cfg)
	}
	if r.Rotator, err = rotator.New(cfg); err != nil {
		return nil, errors.Join(err, led.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { r.proxy.run(ctx) })
	r.stop = func() {
		r.Close()
		cancel()
		work.Wait()
		client.Close()
		_ = led.Close()
	}
	return r, nil
}

// parseHost returns no host for what is none.
func parseHost(s string) pat.Host {
	h, _ := pat.ParseHost(s)
	return h
}

func (m machine) files(ours func(string) bool) (profile rotator.File, agents []rotator.File) {
	owner := credwriter.Owner{Host: parseHost(m.host), Ours: ours}
	return credwriter.NewDatabrickscfg(filepath.Join(m.dir, ".databrickscfg"), "DEFAULT", owner), []rotator.File{
		credwriter.NewClaude(filepath.Join(m.dir, "settings.json"), false, owner),
		credwriter.NewOpenCode(filepath.Join(m.dir, "auth.json"), nil, false, owner),
	}
}

func (m machine) candidates() ([]rotator.Candidate, error) {
	p, err := credwriter.ReadProfile(filepath.Join(m.dir, ".databrickscfg"), "DEFAULT")
	if err != nil || p.Token.IsZero() {
		return nil, err
	}
	return []rotator.Candidate{{Source: "profile DEFAULT", Rewritten: true, Token: p.Token}}, nil
}

// contents are the credential files with this token in them.
func (m machine) contents(token string) map[string]string {
	return map[string]string{
		".databrickscfg": "# mine\n[DEFAULT]\nhost = " + m.host + "\ntoken = " + token + "\n\n[other]\ntoken = dapi-other\n",
		"settings.json":  `{"env":{"ANTHROPIC_BASE_URL":"` + m.host + `","ANTHROPIC_AUTH_TOKEN":"` + token + `"},"n":1e400}`,
		"auth.json":      `{"openai":{"type":"api","key":"sk-real"},"databricks":{"type":"api","key":"` + token + `"}}`,
	}
}

func (m machine) write(t *testing.T, token string) {
	t.Helper()
	for name, text := range m.contents(token) {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// rotateOnce is the role of a process that starts, rotates once, and ends when
// the queue is empty.
func rotateOnce(args []string) int {
	m := machine{dir: args[0], host: args[1]}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r, err := m.start(log, time.Now)
	if err == nil {
		defer r.stop()
		err = r.Start(context.Background())
	}
	var rotation rotator.Rotation
	if err == nil {
		rotation, err = r.Rotate(context.Background(), "asked")
	}
	if err == nil {
		err = r.AwaitRevoked(context.Background(), rotation.Old)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func init() { roles["rotate"] = rotateOnce }

// A site is a machine and its workspace, which listens on a loopback port and
// can be exchanged for a new one.
type site struct {
	*testing.T
	machine
	ws      *workspacetest.Workspace
	serve   atomic.Pointer[http.Handler]
	foreign []string // ids of tokens that aren't ours
	logs    *tail
	scene   scene
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.serve.Load()).ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	s.host = server.URL
	s.fresh()
	return s
}

// fresh makes a new workspace, in which a CI job and another patrol of the same
// user have tokens, and a new home.
func (s *site) fresh() {
	s.Helper()
	s.ws = workspacetest.New(workspacetest.Config{})
	s.handle(s.ws)
	s.foreign, s.logs = nil, new(tail)
	for _, comment := range []string{"CI", "patrol/other-01234567/89abcdef01234567"} {
		s.foreign = append(s.foreign, s.ws.Issue(workspacetest.IssueOptions{Comment: comment}).ID)
	}
	dir, err := filepath.EvalSymlinks(memoryDir(s.T))
	if err != nil {
		s.Fatal(err)
	}
	s.dir = dir
}

func (s *site) handle(h http.Handler) { s.serve.Store(&h) }

// afterKill checks what must hold at every instant, now that the process is
// dead, and then that another one brings everything to its end.
func (s *site) afterKill(point string) {
	s.Helper()
	s.checkFiles(point)
	s.checkLedger(point)
	s.checkSecrets(point)
	s.scene.end(s)
	s.checkSecrets(point)
	if s.Failed() {
		s.Fatalf("killed %s; log:\n%s", point, s.logs)
	}
}

// checkFiles makes sure that each file is whole and holds a token that lives, or
// none after a logout.
func (s *site) checkFiles(point string) {
	s.Helper()
	live := s.ws.Live()
	for name, content := range s.read() {
		whole := s.scene.role == "logout" && content == blanks(s.host)[name] || slices.ContainsFunc(live, func(t workspacetest.Token) bool {
			return content == s.contents(t.Value)[name]
		})
		if !whole {
			s.Errorf("killed %s: %s is not whole, or holds no token that lives:\n%s", point, name, s.anonymous(content))
		}
	}
}

// checkLedger makes sure that the ledger knows each token of ours that lives.
func (s *site) checkLedger(point string) {
	s.Helper()
	instance, entries, err := ledger.Read(s.state())
	if err != nil {
		s.Fatal(err)
	}
	for _, t := range s.ws.Live() {
		known := slices.ContainsFunc(entries, func(e ledger.Entry) bool {
			return !e.Stage.Ended() && (e.ID == t.ID || e.Comment == t.Comment)
		})
		if strings.HasPrefix(t.Comment, "patrol/"+instance+"/") && !known {
			s.Errorf("killed %s: the ledger doesn't know %v, which lives", point, t)
		}
	}
}

func (s *site) read() map[string]string {
	s.Helper()
	all := map[string]string{}
	for name := range s.contents("") {
		data, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			s.Fatal(err)
		}
		all[name] = string(data)
	}
	return all
}

// anonymous takes the tokens out of a text.
func (s *site) anonymous(text string) string {
	for _, t := range s.ws.Tokens() {
		text = strings.ReplaceAll(text, t.Value, fmt.Sprintf("<%v>", t))
	}
	return text
}

// checkSecrets looks for tokens where none may be: in the state and the log.
func (s *site) checkSecrets(point string) {
	s.Helper()
	var written strings.Builder
	written.WriteString(s.logs.String())
	paths, err := filepath.Glob(filepath.Join(s.state(), "*"))
	if err != nil {
		s.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			s.Fatal(err)
		}
		written.Write(data)
	}
	for _, t := range s.ws.Tokens() {
		if strings.Contains(written.String(), t.Value) {
			s.Errorf("killed %s: the value of %v got out", point, t)
		}
	}
}

// start is machine.start with the site's log.
func (s *site) start(now func() time.Time) *run {
	s.Helper()
	r, err := s.machine.start(slog.New(slog.NewTextHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), now)
	if err != nil {
		s.Fatal(err)
	}
	return r
}

// recover starts patrol as a service and waits until nothing is left to be
// done. Then one token of ours lives, and every file holds it.
func (s *site) recover() {
	s.Helper()
	// By its clock the process died a while ago: a create without an answer
	// can no longer take effect.
	now := func() time.Time { return time.Now().Add(3 * time.Minute) }
	r := s.start(now)
	defer r.stop()
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	if err := r.Start(ctx); err != nil {
		s.Error(err)
	}
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	settled := func() bool {
		st := r.Status()
		return st.Ready && st.Token.Ours && len(st.Retiring) == 0 && len(r.ledger.Pending()) == 1
	}
	for end := time.Now().Add(time.Minute); !settled(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("it doesn't settle: %+v\n%s", r.Status(), s.logs)
		}
	}
	s.wantOne(r)
}

func (s *site) wantOne(r *run) {
	s.Helper()
	live := s.ws.Live()
	ours := slices.DeleteFunc(slices.Clone(live), func(t workspacetest.Token) bool { return slices.Contains(s.foreign, t.ID) })
	if len(live)-len(ours) != len(s.foreign) {
		s.Error("a token that isn't ours was revoked")
	}
	if len(ours) != 1 || !strings.HasPrefix(ours[0].Comment, "patrol/"+r.ledger.Instance()+"/") {
		s.Fatalf("%d tokens of ours live, want 1 that this instance minted: %v", len(ours), ours)
	}
	if r.ledger.Incomplete() {
		s.Error("the ledger was corrupt")
	}
	if pending := r.ledger.Pending(); len(pending) != 1 || pending[0].ID != ours[0].ID || pending[0].Stage != ledger.Current {
		s.Errorf("the ledger has %v", pending)
	}
	if !r.Current().Same(pat.New(ours[0].Value, s.host)) || r.proxy.token().Expose() != ours[0].Value {
		s.Error("the token that lives isn't the one in use")
	}
	for name, want := range s.contents(ours[0].Value) {
		if got := s.read()[name]; got != want {
			s.Errorf("%s is\n%s", name, s.anonymous(got))
		}
	}
	for _, q := range s.ws.Requests() {
		if q.TokenID == "" || "http://"+q.Host != s.host {
			s.Errorf("%s %s on %s, with the token %q", q.Method, q.Path, q.Host, q.TokenID)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, ".*.patrol-*")); len(left) > 0 {
		s.Errorf("left behind: %v", left)
	}
}

// await waits until what is said is so.
func (s *site) await(what string, is func() bool) {
	s.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(end) {
			s.Fatalf("waited in vain until %s", what)
		}
	}
}
