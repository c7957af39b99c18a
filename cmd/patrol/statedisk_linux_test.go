package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// output keeps what a process prints, and is safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// TestServeOnBrokenDisk: the disk of the state folder is full or read-only when the
// service starts. It starts, serves with the token that it finds, and says so.
func TestServeOnBrokenDisk(t *testing.T) {
	for _, tool := range []string{"sh", "mount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	// The state as an earlier patrol left it, on a disk of its own that is then put
	// in its place.
	const copied = `mount -t tmpfs -o size=64k,mode=700 patrol "$DISK" && cp -a "$STATE/." "$DISK/"`
	for name, disk := range map[string]struct {
		mount string
		fresh bool // there was no patrol before
		says  string
	}{
		"full":      {copied + ` && { head -c 1048576 /dev/zero >"$DISK/ballast" 2>/dev/null || true; } && mount --bind "$DISK" "$STATE"`, false, "no space left"},
		"read-only": {copied + ` && mount --bind "$DISK" "$STATE" && mount -o remount,bind,ro "$STATE"`, false, "read-only"},
		"no lock":   {`mount -t tmpfs -o ro,mode=700 patrol "$STATE"`, true, "read-only"}, // none can be made
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, err := workspacetest.Start(workspacetest.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = w.Close() })
			home := t.TempDir()
			state, spare := filepath.Join(home, "state"), filepath.Join(home, "disk")
			profile := fmt.Sprintf("[DEFAULT]\nhost = %s\ntoken = %s\n", w.URL, w.Issue(workspacetest.IssueOptions{}).Value)
			if err := errors.Join(os.Mkdir(state, 0o700), os.Mkdir(spare, 0o700),
				os.WriteFile(filepath.Join(home, ".databrickscfg"), []byte(profile), 0o600)); err != nil {
				t.Fatal(err)
			}
			environ := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "XDG_RUNTIME_DIR=" + home, "STATE=" + state, "DISK=" + spare, "GORACE=atexit_sleep_ms=0"}
			if !disk.fresh {
				cmd := exec.Command("patrol", "rotate", "--state-dir", state) //nolint:noctx // it ends by itself
				cmd.Env = environ
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("patrol rotate: %v, %s", err, out)
				}
			}
			before := len(w.Tokens())
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := ln.Addr().String()
			_ = ln.Close()
			script := `mount --make-rprivate / && ` + disk.mount + ` && exec patrol serve --listen ` + address + ` --state-dir "$STATE"`
			var printed output
			cmd := exec.Command("sh", "-c", script) //nolint:noctx,gosec // the cleanup ends it
			cmd.Env, cmd.Stdout, cmd.Stderr = environ, &printed, &printed
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			if os.Geteuid() != 0 {
				cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
				cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
				cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
			}
			if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
				t.Skip("not allowed here: ", err)
			} else if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				err := <-ended
				t.Log("patrol serve ended: ", err)
			})
			status := 0
			for end := time.Now().Add(30 * time.Second); status != http.StatusOK && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
				select {
				case err := <-ended:
					ended <- err
					if strings.Contains(printed.String(), "permission denied") {
						t.Skip("not allowed here: ", printed.String())
					}
					t.Fatalf("patrol serve ended: %v\n%s", err, printed.String())
				default:
				}
				status, _ = askOnce(t.Context(), http.MethodGet, "http://"+address+"/readyz")
			}
			if status != http.StatusOK {
				t.Fatalf("/readyz says %d\n%s", status, printed.String())
			}
			if status, body := askOnce(t.Context(), http.MethodPost, "http://"+address+"/v1/chat/completions"); status != http.StatusOK {
				t.Errorf("a request: %d %s\n%s", status, body, printed.String())
			}
			time.Sleep(2 * time.Second) // a first rotation comes at once
			if n := len(w.Tokens()) - before; n != 0 {
				t.Errorf("%d tokens minted of which no record can be made\n%s", n, printed.String())
			}
			if !strings.Contains(printed.String(), disk.says) {
				t.Errorf("the log doesn't say %q:\n%s", disk.says, printed.String())
			}
		})
	}
}

// askOnce asks for a chat completion, or for a page.
func askOnce(ctx context.Context, method, url string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}
