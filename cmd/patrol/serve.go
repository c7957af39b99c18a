package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator"
	"patrol/rotator/pat"
)

const serveLong = `Keep the token of one profile fresh, and every local tool signed in with it,
until SIGINT or SIGTERM. SIGHUP ends it too where stdin or stderr is a terminal;
elsewhere it has the profile, the agents' files and --upstream-ca read again, and
no flag or variable.

patrol starts with the token that it finds: in the profile, or in
DATABRICKS_TOKEN if that came with this workspace's DATABRICKS_HOST. With
--profile that pair is ignored, unless --host names its workspace and the profile
has no token yet. patrol mints the next ones itself, writes them to the files,
puts them on the requests that pass its proxy, and revokes the old ones once
nobody uses them any more.

A token that is missing or dead doesn't end the service: it says so, in its log,
in "patrol status" and to every agent that asks, and goes on as soon as there is
one that works.

Its log goes to stderr and waits for nobody: lines that aren't read in time are
dropped, and counted in the log; a reader that ends doesn't end the service.

At SIGTERM requests that are under way have 10 seconds to finish; a second
signal ends them at once. What is still to be revoked is left to the next start.`

// shutdownGrace is how long requests under way may take to finish at the end.
const shutdownGrace = 10 * time.Second

func newServe(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupService,
		Short:   "Run the service: rotate on a schedule, and serve the proxy",
		Long:    serveLong,
		Example: `  patrol serve
  patrol serve --profile work --schedule '0 */2 * * *' --lifetime 3h
  patrol serve --host https://dbc-1234.cloud.databricks.com --listen 127.0.0.1:4001
  PATROL_LOG_FORMAT=json patrol serve`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), o)
		},
	}
	addFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "listen", "upstream", "anthropic-upstream",
		"openai-upstream", "gemini-upstream", "gateway", "upstream-ca", "allow-api", "filter", "wait", "replay-limit",
		"allow-user", "allow-host", "client-key-file", "schedule", "lifetime", "grace",
		"write", "instance", "state-dir", "log-level", "log-format")
	return cmd
}

// serve runs the service until ctx is done.
func (a *app) serve(ctx context.Context, o options) error {
	surviveReader()
	hangups := hangups()
	if queue, ok := a.stderr.(*logQueue); ok {
		queue.setFormat(o.logFormat)
	}
	log := newLog(a.stderr, o.logFormat, o.level)
	t, err := a.resolveTarget(o)
	if err != nil {
		return err
	}
	if t.ignored != "" {
		log.Warn("DATABRICKS_TOKEN is set and not used", "why", t.ignored)
	}
	dir, err := a.stateDir(o, t.profile.name)
	if err != nil {
		return err
	}
	led, running, err := a.acquire(ctx, serveCommand, t.profile, dir, o.instance, lockPatience, log)
	if err != nil {
		return err
	}
	if running != nil {
		return alreadyRuns(running)
	}
	lns, err := listenAll(ctx, o.listen)
	if err != nil {
		_ = led.Close()
		return a.portTaken(ctx, o, dir, err)
	}
	handovers := make(chan pat.Handover)
	c, err := a.newCore(ctx, o, t, led, proxyURL(addrOf(lns[0])), handovers, log)
	if err != nil {
		closeAll(lns)
		return err
	}
	defer c.close()
	s, err := a.newService(ctx, o, c, dir, lns, handovers, log)
	if err != nil {
		closeAll(lns)
		return err
	}
	s.hangups, s.rootCAs = hangups, o.proxy.rootCAs
	return s.run(ctx)
}

// alreadyRuns says which service has the state.
func alreadyRuns(running *controlClient) error {
	p := running.info
	return hinted(fmt.Errorf("a patrol runs already for profile %s: pid %d on %s", p.Profile, p.PID, p.addresses()),
		"see patrol status; for another profile: --profile NAME --listen 127.0.0.1:4001")
}

// addrOf returns where a listener of TCP listens.
func addrOf(ln net.Listener) netip.AddrPort {
	if addr, ok := ln.Addr().(*net.TCPAddr); ok {
		return addr.AddrPort()
	}
	return netip.AddrPort{}
}

