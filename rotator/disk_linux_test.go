package rotator_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
)

// mounts runs the calling test once more, in a process that may mount what it
// likes, and reports whether this is that process.
func mounts(t *testing.T) bool {
	t.Helper()
	const inside = "ROTATOR_TEST_MOUNTS"
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
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
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

// onDisk runs f on a machine whose state is on a small disk of its own.
func onDisk(t *testing.T, f func(h *house)) {
	t.Helper()
	inHouse(t, func(h *house) {
		if err := os.Mkdir(h.stateDir(), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("patrol", h.stateDir(), "tmpfs", 0, "size=64k"); err != nil {
			t.Skip(err)
		}
		h.Cleanup(func() { _ = unix.Unmount(h.stateDir(), unix.MNT_DETACH) })
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		h.wantOne()
		f(h)
	})
}

// rotateInVain rotates until nothing is minted any more for want of a record.
func (h *house) rotateInVain(want error) {
	h.Helper()
	const atMost = 40 // what fits into the last block of the file
	for range atMost {
		_, err := h.r.Rotate(h.Context(), "asked")
		if errors.Is(err, want) && strings.Contains(err.Error(), "nothing was minted") {
			return
		}
		if err != nil {
			h.Fatalf("Rotate = %v", err)
		}
	}
	h.Fatal("the disk's error was not noticed")
}

// wantKnown checks that these entries have each token of ours that lives.
func (h *house) wantKnown(when string, entries []ledger.Entry) {
	h.Helper()
	prefix := "patrol/" + h.ledger.Instance() + "/"
	for _, t := range h.ws.Live() {
		known := slices.ContainsFunc(entries, func(e ledger.Entry) bool {
			return !e.Stage.Ended() && (e.ID == t.ID || e.Comment == t.Comment)
		})
		if strings.HasPrefix(t.Comment, prefix) && !known {
			h.Errorf("%s: %v lives and is forgotten", when, t)
		}
	}
}

// TestStateOnFullDisk: nothing is minted that can't be recorded, and nothing that
// was minted is forgotten, whether patrol lives on or is killed meanwhile.
func TestStateOnFullDisk(t *testing.T) {
	if !mounts(t) {
		return
	}
	for n := range 24 { // at which record the disk is full
		killed := n%2 == 0
		onDisk(t, func(h *house) {
			pad := ledger.Entry{Nonce: "pad", Stage: ledger.Revoked, Hash: "pad", Reason: strings.Repeat("x", 150*(n/2))}
			if err := h.ledger.Put(pad); err != nil {
				t.Fatal(err)
			}
			ballast := filepath.Join(h.stateDir(), "ballast")
			if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatal("the disk isn't full: ", err)
			}
			h.rotateInVain(unix.ENOSPC)
			h.wantKnown("in memory", h.ledger.Pending())
			_, entries, err := ledger.Read(h.stateDir())
			if err != nil {
				t.Fatal(err)
			}
			h.wantKnown("on the disk", entries)
			minted := len(h.ws.Tokens())
			h.pass(150 * time.Minute) // a tick, and its retries
			if len(h.ws.Tokens()) != minted {
				t.Error("a token was minted without a record")
			}
			if killed {
				h.close() // which writes nothing
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			if killed {
				h.serve()
			}
			h.pass(h.grace + 12*time.Minute)
			h.wantOne()
		})
	}
}

// TestStateOnReadOnlyDisk: the disk turns read-only, and can be written again.
func TestStateOnReadOnlyDisk(t *testing.T) {
	if !mounts(t) {
		return
	}
	onDisk(t, func(h *house) {
		before := h.wantOne()
		if err := unix.Mount("patrol", h.stateDir(), "tmpfs", unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		_, err := h.r.Rotate(h.Context(), "asked")
		if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "nothing was minted") || !strings.Contains(err.Error(), h.stateDir()) {
			t.Errorf("Rotate = %v", err)
		}
		h.pass(2*time.Hour + 10*time.Minute) // a tick
		if got := h.wantOne(); got.ID != before.ID || !strings.Contains(h.r.Status().Last.Error, "read-only") {
			t.Errorf("the token was replaced, or the status doesn't say why it can't be:\n%s", h.story())
		}
		if err := unix.Unmount(h.stateDir(), 0); err != nil {
			t.Fatal(err)
		}
		h.pass(8*time.Minute + h.grace) // a pause between two tries is 7.5 minutes at most
		if got := h.wantOne(); got.ID == before.ID {
			t.Errorf("it wasn't tried again:\n%s", h.story())
		}
		h.restart()
		h.wantOne()
	})
}
