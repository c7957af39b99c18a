// Package service is what "patrol serve" runs: the rotator, the proxy and the
// control socket, wired together, and what they need of the system: listeners,
// SIGHUP, a watch on the profile, and a log that holds nothing up.
package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator"
	"patrol/rotator/atomicfile"
	"patrol/rotator/pat"
)

// shutdownGrace is how long requests under way may take to finish at the end.
const shutdownGrace = 10 * time.Second

// A Service is everything that serve runs.
type Service struct {
	*session.Engine
	o         cli.Options
	info      control.Ping
	lns       []net.Listener
	proxy     *proxy.Proxy
	upstreams []proxy.Upstream
	guard     *guard.Guard
	folder    *folder      // the state folder
	control   net.Listener // nil: the disk refuses the control socket
	profile   string       // the path of the profile's file
	log       *slog.Logger

	// reloading is held while the guard gets the keys, so that it gets older ones never
	// after newer ones. It is held over the disk.
	reloading sync.Mutex
}

// Run runs the service until ctx is done or a part of it fails.
func Run(ctx context.Context, o cli.Options) error {
	if err := leaveNoTrace(o.Harden); err != nil {
		return err
	}
	hangups := hangups()
	if _, ok := o.Err.(*LogQueue); ok { // as it isn't in the demo, which ends with its reader
		surviveReader()
	}
	open, err := session.Open(ctx, o)
	if err != nil {
		return err
	}
	defer open.Close()
	t, err := open.Lock(ctx)
	if err == nil && open.Service != nil {
		p := open.Service.Ping
		err = cli.Hinted(fmt.Errorf("a patrol runs already for profile %s: pid %d on %s", p.Profile, p.PID, p.Addresses()),
			"see patrol status; for another profile: --profile NAME --listen 127.0.0.1:4001")
	}
	if err != nil {
		return err
	}
	lns, err := Listen(ctx, o, open.Dir, open.Log)
	if err != nil {
		return err
	}
	defer CloseAll(lns)
	s, err := newService(ctx, o, open, t, lns)
	if err != nil {
		return err
	}
	return s.run(ctx, hangups)
}

