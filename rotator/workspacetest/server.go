package workspacetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// Server is a Workspace that listens.
type Server struct {
	*Workspace
	URL string // "http://127.0.0.1:PORT", or https with Config.TLS
	CA  []byte // PEM of the authority that signed the server's certificate; nil without Config.TLS

	srv  *http.Server
	done chan error
}

// Start serves a new workspace on a loopback port. The caller closes it.
func Start(cfg Config) (*Server, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the workspace: %w", err)
	}
	s := &Server{Workspace: New(cfg), URL: "http://" + ln.Addr().String(), done: make(chan error, 1)}
	s.srv = &http.Server{
		Handler:           s.Workspace,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	serve := func() error { return s.srv.Serve(ln) }
	if cfg.TLS {
		cert, ca, err := certificate()
		if err != nil {
			_ = ln.Close()
			return nil, fmt.Errorf("starting the workspace: %w", err)
		}
		s.URL, s.CA, s.srv.TLSConfig = "https://"+ln.Addr().String(), ca, cert
		serve = func() error { return s.srv.ServeTLS(ln, "", "") }
	}
	go func() { s.done <- serve() }()
	return s, nil
}

// Close ends the listener and all connections at once, and waits for the calls
// under way.
func (s *Server) Close() error {
	err := s.srv.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.wait()
	s.done <- http.ErrServerClosed // a second Close finds it
	return err
}
