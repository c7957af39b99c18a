package session

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/state"
	"patrol/cmd/patrol/internal/target"
	"patrol/rotator/ledger"
)

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

// at is a command for a profile whose state is in dir.
func at(t *testing.T, dir, command, profile string) *Session {
	t.Helper()
	o := cli.Options{Command: command, Process: cli.Process{Streams: cli.Streams{Err: t.Output()}}}
	return &Session{Profile: target.Profile{Name: profile}, Dir: dir, o: o}
}

// A patrol that holds the lock and has no control socket is waited for, and
// then named.
func TestLock(t *testing.T) {
	dir := shortDir(t)
	held, err := ledger.Open(ledger.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	err = at(t, dir, "rotate", "DEFAULT").lock(t.Context(), 20*time.Millisecond)
	if code, hint := cli.CodeOf(err), cli.HintOf(err); err == nil || !strings.Contains(err.Error(), "no control socket") || code != cli.ExitFailed || hint == "" {
		t.Errorf("error %v, code %d, hint %q", err, code, hint)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = held.Close() })
	s := at(t, dir, "rotate", "DEFAULT")
	if err := s.lock(t.Context(), time.Minute); err != nil || s.Service != nil || s.ledger == nil {
		t.Fatalf("after it was let go: %v, %v, %v", s.ledger, s.Service, err)
	}
	s.Close()
}

// A service waits for a lone patrol as long as that lives, and others are told
// who it is.
func TestLockOfLonePatrol(t *testing.T) {
	dir := shortDir(t)
	held, err := ledger.Open(ledger.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := (state.Holder{PID: os.Getpid(), Command: "rotate --wait-revoke", Profile: "DEFAULT"}).Write(dir); err != nil {
		t.Fatal(err)
	}
	const patience = 20 * time.Millisecond
	err = at(t, dir, "rotate", "DEFAULT").lock(t.Context(), patience)
	who := fmt.Sprintf("pid %d, patrol rotate --wait-revoke", os.Getpid())
	if err == nil || !strings.Contains(err.Error(), who) {
		t.Errorf("error %v, want one that names %s", err, who)
	}
	time.AfterFunc(10*patience, func() { _ = held.Close() })
	s := at(t, dir, state.ServeCommand, "DEFAULT")
	if err := s.lock(t.Context(), patience); err != nil {
		t.Fatalf("a service did not wait: %v", err)
	}
	if h := state.ReadHolder(dir); h != (state.Holder{PID: os.Getpid(), Command: state.ServeCommand, Profile: "DEFAULT"}) {
		t.Errorf("the holder is %+v", h)
	}
	if err := s.ledger.Put(ledger.Entry{Nonce: ledger.RandomNonce(), Stage: ledger.Current}); err != nil {
		t.Fatal(err)
	}
	s.Close()

	// What it left is not another profile's.
	other := at(t, dir, "rotate", "other")
	err = other.lock(t.Context(), patience)
	if code, hint := cli.CodeOf(err), cli.HintOf(err); code != cli.ExitUsage || hint == "" {
		t.Errorf("another profile: error %v, code %d", err, code)
	}
	other.Close()
	s = at(t, dir, "rotate", "DEFAULT")
	if err := s.lock(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	s.Close()
}
