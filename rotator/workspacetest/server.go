package workspacetest

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"
)

// Server is a Workspace that listens.
type Server struct {
	*Workspace
	URL string // "http://127.0.0.1:PORT", or https with Config.TLS
	CA  []byte // PEM of the authority that signed the server's certificate; nil without Config.TLS

	srv *httptest.Server
}

// Start serves a new workspace on a loopback port. The caller closes it.
func Start(cfg Config) (*Server, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting the workspace: %w", err)
	}
	s := &Server{Workspace: New(cfg)}
	s.srv = &httptest.Server{Listener: ln, Config: newServer(s.Workspace), EnableHTTP2: true}
	if cfg.TLS {
		s.srv.StartTLS()
		s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw})
	} else {
		s.srv.Start()
	}
	s.URL = s.srv.URL
	return s, nil
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
}

// Close ends the listener and all connections at once, and waits for the calls
// under way.
func (s *Server) Close() error {
	err := s.srv.Config.Close()
	s.srv.Close()
	return err
}
