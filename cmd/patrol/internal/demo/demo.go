// Package demo shows patrol's main job on a machine of its own: a home folder, a
// workspace in memory, the service, and five clients.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

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

// Run shows it all. serve is "patrol serve" with these flags, until its context is
// done. The error says which client failed that should not.
func Run(ctx context.Context, s cli.Streams, serve func(ctx context.Context, p cli.Process, flags ...string) error) (err error) {
	d, err := open()
	if err != nil {
		return fmt.Errorf("setting up the demo: %w", err)
	}
	defer func() { err = errors.Join(err, d.close()) }()
	g, ctx := errgroup.WithContext(ctx)
	serving, end := context.WithCancel(ctx)
	g.Go(func() error {
		p := cli.Process{Env: cli.Env{"HOME=" + d.home, "USERPROFILE=" + d.home}, Streams: cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}}
		return serve(serving, p, "--schedule", schedule, "--grace", grace, "--lifetime", "1m", "--listen", "127.0.0.1:0", "--state-dir", d.stateDir())
	})
	g.Go(func() error {
		defer end()
		return d.show(ctx, s)
	})
	return g.Wait()
}

// A demo is a machine of its own: a home folder, and a workspace.
type demo struct {
	home  string
	ws    *workspacetest.Server
	first workspacetest.Token // which everybody was signed in with
	proxy string              // the base URL of the service's proxy
}

// open makes a home folder with what a user has there: a profile and Claude's
// settings.
func open() (*demo, error) {
	home, err := os.MkdirTemp("", "patrol-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{home: home}
	if d.ws, err = workspacetest.Start(workspacetest.Config{NoRecord: true, EventDelay: 10 * time.Millisecond}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	d.first = d.ws.Issue(workspacetest.IssueOptions{Comment: "made by hand", Lifetime: time.Hour})
	for path, content := range map[string]string{
		d.configPath(): fmt.Sprintf("[DEFAULT]\nhost  = %s\ntoken = %s\n", d.ws.URL, d.first.Value),
		d.claudePath(): fmt.Sprintf("{\n  \"env\": {\n    \"ANTHROPIC_BASE_URL\": %q,\n    \"ANTHROPIC_AUTH_TOKEN\": %q\n  }\n}\n",
			d.ws.URL+"/serving-endpoints/anthropic", d.first.Value),
	} {
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

// close ends the workspace and removes the home.
func (d *demo) close() error { return errors.Join(d.ws.Close(), os.RemoveAll(d.home)) }

// show has the clients send requests, and prints how they fare.
func (d *demo) show(ctx context.Context, streams cli.Streams) error {
	if err := d.findProxy(ctx); err != nil {
		return err
	}
	s := &screen{Streams: streams, clients: d.clients(), began: time.Now()}
	s.begin()
	working, stop := context.WithTimeout(ctx, duration)
	defer stop()
	var work sync.WaitGroup
	for _, c := range s.clients {
		work.Go(func() { c.run(working) })
	}
	d.watch(working, s)
	work.Wait()
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted")
	}
	return s.end(len(d.ws.Tokens()) - 1) // the first was made by hand
}

// findProxy asks the service where its proxy listens, until it answers.
func (d *demo) findProxy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	const pause = 20 * time.Millisecond
	for {
		service, err := control.Dial(ctx, d.stateDir(), patience)
		if err == nil {
			d.proxy = "http://" + service.Listen[0]
			return nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("patrol serve doesn't answer: %w", err)
		}
	}
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

// A screen shows the demo: a line for each event.
type screen struct {
	cli.Streams
	began   time.Time
	clients []*client
}

const intro = `A workspace in memory, patrol serve, and five clients that all started with the
same token. patrol rotates every 2 seconds and revokes the old token half a
second later. The first two clients ask the workspace with the token that they
have, as programs do that read it once; watch them. A column counts requests.

`

// begin prints what is to be seen, and the head of the list.
func (s *screen) begin() {
	s.Printf("%s%5s  %-17s", intro, "time", "")
	for _, c := range s.clients {
		s.Printf("%11s", c.column)
	}
	s.Printf("\n")
	s.event("all are signed in")
}

// event prints what happened, and how each client has fared so far.
func (s *screen) event(what string) {
	s.Printf("%4.1fs  %-17s", time.Since(s.began).Seconds(), what)
	for _, c := range s.clients {
		n, how := c.sent.Load(), "ok"
		if failed := c.failed.Load(); failed > 0 {
			n, how = failed, "failed"
		}
		s.Printf("%11s", fmt.Sprintf("%d %s", n, how))
	}
	s.Printf("\n")
}

// end prints the table, and says whether patrol has done its job.
func (s *screen) end(rotations int) error {
	s.Printf("\n%d rotations in %.0f seconds\n\n", rotations, time.Since(s.began).Seconds())
	t := cli.NewTable(s.Out)
	t.Line("client\trequests\tfailures\t")
	var broken []string
	for _, c := range s.clients {
		sent, failed := c.sent.Load(), c.failed.Load()
		why, _ := c.lastErr.Load().(string)
		t.Line("%s\t%d\t%d\t%s", c.name, sent, failed, why)
		if !c.doomed && (failed > 0 || sent == 0) {
			broken = append(broken, c.column)
		}
	}
	_ = t.Flush()
	const least = 3
	switch {
	case len(broken) > 0:
		return fmt.Errorf("clients failed that should not: %s", strings.Join(broken, ", "))
	case rotations < least:
		return fmt.Errorf("only %d rotations happened", rotations)
	}
	return nil
}
