package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"
)

// The control socket is HTTP over a unix socket in the state folder. Whoever may
// connect may have the token, so: the folder is 0700, the socket 0600, and the
// uid of each peer is asked of the kernel.

// listenControl opens the control socket of a state folder and replaces a stale
// one. The caller must hold the state's lock, which makes sure that what is
// there is stale, and must close the listener before it lets go of the lock.
func (a *app) listenControl(stateDir string, log *slog.Logger) (net.Listener, error) {
	path, link, err := a.socketPath(stateDir)
	if err != nil {
		return nil, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, hinted(fmt.Errorf("opening the control socket: %w", err), "choose another folder with --state-dir")
	}
	// Until here the folder's mode keeps others out.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("closing the control socket to others: %w", err)
	}
	if link != "" {
		if err := relink(path, link); err != nil {
			_ = ln.Close()
			return nil, fmt.Errorf("linking to the control socket: %w", err)
		}
	}
	return &peerListener{Listener: ln, log: log}, nil
}

// removeStale removes a socket that nobody listens on, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for an old control socket: %w", err)
	}
	if info.Mode()&(fs.ModeSocket|fs.ModeSymlink) == 0 {
		return hinted(fmt.Errorf("%s stands where the control socket belongs and is none", path),
			"move it away, or choose another folder with --state-dir")
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing an old control socket: %w", err)
	}
	return nil
}

// relink makes link lead to path, whatever stood there for a service before.
func relink(path, link string) error {
	if err := removeStale(link); err != nil {
		return err
	}
	return os.Symlink(path, link)
}

// peerListener accepts connections of our own user and root only.
type peerListener struct {
	net.Listener
	log *slog.Logger
}

// Accept returns the next connection that may talk to us. It closes others.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := checkPeer(conn, os.Geteuid()); err != nil {
			l.log.Warn("refused a connection to the control socket", "error", err)
			_ = conn.Close()
			continue
		}
		return conn, nil
	}
}

// checkPeer refuses a connection whose other end isn't uid's or root's.
func checkPeer(conn net.Conn, uid int) error {
	peer, known, err := peerUID(conn)
	if err != nil {
		return fmt.Errorf("asking who is at the other end: %w", err)
	}
	if known && peer != uid && peer != 0 {
		return fmt.Errorf("the other end belongs to uid %d", peer)
	}
	return nil
}

// control serves the control socket.
type control struct {
	server *http.Server
	ln     net.Listener
}

func newControl(ln net.Listener, handler http.Handler, log *slog.Logger) *control {
	const (
		slow     = 5 * time.Second
		maxBytes = 16 << 10
	)
	// No ReadTimeout: it would cancel a rotation that takes longer.
	return &control{ln: ln, server: &http.Server{
		Handler:           http.MaxBytesHandler(recovering(handler, log), maxBytes),
		ReadHeaderTimeout: slow,
		IdleTimeout:       slow,
		MaxHeaderBytes:    maxBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// recovering answers with an error if handler panics. The panic's value isn't
// shown: it may hold a token.
func recovering(handler http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler: //nolint:errorlint // it is the value itself, for the server to see
				panic(v)
			default:
				log.Error("a mistake in patrol ended a command", "command", r.URL.Path, "panic", fmt.Sprintf("%T", v), "stack", string(debug.Stack()))
				reply(w, nil, hinted(errors.New("a mistake in patrol ended the command"), "the log of patrol serve has the details; please report them"))
			}
		}()
		handler.ServeHTTP(w, r)
	})
}

// run serves until ctx is done, then lets answers that are under way finish for
// grace. The socket is gone when it returns.
func (c *control) run(ctx context.Context, grace time.Duration) error {
	served := make(chan error, 1)
	go func() { served <- c.server.Serve(c.ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the control socket: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := c.server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = c.server.Close()
	}
	<-served //nolint:errcheck // it is ErrServerClosed
	return err
}

// controlError is how an error travels over the control socket.
type controlError struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Exit  int    `json:"exit"`
}

// reply answers with v, or with err if there is one.
func reply(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadGateway
		answer := controlError{Error: redact(err.Error()), Exit: exitFailed}
		if edge, ok := errors.AsType[*exitError](err); ok {
			answer.Hint, answer.Exit = edge.hint, edge.code
		}
		v = answer
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has left isn't missed
}
