package control

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
)

// canary is a token's value that no output may contain.
const canary = "dapi-canary-0123456789abcdef"

// shortDir returns a folder whose sockets have short paths.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "patrol-test-") //nolint:usetesting // the path of t.TempDir is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serveControl serves handler on the control socket of dir until stop is called.
func serveControl(t *testing.T, dir string, handler http.Handler) (stop func()) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ln, err := Listen(dir, log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, handler, log, time.Second) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	return stop
}

func pong(w http.ResponseWriter, _ *http.Request) { reply(w, struct{}{}, nil) }

func TestControl(t *testing.T) {
	for name, dir := range map[string]string{"short": shortDir(t), "long": filepath.Join(shortDir(t), strings.Repeat("x", maxSocketPath))} {
		t.Run(name, func(t *testing.T) {
			if err := state.MakePrivate(dir); err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.HandleFunc("GET /ping", pong)
			mux.HandleFunc("GET /value", func(w http.ResponseWriter, _ *http.Request) { reply(w, map[string]int{"n": 42}, nil) })
			mux.HandleFunc("POST /fails", func(w http.ResponseWriter, _ *http.Request) {
				reply(w, nil, cli.NeedsLogin(errors.New("no "+canary), "patrol login"))
			})
			stop := serveControl(t, dir, mux)
			if info, err := os.Stat(filepath.Join(dir, SocketName)); err != nil || info.Mode() != os.ModeSocket|0o600 {
				t.Errorf("the socket: %v, %v", info, err)
			}
			c, err := Dial(t.Context(), dir, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			got, err := call[map[string]int](t.Context(), c, http.MethodGet, "/value", nil)
			if err != nil || got["n"] != 42 {
				t.Errorf("got %v, %v", got, err)
			}
			_, err = call[any](t.Context(), c, http.MethodPost, "/fails", nil)
			if code, hint := cli.CodeOf(err), cli.HintOf(err); code != cli.ExitLogin || hint != "patrol login" || err.Error() != "no dapi…" {
				t.Errorf("error %v, code %d, hint %q", err, code, hint)
			}
			if _, err := call[any](t.Context(), c, http.MethodGet, "/nothing", nil); err == nil || !strings.Contains(err.Error(), "404") {
				t.Errorf("an unknown path: %v", err)
			}
			stop()
			left, err := filepath.Glob(filepath.Join(dir, "*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if _, err := Dial(t.Context(), dir, time.Minute); !errors.Is(err, ErrNoService) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// A service that was killed leaves its socket; the next one takes its place.
func TestControlStale(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, SocketName)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir, time.Minute); !errors.Is(err, ErrNoService) {
		t.Fatalf("a stale socket: %v", err)
	}
	defer serveControl(t, dir, http.HandlerFunc(pong))()
	if _, err := Dial(t.Context(), dir, time.Minute); err != nil {
		t.Errorf("after the next start: %v", err)
	}
}

// A link to a socket elsewhere, as version 1 made it, is replaced too.
func TestControlStaleLink(t *testing.T) {
	dir := filepath.Join(shortDir(t), strings.Repeat("x", maxSocketPath))
	if err := state.MakePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere/at/all.sock", filepath.Join(dir, SocketName)); err != nil {
		t.Fatal(err)
	}
	defer serveControl(t, dir, http.HandlerFunc(pong))()
	if _, err := Dial(t.Context(), dir, time.Minute); err != nil {
		t.Error(err)
	}
}

// A file that isn't a socket is somebody's.
func TestControlNoSocket(t *testing.T) {
	dir := shortDir(t)
	path := filepath.Join(dir, SocketName)
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(dir, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "mine" {
		t.Errorf("the file: %q, %v", got, err)
	}
}

// A service that was stopped accepts connections and never answers.
func TestControlMute(t *testing.T) {
	dir := shortDir(t)
	ln, err := net.Listen("unix", filepath.Join(dir, SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, err = Dial(t.Context(), dir, 20*time.Millisecond)
	code, hint := cli.CodeOf(err), cli.HintOf(err)
	if err == nil || errors.Is(err, ErrNoService) || !strings.Contains(err.Error(), dir) || code != cli.ExitFailed || hint == "" {
		t.Errorf("error %v, code %d, hint %q", err, code, hint)
	}
	// If the caller gives up first, that is no news of the service.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Dial(ctx, dir, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A service that was killed within a request is named, and not how that looks
// to a socket.
func TestControlEndsWithinARequest(t *testing.T) {
	dir := shortDir(t)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", pong)
	mux.HandleFunc("POST /rotate", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	defer serveControl(t, dir, mux)()
	c, err := Dial(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Rotate(t.Context())
	if hint := cli.HintOf(err); err == nil || err.Error() != "the service ended before it had answered" || hint == "" {
		t.Errorf("error %v, hint %q", err, hint)
	}
}

// A long answer is waited for; when the service ends meanwhile, it is finished.
func TestControlFinishesAnswers(t *testing.T) {
	dir := shortDir(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", pong)
	mux.HandleFunc("POST /slow", func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-goOn
		reply(w, r.Context().Err() == nil, nil)
	})
	stop := serveControl(t, dir, mux)
	c, err := Dial(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		alive bool
		err   error
	}
	answered := make(chan result, 1)
	go func() {
		var r result
		r.alive, r.err = call[bool](t.Context(), c, http.MethodPost, "/slow", nil)
		answered <- r
	}()
	<-began
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for { // until the socket is closed
		if _, err := os.Stat(filepath.Join(dir, SocketName)); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(goOn)
	if r := <-answered; r.err != nil || !r.alive {
		t.Errorf("the answer: %+v", r)
	}
	<-stopped
}

func TestPeerUID(t *testing.T) {
	dir := shortDir(t)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	conn, err := net.DialUnix("unix", nil, ln.Addr().(*net.UnixAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	uid, err := peerUID(conn)
	if err != nil || uid != os.Geteuid() {
		t.Errorf("peerUID = %d, %v; want %d", uid, err, os.Geteuid())
	}
	if err := checkPeer(conn, os.Geteuid()); err != nil {
		t.Errorf("our own user: %v", err)
	}
	if err := checkPeer(conn, os.Geteuid()+1); err == nil && os.Geteuid() != 0 {
		t.Error("another user is let in")
	}
}

// broken answers with a panic.
type broken struct{ API }

func (broken) Ping() Ping     { return Ping{} }
func (broken) Status() Status { panic("about " + canary) }

// A panic in what answers a command is that command's error, and tells no more.
func TestControlPanics(t *testing.T) {
	dir := shortDir(t)
	stop := serveControl(t, dir, Handler(broken{}, slog.New(slog.NewTextHandler(t.Output(), nil))))
	defer stop()
	c, err := Dial(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "a mistake in patrol") || strings.Contains(err.Error(), canary) {
		t.Errorf("error %v", err)
	}
}
