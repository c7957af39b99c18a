package ledger_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
)

// mounts runs the calling test once more, in a process that may mount what it
// likes, and reports whether this is that process.
func mounts(t *testing.T) bool {
	t.Helper()
	const inside = "LEDGER_TEST_MOUNTS"
	if os.Getenv(inside) == t.Name() {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Skip(err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	switch {
	case errors.Is(err, syscall.EPERM):
		t.Skip("not allowed here: ", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skip(string(out))
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("it ran nothing:\n%s", out)
	}
	return false
}

func mount(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if err := unix.Mount("patrol", dir, "tmpfs", flags, options); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
}

// TestFullDisk: a Put that the disk has no room for says so. What it was to
// record is remembered, and is on the disk after the next Put that works.
func TestFullDisk(t *testing.T) {
	if !mounts(t) {
		return
	}
	disk := t.TempDir()
	mount(t, disk, "size=64k", 0)
	dir := filepath.Join(disk, "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("the disk isn't full: ", err)
	}
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
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	put(t, l, ledger.Entry{Nonce: "c", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	l = open(t, dir)
	if got := stages(l); len(got) != 3 || l.Salvaged() {
		t.Errorf("with room again: %v, salvaged %v", got, l.Salvaged())
	}
}

// TestStartOnFullDisk: there is no room for a compacted ledger, and nothing is
// lost of the one that is there.
func TestStartOnFullDisk(t *testing.T) {
	if !mounts(t) {
		return
	}
	disk := t.TempDir()
	mount(t, disk, "size=64k", 0)
	dir := filepath.Join(disk, "state")
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("the disk isn't full: ", err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Open = %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if got := stages(open(t, dir)); len(got) != 1 {
		t.Errorf("with room again: %v", got)
	}
}

// TestReadOnlyDisk: a disk that can't be written is an error at once, at a start
// and when it takes the place of a good one; with the good one all is well.
func TestReadOnlyDisk(t *testing.T) {
	if !mounts(t) {
		return
	}
	dir := t.TempDir()
	l := open(t, dir)
	put(t, l, ledger.Entry{Nonce: "a", Stage: ledger.Minted})
	mount(t, dir, "size=64k", unix.MS_RDONLY)
	if err := l.Put(ledger.Entry{Nonce: "b", Stage: ledger.Minted}); !errors.Is(err, unix.EROFS) {
		t.Errorf("Put = %v", err)
	}
	if _, err := ledger.Open(ledger.Config{Dir: dir}); !errors.Is(err, unix.EROFS) {
		t.Errorf("Open = %v", err)
	}
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
