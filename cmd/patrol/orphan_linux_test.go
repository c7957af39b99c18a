package main

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

// kill -9 of the demo leaves no service behind.
func TestDemoKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	tmp := shortDir(t)
	s.app.environ = append([]string{"TMPDIR=" + tmp}, s.app.environ...)
	p := s.patrol(t, "demo")
	state := ""
	await(t, func() bool {
		found, err := filepath.Glob(filepath.Join(tmp, "patrol-demo-*", "state"))
		if err != nil || len(found) != 1 {
			return false
		}
		state = found[0]
		_, err = control.Dial(t.Context(), state, time.Second)
		return err == nil
	})
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		_, err := control.Dial(t.Context(), state, time.Second)
		return errors.Is(err, control.ErrNoService)
	})
}