// A service is everything that serve runs.
type service struct {
	*core
	info    ping
	lns     []net.Listener
	proxy   *proxy.Proxy
	guard   *guard.Guard
	control *control
	log     *slog.Logger

	hangups <-chan os.Signal // each has the files read again
	rootCAs func() (*x509.CertPool, error)
}

// newService makes the proxy and opens the control socket.
func (a *app) newService(ctx context.Context, o options, c *core, dir string, lns []net.Listener, handovers <-chan pat.Handover, log *slog.Logger) (*service, error) {
	s := &service{core: c, lns: lns, log: log}
	s.info = ping{
		PID:     os.Getpid(),
		Version: versionText(),
		Since:   time.Now().Round(0),
		Host:    c.client.Host().String(),
		Profile: c.target.profile.name,
		State:   dir,

		Schedule:    o.cronSpec,
		MintProfile: o.mintProfile,
	}
	var listening []net.Addr
	for _, ln := range lns {
		s.info.Listen = append(s.info.Listen, addrOf(ln).String())
		listening = append(listening, ln.Addr())
	}
	cfg := o.proxy.config()
	cfg.Host, cfg.Handovers, cfg.Log = c.client.Host().String(), handovers, log
	cfg.Ready, cfg.Refused = c.ready, c.rotator.Refused
	cfg.Warnings = func() []string { return fileWarnings(c.fileStatuses()) }
	var err error
	if cfg.RootCAs, err = o.proxy.rootCAs(); err != nil {
		return nil, err
	}
	if cfg.Guard, err = o.proxy.newGuard(lns, c.ledger.Knows, log); err != nil {
		return nil, err
	}
	s.guard = cfg.Guard
	if s.proxy, err = proxy.New(cfg); err != nil {
		return nil, errUpstream(err)
	}
	if err := errUpstream(s.proxy.CheckLoops(ctx, listening...)); err != nil {
		return nil, err
	}
	for i := range lns {
		lns[i] = s.guard.Limit(lns[i])
	}
	ln, err := a.listenControl(dir, log)
	if err != nil {
		return nil, err
	}
	s.control = newControl(ln, s.handler(), log)
	return s, nil
}

// run serves until ctx is done or a part of the service fails. In the end the
// proxy goes on receiving tokens until the rotator has stopped, so that a
// rotation that is under way can finish.
func (s *service) run(ctx context.Context) error {
	s.log.Info("patrol serves", "profile", s.info.Profile, "host", s.info.Host, "listen", s.info.Listen,
		"state", s.info.State, "version", s.info.Version)
	receiving, received := s.receive(context.WithoutCancel(ctx))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.proxy.Serve(s.lns...) })
	g.Go(func() error { return s.control.run(ctx, shutdownGrace) })
	g.Go(func() error { return s.rotate(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.readAgain(ctx) })
	g.Go(func() error { s.tryMinter(ctx, s.log); return nil })
	g.Go(func() error {
		<-ctx.Done()
		s.log.Info("stopping: no new requests, those under way may finish", "within", shutdownGrace)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if err := s.proxy.Shutdown(drain); err != nil {
			s.log.Warn("requests were cut off", "err", err)
		}
		return nil
	})
	err := g.Wait()
	receiving()
	return errors.Join(err, <-received, s.guard.Close())
}

// receive has the proxy take tokens until stop is called.
func (s *service) receive(ctx context.Context) (stop func(), done <-chan error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.proxy.Run(ctx) }()
	return cancel, ended
}

// rotate keeps the token fresh until ctx is done. That there is no token yet is
// no reason to stop; that nobody can tell which one to use is.
func (s *service) rotate(ctx context.Context) error {
	defer s.rotator.Close()
	err := s.rotator.Start(ctx)
	if _, ok := errors.AsType[*rotator.ConflictError](err); ok {
		return atEdge(err)
	}
	return s.rotator.Run(ctx) // which says what Start could not find
}
