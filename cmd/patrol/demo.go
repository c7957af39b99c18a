package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"patrol/rotator/workspacetest"
)

const demoLong = `Show the main job in 15 seconds, on this machine alone: a Databricks workspace in
memory, "patrol serve" with a schedule of seconds, and five clients that were
all signed in with the same token at the start. Nothing of yours is read or
written: the demo has a home folder of its own, and removes it.

Two clients are there to show what happens without patrol, and fail from the
first rotation on. Exit code 1 if any of the others failed.`

const (
	demoFor      = 14 * time.Second       // how long requests are sent
	demoSchedule = "@every 2s"            // how often the demo's patrol rotates
	demoGrace    = "500ms"                // how long its old tokens live on
	demoPatience = 5 * time.Second        // how long its patrol may take to start
	demoPause    = 100 * time.Millisecond // between two requests of a client
)

func newDemo(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "demo",
		GroupID: groupUse,
		Short:   "Show it all against a built-in workspace",
		Long:    demoLong,
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.demo(cmd.Context()) },
	}
}

// demo runs the whole of it.
func (a *app) demo(ctx context.Context) (err error) {
	d, err := a.openDemo()
	if err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.serve(ctx); err != nil {
		return err
	}
	clients := d.clients()
	v := newDemoView(a, clients)
	v.begin()
	working, stop := context.WithTimeout(ctx, demoFor)
	defer stop()
	for _, c := range clients {
		c.begin(working)
	}
	d.watch(working, v)
	for _, c := range clients {
		c.join()
	}
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted")
	}
	return v.end(d.minted())
}

// demo is a machine of its own: a home folder, a workspace, a patrol.
type demo struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token // which everybody was signed in with
	proxy string              // the base URL of the child's proxy

	patrol *exec.Cmd
	log    *os.File
	exited chan struct{}
}

// openDemo makes a home folder with what a user has there: a profile and
// Claude's settings.
func (a *app) openDemo() (*demo, error) {
	home, err := os.MkdirTemp("", "patrol-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{home: home}
	if d.ws, err = workspacetest.Start(workspacetest.Config{KeepRequests: -1, EventDelay: 10 * time.Millisecond}); err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.first = d.ws.Issue(workspacetest.IssueOptions{Comment: "made by hand", Lifetime: time.Hour})
	files := map[string]string{
		d.configPath(): fmt.Sprintf("[DEFAULT]\nhost  = %s\ntoken = %s\n", d.ws.URL, d.first.Value),
		d.claudePath(): fmt.Sprintf("{\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": %q,\n    \"ANTHROPIC_AUTH_TOKEN\": %q\n  }\n}\n",
			d.ws.URL+"/serving-endpoints/anthropic", d.first.Value),
	}
	for path, content := range files {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demo) configPath() string { return filepath.Join(d.home, ".databrickscfg") }
func (d *demo) claudePath() string { return filepath.Join(d.home, ".claude", "settings.json") }
func (d *demo) stateDir() string   { return filepath.Join(d.home, "state") }

// serve starts this very program as the service of the demo's home, and waits
// until it is there.
func (d *demo) serve(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for patrol itself: %w", err)
	}
	if d.log, err = os.OpenFile(filepath.Join(d.home, "log"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("opening the demo's log: %w", err)
	}
	d.patrol = exec.Command(self, "serve", "--schedule", demoSchedule, "--grace", demoGrace, "--lifetime", "1m", //nolint:noctx // it is ended by a signal
		"--listen", "127.0.0.1:0", "--state-dir", d.stateDir())
	d.patrol.Env = demoEnviron(d.home)
	d.patrol.Stdout, d.patrol.Stderr = d.log, d.log
	endWithParent(d.patrol)
	if err := d.patrol.Start(); err != nil {
		return fmt.Errorf("starting patrol serve: %w", err)
	}
	d.exited = make(chan struct{})
	go func() {
		_ = d.patrol.Wait() // how it ended is seen in the log
		close(d.exited)
	}()
	return d.findProxy(ctx)
}

// demoEnviron is the environment of a machine that knows nothing of Databricks
// but the files in its home.
func demoEnviron(home string) []string {
	environ := []string{"HOME=" + home, "USERPROFILE=" + home, "NO_PROXY=127.0.0.1,localhost,::1"}
	for _, name := range []string{"PATH", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP"} {
		if value, ok := os.LookupEnv(name); ok {
			environ = append(environ, name+"="+value)
		}
	}
	return environ
}

// findProxy asks the service where its proxy listens, until it answers.
func (d *demo) findProxy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	const pause = 20 * time.Millisecond
	for {
		service, err := dialControl(ctx, d.stateDir(), demoPatience)
		if err == nil {
			var info ping
			if err = service.do(ctx, http.MethodGet, pingPath, nil, &info); err == nil && len(info.Listen) > 0 {
				d.proxy = "http://" + info.Listen[0]
				return nil
			}
		}
		select {
		case <-time.After(pause):
		case <-d.exited:
			return fmt.Errorf("patrol serve ended at once:\n%s", d.logged())
		case <-ctx.Done():
			return fmt.Errorf("patrol serve doesn't answer (%w):\n%s", err, d.logged())
		}
	}
}

// logged returns what patrol serve has logged.
func (d *demo) logged() string {
	text, err := os.ReadFile(d.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// watch tells the view what happens to the tokens, as the workspace sees it,
// until ctx is done.
func (d *demo) watch(ctx context.Context, v *demoView) {
	const often = 50 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	known := map[string]workspacetest.Token{}
	for {
		for _, t := range d.ws.Tokens() {
			old, seen := known[t.ID]
			known[t.ID] = t
			switch {
			case !seen && t.Minted:
				v.event("minted  "+d.shortName(t), true)
			case seen && t.Revoked && !old.Revoked:
				v.event("revoked "+d.shortName(t), false)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			v.refresh()
		}
	}
}

// shortName is how the demo calls a token.
func (d *demo) shortName(t workspacetest.Token) string {
	if t.ID == d.first.ID {
		return "the first"
	}
	return t.ID[:min(len(t.ID), 8)]
}

// minted is how many tokens the demo's patrol has minted.
func (d *demo) minted() (rotations int) {
	for _, t := range d.ws.Tokens() {
		if t.Minted {
			rotations++
		}
	}
	return rotations
}

// close ends the demo's patrol and workspace and removes its home.
func (d *demo) close() error {
	var errs []error
	if d.exited != nil {
		errs = append(errs, d.stop())
	}
	if d.ws != nil {
		errs = append(errs, d.ws.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	errs = append(errs, os.RemoveAll(d.home))
	return errors.Join(errs...)
}

// stop asks the demo's patrol to end, and makes it if it doesn't.
func (d *demo) stop() error {
	const patience = 3 * time.Second
	if err := d.patrol.Process.Signal(os.Interrupt); err == nil {
		select {
		case <-d.exited:
			return nil
		case <-time.After(patience):
		}
	}
	err := d.patrol.Process.Kill()
	<-d.exited
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
