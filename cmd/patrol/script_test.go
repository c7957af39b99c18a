package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/environ"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/workspacetest"
)

// workspaces holds the workspace of each script, by its work folder.
var workspaces sync.Map

// TestScripts runs the binary as users do: see testdata/script. Besides
// testscript's own, the scripts have the commands below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"workspace":  startWorkspace,
			"issue":      issue,
			"principal":  principal,
			"revoke":     revoke,
			"live":       live,
			"retired":    retired,
			"expand":     expand,
			"serving":    serving,
			"agent":      agent,
			"answers":    answers,
			"term":       term,
			"secretfree": secretFree,
		},
	})
}

func setupScript(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	run, err := os.MkdirTemp("/tmp", "patrol-test-") // a short path, for sockets
	if err != nil {
		return err
	}
	env.Defer(func() { _ = os.RemoveAll(run) })
	env.Setenv("HOME", home)
	env.Setenv("XDG_RUNTIME_DIR", run)
	env.Setenv("CANARY", canary)
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		return err
	}
	env.Setenv("DEPLOY", deploy)
	env.Setenv("GORACE", "atexit_sleep_ms=0") // or each success costs a second under -race
	return os.MkdirAll(home, 0o700)
}

// patience is how long scripts wait for what must happen.
const patience = 30 * time.Second

// eventually waits until what returns nil.
func eventually(ts *testscript.TestScript, what func() error) {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = what(); err == nil {
			return
		}
	}
	ts.Fatalf("not within %v: %v", patience, err)
}

func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

// exits runs a program that must end with the given code: exits 64 patrol bogus.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 1, "exits CODE PROGRAM [ARGUMENT...]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		failed, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("running %s: %v", args[1], err)
		}
		got = failed.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// startWorkspace starts a workspace whose URL is in $SITE: workspace.
func startWorkspace(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "workspace")
	w, err := workspacetest.Start(workspacetest.Config{})
	ts.Check(err)
	ts.Defer(func() { _ = w.Close() })
	ts.Setenv("SITE", w.URL)
	workspaces.Store(ts.Getenv("WORK"), w)
}

// ofScript returns the script's workspace.
func ofScript(ts *testscript.TestScript) *workspacetest.Server {
	w, ok := workspaces.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("there is no workspace")
	}
	return w.(*workspacetest.Server)
}

// issue makes a token, whose value is then in a variable: issue TOKEN.
func issue(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "issue VARIABLE")
	ts.Setenv(args[0], ofScript(ts).Issue(workspacetest.IssueOptions{}).Value)
}

// principal registers a service principal: principal ID SECRET.
func principal(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "principal ID SECRET")
	ofScript(ts).AddClient(args[0], args[1], "")
}

// revoke revokes all tokens.
func revoke(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "revoke")
	w := ofScript(ts)
	for _, t := range w.Live() {
		w.Revoke(t.ID)
	}
}

// live waits until so many tokens are valid: live 1.
func live(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "live COUNT")
	eventually(ts, func() error {
		if got := strconv.Itoa(len(ofScript(ts).Live())); got != args[0] {
			return fmt.Errorf("%s tokens live, want %s", got, args[0])
		}
		return nil
	})
}

// retired waits until the service, which runs with the default state folder, has
// no old token left to revoke: retired.
func retired(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "settled")
	state := filepath.Join(ts.Getenv("HOME"), ".local", "state", "patrol", "DEFAULT")
	eventually(ts, func() error {
		c, err := control.Dial(context.Background(), state, time.Second)
		if err != nil {
			return err
		}
		s, err := c.Status(context.Background())
		if err != nil {
			return err
		}
		if n := len(s.Retiring); n > 0 {
			return fmt.Errorf("%d old tokens left", n)
		}
		return nil
	})
}

