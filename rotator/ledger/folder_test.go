package ledger_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// TestFolderVanishes: somebody takes the state folder away while the ledger is
// open. The next Put makes it anew, with all that is known and with its lock.
func TestFolderVanishes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be removed")
	}
	for name, take := range map[string]func(dir string) error{
		"folder": os.RemoveAll,
		"ledger": func(dir string) error { return os.Remove(file(dir)) },
		"lock": func(dir string) error {
			return errors.Join(os.Remove(file(dir)), os.Remove(filepath.Join(dir, "lock")))
		},
		"moved": func(dir string) error { return os.Rename(dir, dir+".old") },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(file(dir), file(dir)+".old"), os.WriteFile(file(dir), []byte("an old copy\n"), 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			l := open(t, dir)
			put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			put(t, l, ledger.Entry{Nonce: "b", Stage: ledger.Minted})
			put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Retiring})
			if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, ledger.ErrLocked) {
				t.Errorf("a second Open: %v", err)
			}
			instance := l.Instance()
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			l = open(t, dir)
			if got := stages(l); len(got) != 2 || got["a"] != ledger.Retiring || got["b"] != ledger.Minted || l.Instance() != instance || l.Incomplete() {
				t.Errorf("%v of %s, salvaged %v; want both of %s", got, l.Instance(), l.Incomplete(), instance)
			}
		})
	}
}

// TestFolderTakenOver: another patrol has begun anew where the state folder was.
// Its ledger isn't overwritten.
func TestFolderTakenOver(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be moved")
	}
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	put(t, other, ledger.Entry{Nonce: "other", Stage: ledger.Minted})
	for range 2 {
		if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); !errors.Is(err, ledger.ErrLocked) || !strings.Contains(err.Error(), "end one of the two") || l.Err() == nil {
			t.Errorf("Put = %v", err)
		}
	}
	put(t, other, ledger.Entry{Nonce: "other", Stage: ledger.Probed})
	if got := stages(other); len(got) != 1 {
		t.Errorf("the other has %v", got)
	}
	if err := l.Save(); !errors.Is(err, ledger.ErrLocked) {
		t.Errorf("Sync = %v", err)
	}
	// The old folder comes back.
	if err := errors.Join(other.Close(), os.RemoveAll(dir), os.Rename(dir+".old", dir)); err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "c", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := stages(open(t, dir)); len(got) != 3 {
		t.Errorf("%v, want all that was put", got)
	}
}

// TestFolderWasTakenOver: another patrol has begun anew where the state folder
// was, and has ended. What it knew is known from the next look at the disk on.
func TestFolderWasTakenOver(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be moved")
	}
	for name, ask := range map[string]func(t *testing.T, l *ledger.Ledger){
		"put": func(t *testing.T, l *ledger.Ledger) { put(t, l, ledger.Entry{Nonce: "b", Stage: ledger.Intended}) },
		"save": func(t *testing.T, l *ledger.Ledger) {
			if err := l.Save(); err != nil {
				t.Error(err)
			}
			if !l.Knows("their hash") || l.Knows("nobody's") {
				t.Error("their token isn't known")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			l := open(t, dir)
			put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Current, Hash: "our hash"})
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			other := open(t, dir)
			put(t, other, ledger.Entry{Nonce: "found", Stage: ledger.Current, Hash: "our hash", Found: []string{"profile"}})
			put(t, other, ledger.Entry{Nonce: "theirs", Stage: ledger.Current, Hash: "their hash"})
			put(t, other, ledger.Entry{Nonce: "found", Stage: ledger.Retiring, Hash: "our hash", Found: []string{"profile"}})
			other.Close()
			ask(t, l)
			if e, ok := l.ByHash("our hash"); !ok || e.Nonce != "a" {
				t.Errorf("our token is %+v", e)
			}
			if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, ledger.ErrLocked) {
				t.Errorf("a second Open: %v", err)
			}
			instance := l.Instance()
			put(t, l, ledger.Entry{Nonce: "c", Stage: ledger.Intended})
			l.Close()
			l = open(t, dir)
			if got := stages(l); got["a"] != ledger.Current || got["theirs"] != ledger.Current || got["found"] != "" || got["c"] == "" {
				t.Errorf("after a restart: %v", got)
			}
			if l.Instance() != instance || l.Incomplete() {
				t.Errorf("instance %q, want %q; salvaged %v", l.Instance(), instance, l.Incomplete())
			}
		})
	}
}

