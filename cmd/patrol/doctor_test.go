package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
)

// TestDoctorOfAMuteService ends in time, though nobody answers.
func TestDoctorOfAMuteService(t *testing.T) {
	t.Parallel()
	home, dir := t.TempDir(), t.TempDir()
	ln, err := net.Listen("unix", filepath.Join(dir, control.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// An address that swallows what is sent to it.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := "[DEFAULT]\nhost = http://" + silent.Addr().String() + "\ntoken = dapi0123456789abcdef\n"
	if err := os.WriteFile(filepath.Join(home, ".databrickscfg"), []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	code := run(context.Background(), []string{"doctor", "--state-dir", dir, "--listen", "127.0.0.1:0"},
		cli.Process{Env: cli.Env{"HOME=" + home, "XDG_RUNTIME_DIR=" + dir}, Streams: cli.Streams{In: strings.NewReader(""), Out: &out, Err: &out}})
	if code != cli.ExitFailed || !strings.Contains(out.String(), "FAIL  service") || !strings.Contains(out.String(), "doesn't answer") ||
		!strings.Contains(out.String(), "FAIL  workspace") || strings.Contains(out.String(), "dapi0123") {
		t.Errorf("exit code %d:\n%s", code, out.String())
	}
}
