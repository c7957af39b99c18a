package control

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Another user who gets past the modes is told nothing.
func TestControlOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := shortDir(t)
	path := filepath.Join(dir, SocketName)
	asked := make(chan string, 1)
	stop := serveControl(t, dir, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		pong(w, r)
	}))
	defer stop()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil { //nolint:gosec // what must not matter
		t.Fatal(err)
	}
	answer, err := askAs(12345, path)
	if err != nil || answer != "" {
		t.Errorf("uid 12345 was answered %q, %v", answer, err)
	}
	select {
	case p := <-asked:
		t.Errorf("the handler was asked for %s", p)
	default:
	}
	if answer, err = askAs(0, path); err != nil || answer == "" {
		t.Errorf("uid 0 was answered %q, %v", answer, err)
	}
}

// askAs sends a request to a socket as uid and returns the answer.
func askAs(uid int, path string) (answer string, err error) {
	type result struct {
		answer string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			done <- result{err: errno}
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		}
		if err != nil {
			done <- result{err: err}
			return
		}
		f := os.NewFile(uintptr(fd), path)
		defer func() { _ = f.Close() }()
		_, err = f.WriteString("GET /ping HTTP/1.0\r\n\r\n")
		if err != nil && !errors.Is(err, unix.EPIPE) {
			done <- result{err: err}
			return
		}
		raw, err := io.ReadAll(f)
		if errors.Is(err, unix.ECONNRESET) {
			err = nil
		}
		done <- result{string(raw), err}
	}()
	select {
	case r := <-done:
		return r.answer, r.err
	case <-time.After(10 * time.Second):
		return "", errors.New("no answer and no end")
	}
}
