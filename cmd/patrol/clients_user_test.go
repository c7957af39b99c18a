//go:build clients && linux

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/state"
	"patrol/rotator/workspacetest"
)

// stranger is another user of this machine. That it has no name changes nothing.
const stranger = 64123

// TestClientAnotherUser: whoever else has an account here gets neither the token nor
// the use of it.
func TestClientAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can play another user: run this as root")
	}
	curl := debian(t, "curl", "curl")
	svc := newTestService(t, workspacetest.Config{})
	svc.serve(t, "--grace", "0s") // on both loopback addresses
	openPath(t, svc.home)
	as := func(args ...string) (string, error) {
		const patience = 20 * time.Second
		return program{
			args: args, dir: "/", uid: stranger, patience: patience,
			env: []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "NO_PROXY=*"},
		}.do(beforeDeadline(t))
	}

	p := svc.control.Ping
	if len(p.Listen) != 2 {
		t.Fatalf("listening on %v; want two addresses", p.Listen)
	}
	ask := func(addr, credential string) (string, error) {
		return as(curl, "-sS", "--max-time", "10", "-w", "\n%{http_code}", "http://"+addr+"/v1/chat/completions",
			"-H", "Authorization: Bearer "+credential, "-H", "Content-Type: application/json",
			"-d", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
	}

	keys, err := state.ReadKeys(svc.state())
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Key(state.DefaultKey)

	t.Run("proxy", func(t *testing.T) {
		for _, addr := range p.Listen {
			for name, credential := range map[string]string{"none": "", "a wrong one": "guess", "the current one": svc.minted(t), "a client key": key} {
				out, err := ask(addr, credential)
				want := "--allow-user " + strconv.Itoa(stranger)
				if err != nil || !strings.HasSuffix(out, "\n403") || !strings.Contains(out, want) {
					t.Errorf("%s, with %s: %v\n%s\nwant 403 and a word of %s", addr, name, err, out, want)
				}
			}
		}
		for _, r := range svc.ws.Requests() {
			if !strings.HasPrefix(r.Path, "/api/2.0/") { // patrol's own
				t.Errorf("%s %s reached the workspace", r.Method, r.Path)
			}
		}
	})
	t.Run("state", func(t *testing.T) { svc.wantPrivate(t, as) })
	t.Run("socket", func(t *testing.T) { svc.wantClosed(t, as) })
	svc.stop(t)
	for _, why := range []string{"reason=foreign_user", "the other end belongs to uid " + strconv.Itoa(stranger)} {
		if !strings.Contains(svc.log.String(), why) {
			t.Errorf("the log doesn't say %q:\n%s", why, svc.log.String())
		}
	}

	t.Run("allowed", func(t *testing.T) {
		svc.serve(t, "--allow-user", strconv.Itoa(stranger))
		if out, err := ask(strings.TrimPrefix(svc.proxy, "http://"), ""); err != nil || !strings.HasSuffix(out, "\n200") {
			t.Errorf("%v\n%s", err, out)
		}
		svc.wantPrivate(t, as)
		svc.wantClosed(t, as)
	})
}

// openPath opens every folder above and at dir to everybody, so that nothing but
// what patrol does itself keeps others out.
func openPath(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // that is the point
			t.Fatal(err)
		}
	}
}

// wantPrivate checks that a stranger reads nothing that patrol keeps.
func (svc *testService) wantPrivate(t *testing.T, as func(...string) (string, error)) {
	t.Helper()
	open := filepath.Join(svc.home, "open")
	if err := os.WriteFile(open, []byte("hello"), 0o644); err != nil { //nolint:gosec // a control
		t.Fatal(err)
	}
	if out, err := as("cat", open); err != nil || out != "hello" {
		t.Fatalf("the stranger can't even read what is open: %v, %s", err, out)
	}
	state := filepath.Join(svc.home, "s")
	private := []string{filepath.Join(svc.home, ".databrickscfg")}
	err := filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			private = append(private, path)
		}
		return err
	})
	if err != nil || len(private) < 3 {
		t.Fatalf("files: %q, %v; want the profile, the ledger and more", private, err)
	}
	for _, path := range private {
		if out, err := as("cat", path); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("reading %s: %v, %d bytes", path, err, len(out))
		}
		if out, err := as("sh", "-c", `: >> "$0"`, path); err == nil {
			t.Errorf("writing %s: %v %s", path, err, out)
		}
	}
	if out, err := as("ls", state); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("listing the state: %v %s", err, out)
	}
	t.Logf("closed to others: %q", private)
}

// wantClosed checks that a stranger can ask nothing over the control socket, not
// even if the folder and the socket were opened to it.
func (svc *testService) wantClosed(t *testing.T, as func(...string) (string, error)) {
	t.Helper()
	state := filepath.Join(svc.home, "s")
	curl := func(path string) (string, error) {
		return as("curl", "-sS", "--max-time", "10", "--unix-socket", filepath.Join(state, control.SocketName), "http://patrol"+path)
	}
	minted := len(svc.ws.Tokens())
	check := func(how string) {
		t.Helper()
		for _, path := range []string{"/ping", "/token", "/status"} {
			if out, err := curl(path); err == nil || strings.Contains(out, "{") {
				t.Errorf("%s: GET %s: %v\n%s", how, path, err, out)
			}
		}
	}
	check("closed")
	modes := map[string]fs.FileMode{state: 0o700, filepath.Join(state, control.SocketName): 0o600}
	for path, want := range modes {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info, err, want)
		}
		if err := os.Chmod(path, want|0o077); err != nil {
			t.Fatal(err)
		}
	}
	check("opened")
	for path, mode := range modes {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(svc.ws.Tokens()); got != minted {
		t.Errorf("%d tokens were minted meanwhile", got-minted)
	}
	if _, err := svc.control.Status(t.Context()); err != nil {
		t.Error(fmt.Errorf("and then the service itself: %w", err))
	}
}