// TestFolderIsGivenUp: the patrol that began anew has ended. What could not be
// written is, beside what that one has left.
func TestFolderIsGivenUp(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be removed")
	}
	for name, write := range map[string]func(l *ledger.Ledger) error{"sync": (*ledger.Ledger).Save, "close": (*ledger.Ledger).Close} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			l := open(t, dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			other := open(t, dir)
			put(t, other, ledger.Entry{Nonce: "theirs", Stage: ledger.Minted})
			if err := l.Put(ledger.Entry{Nonce: "ours", Stage: ledger.Minted}); !errors.Is(err, ledger.ErrLocked) || l.ClearTakenOver() {
				t.Errorf("Put = %v", err)
			}
			if err := errors.Join(other.Close(), write(l)); err != nil {
				t.Error(err)
			}
			if _, entries, err := ledger.Read(dir); err != nil || len(entries) != 2 {
				t.Errorf("%v, %v; want both", entries, err)
			}
			if l.Err() != nil || !l.ClearTakenOver() || l.ClearTakenOver() {
				t.Errorf("%v; or it isn't told once that entries were taken over", l.Err())
			}
		})
	}
}

// TestFolderVanishesUnseen: nothing is to be recorded after the state folder was
// taken away. What the ledger knows doesn't end with the process.
func TestFolderVanishesUnseen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be removed")
	}
	for name, write := range map[string]func(l *ledger.Ledger) error{"sync": (*ledger.Ledger).Save, "close": (*ledger.Ledger).Close} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			l := open(t, dir)
			put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Retiring})
			if err := errors.Join(os.RemoveAll(dir), write(l)); err != nil {
				t.Error(err)
			}
			instance, entries, err := ledger.Read(dir)
			if err != nil || len(entries) != 1 || instance != l.Instance() {
				t.Errorf("%v of %q, %v; want what was put", entries, instance, err)
			}
		})
	}
}

// TestCloseTellsOfLoss: what could not be written is lost with the process.
func TestCloseTellsOfLoss(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be removed")
	}
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	l, err := ledger.Open(ledger.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "done", Stage: ledger.Revoked})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	if err := l.Put(ledger.Entry{Nonce: "a", Stage: ledger.Retiring, Info: pat.Info{ID: "the id"}}); err == nil {
		t.Error("Put worked")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, `tokens="[the id]"`) || !strings.Contains(got, "end one of the two") {
		t.Errorf("the log says %q", got)
	}
	if got := stages(other); len(got) != 0 {
		t.Errorf("the other has %v", got)
	}
}

// TestFolderOfNewerPatrol: a ledger in our place that can't be read isn't
// overwritten.
func TestFolderOfNewerPatrol(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be moved")
	}
	dir := filepath.Join(t.TempDir(), "state")
	l := open(t, dir)
	if err := errors.Join(os.Remove(file(dir)), os.WriteFile(file(dir), []byte(newer), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := l.Put(ledger.Entry{Nonce: "a", Stage: ledger.Minted}); err == nil || !strings.Contains(err.Error(), "newer patrol") {
		t.Errorf("Put = %v", err)
	}
	if got, err := os.ReadFile(file(dir)); err != nil || string(got) != newer {
		t.Errorf("it holds %q, %v", got, err)
	}
}

// TestPutAfterClose writes nothing: the lock is another's by then.
func TestPutAfterClose(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, dir)
	for range 2 { // the second after an error
		if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); err == nil {
			t.Error("Put worked")
		}
	}
	put(t, next, ledger.Entry{Nonce: "c", Stage: ledger.Minted})
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if got := stages(open(t, dir)); len(got) != 2 || got["c"] == "" {
		t.Errorf("%v, want a and c", got)
	}
}
