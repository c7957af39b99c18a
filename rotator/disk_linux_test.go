package rotator_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
	"patrol/rotator/processtest"
)

// onDisk runs f on a machine whose state is on a small disk of its own.
func onDisk(t *testing.T, f func(h *house)) {
	t.Helper()
	inHouse(t, func(h *house) {
		if err := os.Mkdir(h.stateDir(), 0o700); err != nil {
			t.Fatal(err)
		}
		processtest.SmallDisk(h.T, h.stateDir(), "")
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
	if !processtest.Mounts(t) {
		return
	}
	for n := range 24 { // at which record the disk is full
		killed := n%2 == 0
		onDisk(t, func(h *house) {
			pad := ledger.Entry{Nonce: "pad", Stage: ledger.Revoked, Hash: "pad", Reason: strings.Repeat("x", 150*(n/2))}
			if err := h.ledger.Put(pad); err != nil {
				t.Fatal(err)
			}
			free := processtest.FillDisk(t, h.stateDir())
			h.rotateInVain(unix.ENOSPC)
			h.wantKnown("in memory", h.ledger.Pending())
			_, entries, err := ledger.Read(h.stateDir())
			if err != nil {
				t.Fatal(err)
			}
			h.wantKnown("on the disk", entries)
			minted := len(h.ws.Tokens())
			h.pass(100 * time.Minute) // more than a quarter of the life is left
			if len(h.ws.Tokens()) != minted {
				t.Errorf("a token was minted without a record:\n%s", h.story())
			}
			if killed {
				h.close() // which writes nothing
			}
			free()
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
	if !processtest.Mounts(t) {
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
		h.pass(100 * time.Minute) // more than a quarter of the life is left
		if got := h.wantOne(); got.ID != before.ID || !strings.Contains(h.r.Status().Last.Error, "read-only") {
			t.Errorf("the token was replaced, or the status doesn't say why it can't be:\n%s", h.story())
		}
		if err := unix.Unmount(h.stateDir(), 0); err != nil {
			t.Fatal(err)
		}
		h.pass(25*time.Minute + h.grace) // a tick
		if got := h.wantOne(); got.ID == before.ID {
			t.Errorf("it wasn't tried again:\n%s", h.story())
		}
		h.restart()
		h.wantOne()
	})
}

// TestPasteOnFullDisk: a person puts a token into the profile while the state disk is
// full. It is used at once, and replaced once there is room.
func TestPasteOnFullDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	onDisk(t, func(h *house) {
		free := processtest.FillDisk(t, h.stateDir())
		h.rotateInVain(unix.ENOSPC)
		pasted := h.issue(24 * time.Hour)
		h.r.CheckProfile()
		h.pass(time.Minute)
		if h.proxy.token().Expose() != pasted.Value || h.profileToken() != pasted.Value {
			t.Errorf("the token that was pasted isn't in use, or the profile has lost it:\n%s", h.story())
		}
		free()
		h.pass(15 * time.Minute)
		if tok := h.wantOne(); tok.ID == pasted.ID {
			t.Error("the token that was pasted wasn't replaced")
		}
	})
}