// expand copies a file with the variables in it replaced: expand cfg $HOME/.databrickscfg.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "expand FROM TO")
	to := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(filepath.Dir(to), 0o700))
	ts.Check(os.WriteFile(to, []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}

// serving waits until a service runs for the profile DEFAULT, or with the state
// in a folder, and puts its proxy's URL into $PROXY. "ready" also waits until the
// profile holds a token that it has minted: serving [ready] [STATE].
func serving(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg, "serving [ready] [STATE]")
	state := filepath.Join(ts.Getenv("HOME"), ".local", "state", "patrol", "DEFAULT")
	ready := len(args) > 0 && args[0] == "ready"
	if ready {
		args = args[1:]
	}
	if len(args) > 0 {
		state = ts.MkAbs(args[0])
	}
	eventually(ts, func() error {
		c, err := control.Dial(context.Background(), state, time.Second)
		if err != nil {
			return err
		}
		ts.Setenv("PROXY", "http://"+c.Listen[0])
		if !ready {
			return nil
		}
		s, err := c.Status(context.Background())
		if err != nil || !s.Token.Ours {
			return fmt.Errorf("status %+v, %w", s, err)
		}
		profile := target.Profile{Name: c.Profile, File: filepath.Join(ts.Getenv("HOME"), ".databrickscfg")}
		return environ.CheckSignedIn(context.Background(), profile, state)
	})
}

// agent sends a chat completion through the proxy, with a token or "none", and
// checks the answer's status: agent $TOKEN 200.
func agent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "agent TOKEN|@FILE STATUS")
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, ts.Getenv("PROXY")+"/v1/chat/completions",
		strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if file, ok := strings.CutPrefix(args[0], "@"); ok {
		args[0] = strings.TrimSpace(ts.ReadFile(file))
	}
	if args[0] != "none" {
		req.Header.Set("Authorization", "Bearer "+args[0])
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[1] {
		ts.Fatalf("status %d, want %s: %s", resp.StatusCode, args[1], body)
	}
	ts.Logf("%s", body)
}

// answers asks the proxy until the answer has this status and this in it:
// answers 503 'patrol login' POST /v1/messages.
func answers(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 4, "answers STATUS PATTERN METHOD PATH")
	want := regexp.MustCompile(args[1])
	eventually(ts, func() error {
		req, err := http.NewRequestWithContext(context.Background(), args[2], ts.Getenv("PROXY")+args[3], strings.NewReader("{}"))
		ts.Check(err)
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		ts.Check(err)
		for _, t := range ofScript(ts).Tokens() {
			if strings.Contains(string(body), t.Value) {
				ts.Fatalf("the value of token %v is in the answer: %s", t, body)
			}
		}
		if strconv.Itoa(resp.StatusCode) != args[0] || !want.Match(body) {
			return fmt.Errorf("status %d, want %s and %s: %s", resp.StatusCode, args[0], args[1], body)
		}
		return nil
	})
}

// term sends SIGTERM to what runs in the background.
func term(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "term")
	for _, cmd := range ts.BackgroundCmds() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			ts.Check(err)
		}
	}
}

// secretFree makes sure that no token of the workspace is in the output of the
// last command or in the state folders.
func secretFree(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "secretfree")
	places := map[string]string{"stdout": ts.ReadFile("stdout"), "stderr": ts.ReadFile("stderr")}
	err := filepath.WalkDir(filepath.Join(ts.Getenv("HOME"), ".local", "state"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			places[path] = ts.ReadFile(path)
		}
		return err
	})
	ts.Check(err)
	all := ofScript(ts).Tokens()
	if len(all) == 0 || len(places) < 3 {
		ts.Fatalf("nothing to look for, or nowhere")
	}
	for place, text := range places {
		for _, t := range all {
			if strings.Contains(text, t.Value) {
				ts.Fatalf("the value of token %v is in %s:\n%s", t, place, text)
			}
		}
		if m := regexp.MustCompile(`dapi[0-9a-f]{8,}`).FindString(text); m != "" {
			ts.Fatalf("something like a token is in %s: %s", place, m)
		}
	}
}