// newService makes the engine and the proxy, and opens the control socket.
func newService(ctx context.Context, o cli.Options, open *session.Session, t target.Target, lns []net.Listener) (*Service, error) {
	handovers := make(chan pat.Handover)
	proxy := noteProxy(open, t.Profile.Name, lns)
	e, err := open.Engine(ctx, t, proxy.Listen, handovers)
	if err != nil {
		return nil, err
	}
	s := &Service{Engine: e, o: o, lns: lns, profile: t.Profile.File, log: open.Log}
	s.folder = newFolder(e, state.Holder{PID: os.Getpid(), Command: state.ServeCommand, Profile: t.Profile.Name}, proxy, open.Dir, open.Log)
	s.folder.reloadKeys = s.ReloadKeys
	s.info = control.Ping{
		Control: control.Version,
		PID:     os.Getpid(),
		Version: cli.Version(),
		Since:   time.Now().Round(0),
		Host:    e.Client.Host().String(),
		Profile: t.Profile.Name,
		State:   open.Dir,

		Schedule:    o.CronSpec,
		MintProfile: o.MintProfile,
	}
	for _, addr := range proxy.Listen {
		s.info.Listen = append(s.info.Listen, addr.String())
	}
	if err := s.newProxy(ctx, handovers); err != nil {
		return nil, err
	}
	s.control, err = control.Listen(open.Dir, s.log)
	if atomicfile.IsDiskError(err) {
		s.log.Error("the control socket can't be made: patrol's commands don't find this service until it can be", "err", err)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	// A command that changed them before there was a socket could tell nobody.
	if err := s.ReloadKeys(); err != nil {
		s.log.Error("the client keys stay those of the start", "err", err)
	}
	return s, nil
}

// newProxy makes the proxy and who may use it known.
func (s *Service) newProxy(ctx context.Context, handovers <-chan pat.Handover) (err error) {
	if s.guard, err = s.newGuard(); err != nil {
		return err
	}
	if s.guard.KnowsOwners() {
		s.info.Network = control.Network()
	}
	s.setKeys()
	cfg := s.o.Proxy
	cfg.Host, cfg.Handovers, cfg.Log, cfg.Guard = s.info.Host, handovers, s.log, s.guard
	cfg.Ready, cfg.Warnings, cfg.Refused = s.ready, s.warnings, s.Rotator.Refused
	if forBodies := s.limitMemory(); cfg.ReplayMemory == 0 {
		cfg.ReplayMemory = forBodies
	}
	var listening []net.Addr
	for i, ln := range s.lns {
		listening = append(listening, ln.Addr())
		s.lns[i] = s.guard.Limit(ln)
	}
	if s.proxy, err = proxy.New(cfg); err == nil {
		s.upstreams, err = cfg.Upstreams()
	}
	if err == nil {
		err = checkLoops(ctx, append(s.upstreams, proxy.Upstream{Setting: "--host", URL: cfg.Host}), listening)
	}
	if err != nil {
		return cli.Usage("the upstreams are the Databricks side: {host}/serving-endpoints, or a gateway", "setting up the proxy: %w", err)
	}
	return nil
}

// Ping tells who the service is. With Status, Upstreams, Token and what the Engine
// does it is the control.API.
func (s *Service) Ping() control.Ping { return s.info }

// Upstreams tells where the proxy sends requests.
func (s *Service) Upstreams() []proxy.Upstream { return s.upstreams }

// Token returns the token in use, or why there is none.
func (s *Service) Token() (pat.Token, error) {
	return s.Rotator.Current(), session.AtEdge(s.Rotator.Ready())
}

// newGuard makes who may use the proxy known.
func (s *Service) newGuard() (*guard.Guard, error) {
	cfg := s.o.Guard
	cfg.Token, cfg.NoOwners, cfg.Log = s.tokenUse, s.o.NoOwners, s.log
	for _, ln := range s.lns {
		ip := addrOf(ln).Addr()
		if !ip.IsLoopback() {
			s.log.Warn("listening beyond this machine: clients there need a client key (patrol keys new NAME), and it travels in clear text",
				"listen", ln.Addr())
		}
		switch ip {
		case netip.IPv4Unspecified(), netip.IPv6Unspecified(), netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback():
		default:
			cfg.AllowHosts = append(cfg.AllowHosts, ip.String())
		}
	}
	g, err := guard.New(cfg)
	if err != nil {
		return nil, cli.Usage("see --allow-user, --allow-host and --client-key-file in patrol serve --help", "%w", err)
	}
	return g, nil
}

// run serves until ctx is done or a part of the service fails. In the end the
// proxy goes on receiving tokens until the rotator has stopped, so that a
// rotation that is under way can finish.
func (s *Service) run(ctx context.Context, hangups <-chan os.Signal) error {
	s.log.Info("patrol serves", "profile", s.info.Profile, "host", s.info.Host, "listen", s.info.Listen,
		"state", s.info.State, "version", s.info.Version)
	receiving, stopReceiving := context.WithCancel(context.WithoutCancel(ctx))
	received := make(chan error, 1)
	go func() { received <- s.proxy.Run(receiving) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.proxy.Serve(s.lns...) })
	g.Go(func() error { return s.runControl(ctx) })
	g.Go(func() error { return s.rotate(ctx) })
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error { return s.readAgain(ctx, hangups) })
	g.Go(func() error { s.Minter.WarnIfBroken(ctx, s.log); return nil })
	g.Go(func() error { s.shutDown(ctx); return nil })
	err := g.Wait()
	stopReceiving()
	return errors.Join(err, <-received, s.guard.Close())
}

// shutDown ends the proxy once ctx is done.
func (s *Service) shutDown(ctx context.Context) {
	<-ctx.Done()
	s.log.Info("stopping: no new requests, those under way may finish", "within", shutdownGrace)
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := s.proxy.Shutdown(drain); err != nil {
		s.log.Warn("requests were cut off", "err", err)
	}
}

// rotate keeps the token fresh until ctx is done. That there is no token yet is
// no reason to stop; that nobody can tell which one to use is.
func (s *Service) rotate(ctx context.Context) error {
	defer s.Rotator.Close()
	err := s.Rotator.Start(ctx)
	if errors.Is(err, rotator.ErrConflict) {
		return session.AtEdge(err)
	}
	return s.Rotator.Run(ctx) // which says what Start could not find
}
