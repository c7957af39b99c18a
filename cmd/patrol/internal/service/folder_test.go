//go:build unix

package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/rotator/ledger"
)

// buffer takes a log that is read while it is written.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// open is a service's state folder, with its ledger.
func openFolder(t *testing.T) (f *folder, log *buffer) {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "patrol-test-") //nolint:usetesting // the path of t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	log = &buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	dir := filepath.Join(root, "state")
	led, err := ledger.Open(ledger.Config{Dir: dir, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = led.Close() })
	keys, err := state.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	f = newFolder(&session.Engine{Ledger: led, Keys: keys}, state.Holder{PID: os.Getpid(), Command: state.ServeCommand}, state.Proxy{Profile: "work"}, dir, logger)
	f.reloadKeys = func() error { return errors.Join(keys.Reload(), keys.Save()) }
	return f, log
}

func TestFolderLook(t *testing.T) {
	for name, c := range map[string]struct {
		replace  func(dir string) error
		replaced bool
		problem  string // of the second look
		root     bool
	}{
		"as it was": {replace: func(string) error { return nil }},
		"taken away": {replaced: true, replace: func(dir string) error {
			return os.Rename(dir, dir+".old")
		}},
		"its keys alone": {replace: func(dir string) error {
			return os.Remove(filepath.Join(dir, "keys"))
		}},
		"another one of ours": {replaced: true, replace: func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700))
		}},
		"open to others": {problem: "is open to others", replace: func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777)) //nolint:gosec // that is the mistake
		}},
		"another user's": {root: true, problem: "belongs to uid 12345", replace: func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700), os.Chown(dir, 12345, -1))
		}},
		"a file": {problem: "is not a folder", replace: func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.WriteFile(dir, nil, 0o600))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("only root gives folders away")
			}
			f, log := openFolder(t)
			if f.Look() || f.Problem() != nil {
				t.Fatalf("untouched: %v", f.Problem())
			}
			if err := c.replace(f.dir); err != nil {
				t.Fatal(err)
			}
			if got := f.Look(); got != c.replaced {
				t.Errorf("replaced: %v", got)
			}
			key, _ := f.keys.Key(state.DefaultKey)
			there, _ := state.ReadKeys(f.dir)
			if got, _ := there.Key(state.DefaultKey); (got == key) != (c.problem == "") {
				t.Error("the client keys aren't there, or where they shouldn't be")
			}
			again := f.Look()
			err := f.Problem()
			if again || (err == nil) != (c.problem == "") || err != nil && (!strings.Contains(err.Error(), c.problem) || cli.HintOf(err) == "") {
				t.Errorf("the second look: %v, %v (%s)", again, err, cli.HintOf(err))
			}
			if n := strings.Count(log.String(), "level=ERROR"); (n == 1) != (c.problem != "") {
				t.Errorf("%d errors in the log:\n%s", n, log.String())
			}
			if c.replaced && (state.ReadHolder(f.dir).PID != os.Getpid() || state.ReadProxy(f.dir).Profile != "work") {
				t.Error("it isn't noted there who has the folder")
			}
			if c.problem == "" {
				return
			}
			if err := errors.Join(os.RemoveAll(f.dir), os.Rename(f.dir+".old", f.dir)); err != nil {
				t.Fatal(err)
			}
			if f.Look() || f.Problem() != nil {
				t.Errorf("back again: %v", f.Problem())
			}
		})
	}
}

// TestFolderOfAnotherPatrol: another patrol of ours has begun anew in our place, and
// keeps its ledger and its control socket.
func TestFolderOfAnotherPatrol(t *testing.T) {
	f, _ := openFolder(t)
	old, err := control.Listen(f.dir, f.log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(f.dir, f.dir+".old"); err != nil {
		t.Fatal(err)
	}
	other, err := ledger.Open(ledger.Config{Dir: f.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	theirs, err := control.Listen(f.dir, f.log)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if f.Look() || !errors.Is(f.Problem(), ledger.ErrLocked) {
		t.Errorf("problem %v", f.Problem())
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, control.SocketName)); err != nil {
		t.Errorf("their control socket is gone: %v", err)
	}
}

// TestControlSocketIsOpenedAnew: commands find the service again after the state folder
// was taken away.
func TestControlSocketIsOpenedAnew(t *testing.T) {
	f, log := openFolder(t)
	f.every = 10 * time.Millisecond
	s := &Service{Engine: &session.Engine{}, folder: f, info: control.Ping{PID: os.Getpid(), State: f.dir}, log: f.log}
	var err error
	if s.control, err = control.Listen(f.dir, f.log); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.runControl(ctx) }()
	for i := range 3 {
		if err := os.Rename(f.dir, fmt.Sprint(f.dir, i)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, err := control.Dial(t.Context(), f.dir, time.Second); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("it isn't found again: %v\n%s", err, log.String())
			}
		}
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, control.SocketName)); err == nil {
		t.Error("the socket is left behind")
	}
}
