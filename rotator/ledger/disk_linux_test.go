package ledger_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
	"patrol/rotator/processtest"
)

// TestFullDisk: a Put that the disk has no room for says so. What it was to
// record is remembered, and is on the disk after the next Put that works.
func TestFullDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	disk := t.TempDir()
	processtest.SmallDisk(t, disk, "")
	dir := filepath.Join(disk, "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	free := processtest.FillDisk(t, disk)
	failed := 0
	for range 40 { // more than fit into the last block of the file
		if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted, Reason: string(make([]byte, 100))}); errors.Is(err, unix.ENOSPC) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 {
		t.Fatal("a full disk was not noticed")
	}
	// Were it killed now, what was on the disk would still be whole.
	if _, entries, err := ledger.Read(dir); err != nil || len(entries) == 0 || entries[0].Nonce != "a" {
		t.Errorf("on the full disk: %v, %v", entries, err)
	}
	if got := stages(l); len(got) != 2 {
		t.Errorf("it remembers %v", got)
	}
	free()
	put(t, l, ledger.Entry{Nonce: "c", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l = open(t, dir)
	if got := stages(l); len(got) != 3 || l.Incomplete() {
		t.Errorf("with room again: %v, salvaged %v", got, l.Incomplete())
	}
}

// TestStartOnFullDisk: there is no room for a compacted ledger. What the old one holds
// is known all the same, what comes after is kept in memory, and both are written once
// there is room.
func TestStartOnFullDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	disk := t.TempDir()
	processtest.SmallDisk(t, disk, "")
	dir := filepath.Join(disk, "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	free := processtest.FillDisk(t, disk)
	l = open(t, dir)
	if err := l.Err(); !errors.Is(err, unix.ENOSPC) || l.Locked() != nil {
		t.Errorf("Err = %v, Locked = %v", err, l.Locked())
	}
	if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); !errors.Is(err, unix.ENOSPC) || len(l.Pending()) != 2 {
		t.Errorf("Put = %v, %d entries are known", err, len(l.Pending()))
	}
	free()
	if err := l.Save(); err != nil {
		t.Errorf("Save = %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := stages(open(t, dir)); len(got) != 2 {
		t.Errorf("with room again: %v", got)
	}
}

// TestReadOnlyDisk: a disk that can't be written is told of at once, at a start
// and when it takes the place of a good one; with the good one all is well.
func TestReadOnlyDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	dir := t.TempDir()
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	processtest.Mount(t, "patrol", dir, "tmpfs", unix.MS_RDONLY, "size=64k")
	if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); !errors.Is(err, unix.EROFS) {
		t.Errorf("Put = %v", err)
	}
	unlocked, err := ledger.Open(ledger.Config{Dir: dir})
	if err != nil || !errors.Is(unlocked.Locked(), unix.EROFS) || !errors.Is(unlocked.Err(), unix.EROFS) {
		t.Fatalf("Open = %v, Locked = %v, Err = %v", err, unlocked.Locked(), unlocked.Err())
	}
	_ = unlocked.Close() // it says what it can't write
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "c", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if got := stages(open(t, dir)); len(got) != 3 {
		t.Errorf("on the good disk again: %v", got)
	}
}

// TestUnreadableAfterUnlocked: the disk refuses the lock at the start, and once it
// doesn't, a ledger stands there that can't be read. It isn't overwritten, however often
// that is tried.
func TestUnreadableAfterUnlocked(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(file(dir), []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	processtest.Mount(t, "patrol", dir, "tmpfs", unix.MS_RDONLY, "size=64k")
	l := open(t, dir)
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Save(); err == nil || !strings.Contains(err.Error(), "newer patrol") || l.Locked() == nil {
			t.Errorf("Save = %v, Locked = %v", err, l.Locked())
		}
	}
	if got, err := os.ReadFile(file(dir)); err != nil || string(got) != newer {
		t.Errorf("it holds %q, %v", got, err)
	}
	if err := os.Remove(file(dir)); err != nil {
		t.Fatal(err)
	}
	if err := l.Save(); err != nil || l.Locked() != nil {
		t.Errorf("without it: Save = %v, Locked = %v", err, l.Locked())
	}
}

// TestForbiddenFolder: the rights to the state folder are taken away, from a
// start and from a ledger that is open, and given back.
func TestForbiddenFolder(t *testing.T) {
	if os.Geteuid() == 0 { // whom no mode stops
		const nobody = 65534
		t.Setenv("TMPDIR", "/tmp") // ours may be closed to another user
		if !processtest.Again(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}) {
			return
		}
	}
	for _, mode := range []os.FileMode{0, 0o500} {
		dir := filepath.Join(t.TempDir(), "state")
		l := open(t, dir)
		put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); mode == 0 && !errors.Is(err, unix.EACCES) {
			t.Errorf("mode %v: Put = %v", mode, err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, unix.EACCES) {
			t.Errorf("mode %v: Open = %v", mode, err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
		if got := stages(l); got["a"] == "" || mode != 0 && got["b"] == "" {
			t.Errorf("mode %v: with the rights back it has %v", mode, got)
		}
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
		if err := l.Put(ledger.Entry{Nonce: "c", Stage: ledger.Minted}); !errors.Is(err, unix.EACCES) {
			t.Errorf("Put = %v", err)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, l, ledger.Entry{Nonce: "d", Stage: ledger.Minted})
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if got := stages(open(t, dir)); got["c"] == "" || got["d"] == "" {
			t.Errorf("what failed is not retried: %v", got)
		}
	}
}
