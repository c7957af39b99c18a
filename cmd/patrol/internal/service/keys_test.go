package service

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/proxy/guard"
	"patrol/rotator/ledger"
)

func TestTokenUse(t *testing.T) {
	const old = 24 * time.Hour
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		stage ledger.Stage
		ago   time.Duration
		want  guard.TokenUse
	}{
		{ledger.Minted, 0, guard.TokenLive},
		{ledger.Published, time.Minute, guard.TokenLive},
		{ledger.Current, 100 * time.Hour, guard.TokenLive},
		{ledger.Retiring, time.Minute, guard.TokenReplaced},
		{ledger.Retiring, 100 * time.Hour, guard.TokenReplaced}, // the workspace can't be reached
		{ledger.Revoked, time.Hour, guard.TokenReplaced},
		{ledger.Revoked, old - time.Second, guard.TokenReplaced},
		{ledger.Revoked, old, guard.TokenUseless},
		{ledger.Expired, time.Hour, guard.TokenReplaced},
		{ledger.Expired, 25 * time.Hour, guard.TokenUseless},
		{ledger.Left, time.Hour, guard.TokenReplaced},
		{ledger.Left, 25 * time.Hour, guard.TokenUseless}, // its owner may have revoked it
	} {
		if got := useOf(ledger.Entry{Stage: tt.stage, At: now.Add(-tt.ago)}, old, now); got != tt.want {
			t.Errorf("%s since %v: %d, want %d", tt.stage, tt.ago, got, tt.want)
		}
	}
	if got := useOf(ledger.Entry{Stage: ledger.Revoked, At: now}, 0, now); got != guard.TokenUseless {
		t.Errorf("with --old-tokens 0: %d", got)
	}
}

// TestReplacedTokenAges: nobody is told for ever to restart an agent that was restarted.
func TestReplacedTokenAges(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for ago, shown := range map[time.Duration]bool{0: true, 24*time.Hour - time.Second: true, 24 * time.Hour: false, 100 * time.Hour: false} {
		if got := recent(now.Add(-ago), now); got.IsZero() == shown {
			t.Errorf("%v ago: %v", ago, got)
		}
	}
	if !recent(time.Time{}, now).IsZero() {
		t.Error("never is some time")
	}
}

// keysOf is a service with nothing but client keys, those of a state folder.
func keysOf(t *testing.T, dir string) *Service {
	t.Helper()
	keys, err := state.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New(guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	s := &Service{Engine: &session.Engine{Keys: keys}, guard: g, log: slog.New(slog.DiscardHandler)}
	s.info.State = dir
	s.setKeys()
	return s
}

// lets reports whether the key of this name is in force.
func (s *Service) lets(name string) bool {
	return slices.ContainsFunc(s.guard.Clients(), func(c guard.ClientUse) bool { return c.Name == name })
}

// TestReloadKeysAtOnce: a revoked key doesn't come back into force by a reload that began
// before it was revoked.
func TestReloadKeysAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s := keysOf(t, dir)
	file := filepath.Join(dir, "keys")
	without, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := append(slices.Clone(without), "laptop patrol-aaaaaaaaaaaaaaaaaaaaaaaaaa 2026-01-02T03:04:05Z\n"...)
	put := func(content []byte) { // as a command does, but without a sync
		if err := errors.Join(os.WriteFile(file+".test", content, 0o600), os.Rename(file+".test", file)); err != nil {
			t.Fatal(err)
		}
	}
	for range 300 {
		put(with)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { _ = s.ReloadKeys() })
		}
		runtime.Gosched()
		put(without)
		if err := s.ReloadKeys(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		if s.lets("laptop") {
			t.Fatal("a revoked key is in force again")
		}
	}
}

// TestReloadKeysOfOthers: what stands in a folder that others may write to isn't read.
func TestReloadKeysOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing here")
	}
	dir := filepath.Join(t.TempDir(), "state")
	s := keysOf(t, dir)
	other, err := state.OpenKeys(dir)
	if err == nil {
		_, err = other.New("laptop")
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o777, 0o700} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := s.ReloadKeys(); (err == nil) != (mode == 0o700) || s.lets("laptop") != (mode == 0o700) {
			t.Errorf("mode %o: %v, let in %v", mode, err, s.lets("laptop"))
		}
	}
}
