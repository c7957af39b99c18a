package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// server is the listening side.
type server struct {
	http.Server
	cancel context.CancelCauseFunc // ends every request
}

var errShutdown = errors.New("patrol is shutting down")

func newServer(p *Proxy) *server {
	// Never a signal's context: requests under way are to finish.
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &server{cancel: cancel}
	s.Server = http.Server{
		Handler:     p,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(p.cfg.Log.Handler(), slog.LevelDebug),
		// No WriteTimeout: it would cut a long stream. The ReadTimeout ends with the
		// request's body, and an upload puts it off.
		ReadHeaderTimeout:            10 * time.Second,
		ReadTimeout:                  bodyIdle + bodySlack,
		IdleTimeout:                  5 * time.Minute, // agents keep a connection between two turns
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is refused as any target that is no path
	}
	if p.cfg.Guard != nil {
		s.ConnContext = p.cfg.Guard.ConnContext
	}
	return s
}

// Serve accepts on all listeners until Shutdown, and then returns nil, at
// once. If one of them fails it closes all and returns its error. Call it
// once.
func (p *Proxy) Serve(lns ...net.Listener) error {
	if len(lns) == 0 {
		return errors.New("serving: no listener")
	}
	failed := make(chan error, len(lns))
	for _, ln := range lns {
		go func() { failed <- fmt.Errorf("serving on %s: %w", ln.Addr(), p.server.Serve(ln)) }()
	}
	var first error
	for range lns {
		if err := <-failed; first == nil && !errors.Is(err, http.ErrServerClosed) {
			first = err
			p.server.cancel(err)
			_ = p.server.Close()
			p.client.Close()
		}
	}
	return first
}

// Shutdown closes the listeners and waits for the requests under way. Those
// that are there when ctx is done are cut, so that their clients see that the
// answer has no end; then it returns ctx's error.
func (p *Proxy) Shutdown(ctx context.Context) error {
	defer p.client.Close()
	err := p.server.Shutdown(ctx)
	p.server.cancel(errShutdown)
	if err == nil {
		return nil
	}
	// Handlers end at once now, unless they write to a client that doesn't
	// read: those end when their connection is closed.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	_ = p.server.Shutdown(last)
	_ = p.server.Close()
	return fmt.Errorf("waiting for requests under way: %w", err)
}
