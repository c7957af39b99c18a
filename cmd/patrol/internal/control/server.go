// Package control lets the commands talk to the service that runs with a state
// folder: the client, the server, and the messages that pass, by HTTP over a unix
// socket in that folder.
//
// Whoever may connect may have the token, so the folder is 0700, the socket 0600,
// and the kernel is asked for the uid of each peer.
package control

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
	"path/filepath"
	"runtime/debug"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/proxy"
	"patrol/rotator"
	"patrol/rotator/pat"
)

// Listen opens the control socket of a state folder, which must be there, and
// replaces a stale one. The caller must hold the state's lock, which makes sure
// that what is there is stale, and must close the listener before it lets go of the
// lock.
func Listen(stateDir string, log *slog.Logger) (net.Listener, error) {
	l := &peerListener{path: filepath.Join(stateDir, SocketName), log: log}
	if err := removeStale(l.path); err != nil {
		return nil, err
	}
	err := withSocketPath(stateDir, func(path string) (err error) {
		l.UnixListener, err = net.ListenUnix("unix", &net.UnixAddr{Name: path})
		return err
	})
	if err != nil {
		return nil, cli.Hinted(fmt.Errorf("opening the control socket: %w", err), "choose another folder with --state-dir")
	}
	l.SetUnlinkOnClose(false)    // Close does: that path may be gone
	l.made, _ = os.Lstat(l.path) // without, it is left behind
	// Until here the folder's mode keeps others out.
	if err := os.Chmod(l.path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("closing the control socket to others: %w", err)
	}
	return l, nil
}

// peerListener accepts connections of our own user and root only.
type peerListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo // the socket at that path
	log  *slog.Logger
}

// Close removes the socket, too, unless another one stands in its place: the folder may
// be another patrol's by now.
func (l *peerListener) Close() error {
	if there, err := os.Lstat(l.path); err == nil && l.made != nil && os.SameFile(there, l.made) {
		_ = os.Remove(l.path) // a stale one does no harm
	}
	return l.UnixListener.Close()
}

// Accept returns the next connection that may talk to us. It closes others.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
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
func checkPeer(conn *net.UnixConn, uid int) error {
	peer, err := peerUID(conn)
	if err != nil {
		return fmt.Errorf("asking who is at the other end: %w", err)
	}
	if peer != uid && peer != 0 {
		return fmt.Errorf("the other end belongs to uid %d", peer)
	}
	return nil
}

// Serve answers on a listener of Listen until ctx is done, then lets answers that are
// under way finish for grace. The socket is gone when it returns.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler, log *slog.Logger, grace time.Duration) error {
	const (
		slow     = 5 * time.Second
		maxBytes = 16 << 10
	)
	// No ReadTimeout: it would cancel a rotation that takes longer.
	server := &http.Server{
		Handler:           http.MaxBytesHandler(handler, maxBytes),
		ReadHeaderTimeout: slow,
		IdleTimeout:       slow,
		MaxHeaderBytes:    maxBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the control socket: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-served //nolint:errcheck // it is ErrServerClosed
	return err
}

// A Worker does what commands are for: a Client has the service do it, and where none
// runs a command has a worker of its own.
type Worker interface {
	Rotate(context.Context) (Rotation, error)
	Login(ctx context.Context, token string) (Rotation, error)
	Logout(context.Context) (rotator.LogoutResult, error)
}

// An API is what a service answers. An error of it travels with its hint and exit
// code; the contexts end when the client leaves, but for Logout's.
type API interface {
	Worker
	Ping() Ping // at once, whatever else goes on
	Status() Status
	Upstreams() []proxy.Upstream
	Token() (pat.Token, error)
	ReloadKeys() error
}

// Handler returns what serves api. Its other end is Client.
func Handler(api API, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, call func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := withoutPanic(call, r, log)
			reply(w, v, err)
		})
	}
	handle("GET /ping", func(*http.Request) (any, error) { return api.Ping(), nil })
	handle("GET /status", func(*http.Request) (any, error) { return api.Status(), nil })
	handle("GET /upstreams", func(*http.Request) (any, error) { return api.Upstreams(), nil })
	handle("GET /token", func(*http.Request) (any, error) {
		t, err := api.Token()
		return secret{t.Expose()}, err
	})
	handle("POST /keys", func(*http.Request) (any, error) { return struct{}{}, api.ReloadKeys() })
	handle("POST /rotate", func(r *http.Request) (any, error) { return api.Rotate(r.Context()) })
	handle("POST /login", func(r *http.Request) (any, error) {
		var s secret
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil || s.Token == "" {
			return nil, cli.Usage("", "the request holds no token")
		}
		return api.Login(r.Context(), s.Token)
	})
	// Whoever asked may leave: a logout isn't left half done.
	handle("POST /logout", func(r *http.Request) (any, error) { return api.Logout(context.WithoutCancel(r.Context())) })
	return mux
}

// withoutPanic makes an error of a panic in call. The panic's value isn't shown: it
// may hold a token.
func withoutPanic(call func(*http.Request) (any, error), r *http.Request, log *slog.Logger) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a mistake in patrol ended a command", "command", r.URL.Path, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = cli.Hinted(errors.New("a mistake in patrol ended the command"), "the log of patrol serve has the details; please report them")
		}
	}()
	return call(r)
}

// failure is how an error travels over the control socket.
type failure struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
	Exit  int    `json:"exit"`
}

// reply answers with v, or with err if there is one.
func reply(w http.ResponseWriter, v any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusBadGateway
		v = failure{Error: pat.Redact(err.Error()), Hint: cli.HintOf(err), Exit: cli.CodeOf(err)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that has left isn't missed
}
