package main

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/processtest"
	"patrol/rotator/workspacetest"
)

// TestServeOnBrokenDisk: the disk of the state folder is full or read-only when the
// service starts. It starts, serves with the token that it finds, says so, and mints
// nothing of which no record can be made, though a rotation is due.
func TestServeOnBrokenDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	for name, disk := range map[string]struct {
		fresh bool // there was no patrol before
		fail  func(t *testing.T, dir string)
		says  string
	}{
		"full":      {false, func(t *testing.T, dir string) { processtest.FillDisk(t, dir) }, "no space left"},
		"read-only": {false, remountReadOnly, "read-only"},
		"no lock":   {true, remountReadOnly, "read-only"}, // none can be made
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, workspacetest.Config{})
			if err := os.MkdirAll(s.state, 0o700); err != nil {
				t.Fatal(err)
			}
			processtest.SmallDisk(t, s.state, ",mode=700")
			if !disk.fresh {
				if p := s.patrol(t, "rotate"); p.Wait() != nil {
					t.Fatal(p.output())
				}
				s.app.write(t, ".databrickscfg", s.profile())
			}
			disk.fail(t, s.state)
			before := s.minted()
			p := s.patrol(t, "serve", "--listen", "127.0.0.1:0")
			await(t, func() bool { return strings.Contains(p.output(), "the rotation failed") })
			listen := regexp.MustCompile(`listen="?\[([0-9.:]+)`).FindStringSubmatch(p.output())
			if listen == nil {
				t.Fatal(p.output())
			}
			if status, body, err := chat("http://" + listen[1]); status != http.StatusOK || err != nil {
				t.Errorf("a request: %d %s %v", status, body, err)
			}
			if n := s.minted() - before; n != 0 {
				t.Errorf("%d tokens minted of which no record can be made", n)
			}
			if !strings.Contains(p.output(), disk.says) {
				t.Errorf("the log doesn't say %q", disk.says)
			}
		})
	}
}

func remountReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skip(err)
	}
}
