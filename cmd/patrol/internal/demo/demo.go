// Package demo shows patrol's main job on a machine of its own: a home folder, a
// workspace in memory, this very program as its service, and five clients.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

const (
	duration = 14 * time.Second       // how long requests are sent
	schedule = "@every 2s"            // how often the demo's patrol rotates
	grace    = "500ms"                // how long its old tokens live on
	patience = 5 * time.Second        // how long its patrol may take to start
	pause    = 100 * time.Millisecond // between two requests of a client
)

// Run shows it all. Its error says which client failed that should not.
func Run(ctx context.Context, p cli.Process) (err error) {
	d, err := open()
	if err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.serve(); err != nil {
		return err
	}
	if err := d.findProxy(ctx); err != nil {
		return err
	}
	clients := d.clients()
	s := &screen{Streams: p.Streams, clients: clients, began: time.Now()}
	s.begin()
	working, stop := context.WithTimeout(ctx, duration)
	defer stop()
	for _, c := range clients {
		c.begin(working)
	}
	d.watch(working, s)
	for _, c := range clients {
		c.work.Wait()
	}
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted")
	}
	return s.end(len(d.ws.Tokens()) - 1) // the first was made by hand
}

// A demo is a machine of its own: a home folder, a workspace, a patrol.
type demo struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token // which everybody was signed in with
	proxy string              // the base URL of the child's proxy

	log    *os.File
	end    context.CancelFunc // has the child end
	exited chan struct{}
}

// open makes a home folder with what a user has there: a profile and Claude's
// settings.
func open() (*demo, error) {
	home, err := os.MkdirTemp("", "patrol-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{home: home}
	if d.ws, err = workspacetest.Start(workspacetest.Config{KeepRequests: -1, EventDelay: 10 * time.Millisecond}); err != nil {
		return nil, errors.Join(err, d.close())
	}
	d.first = d.ws.Issue(workspacetest.IssueOptions{Comment: "made by hand", Lifetime: time.Hour})
	for path, content := range map[string]string{
		d.configPath(): fmt.Sprintf("[DEFAULT]\nhost  = %s\ntoken = %s\n", d.ws.URL, d.first.Value),
		d.claudePath(): fmt.Sprintf("{\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": %q,\n    \"ANTHROPIC_AUTH_TOKEN\": %q\n  }\n}\n",
			d.ws.URL+"/serving-endpoints/anthropic", d.first.Value),
	} {
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600))
	}
	if err == nil {
		d.log, err = os.Create(filepath.Join(d.home, "log"))
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *demo) configPath() string { return filepath.Join(d.home, ".databrickscfg") }
func (d *demo) claudePath() string { return filepath.Join(d.home, ".claude", "settings.json") }
func (d *demo) stateDir() string   { return filepath.Join(d.home, "state") }

// serve starts this very program as the service of the demo's home.
func (d *demo) serve() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for patrol itself: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	patrol := exec.CommandContext(ctx, self, "serve", "--schedule", schedule, "--grace", grace, "--lifetime", "1m",
		"--listen", "127.0.0.1:0", "--state-dir", d.stateDir())
	patrol.Cancel = func() error { return patrol.Process.Signal(os.Interrupt) }
	patrol.WaitDelay = 3 * time.Second // then it is killed
	patrol.Env = Environ(d.home)
	patrol.Stdout, patrol.Stderr = d.log, d.log
	endWithParent(patrol)
	if err := patrol.Start(); err != nil {
		end()
		return fmt.Errorf("starting patrol serve: %w", err)
	}
	d.end, d.exited = end, make(chan struct{})
	go func() {
		_ = patrol.Wait() // how it ended is seen in the log
		close(d.exited)
	}()
	return nil
}

// Environ is the environment of a machine that knows nothing of Databricks but the
// files in its home.
func Environ(home string) []string {
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
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const pause = 20 * time.Millisecond
	for {
		service, err := control.Dial(ctx, d.stateDir(), patience)
		if err == nil && len(service.Listen) > 0 {
			d.proxy = "http://" + service.Listen[0]
			return nil
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

// watch shows what happens to the tokens, as the workspace sees it, until ctx is
// done.
func (d *demo) watch(ctx context.Context, s *screen) {
	const often = 50 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	known := map[string]workspacetest.Token{}
	for ; ctx.Err() == nil; <-tick.C {
		for _, t := range d.ws.Tokens() {
			old, seen := known[t.ID]
			known[t.ID] = t
			switch {
			case !seen && t.Minted:
				s.event("minted  " + d.shortName(t))
			case seen && t.Revoked && !old.Revoked:
				s.event("revoked " + d.shortName(t))
			}
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

// close ends the demo's patrol and workspace and removes its home.
func (d *demo) close() error {
	if d.end != nil {
		d.end()
		<-d.exited
	}
	var errs []error
	if d.ws != nil {
		errs = append(errs, d.ws.Close())
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(d.home))...)
}
