package rotator_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patrol/rotator/ledger"
	"patrol/rotator/processtest"
)

// brokenDisks are the ways in which nothing can be written to the state's disk. Each
// returns what mends it.
var brokenDisks = map[string]struct {
	want     error
	breakNow func(h *house) (mend func() error)
}{
	"full": {unix.ENOSPC, func(h *house) func() error {
		ballast := filepath.Join(h.stateDir(), "ballast")
		_ = os.WriteFile(ballast, make([]byte, 1<<20), 0o600) // as much as there is room for
		return func() error { return os.Remove(ballast) }
	}},
	"read-only": {unix.EROFS, func(h *house) func() error {
		if err := unix.Mount("patrol", h.stateDir(), "tmpfs", unix.MS_RDONLY, ""); err != nil {
			h.Fatal(err)
		}
		return func() error { return unix.Unmount(h.stateDir(), 0) }
	}},
}

// TestChainOutlivesTheDisk: the ledger can't be written for hours. Nothing is minted
// until a quarter of the token's life is left. Then patrol mints, keeps in memory what
// it minted, publishes and writes it, and revokes nothing. That is done once the disk
// works again, by this process or, if it is killed, by the next.
func TestChainOutlivesTheDisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	for name, disk := range brokenDisks {
		for _, killed := range []bool{false, true} {
			onDisk(t, func(h *house) {
				h.Logf("%s, killed %v", name, killed)
				mend := disk.breakNow(h)
				h.rotateInVain(disk.want)
				old, minted := h.inUse(), len(h.ws.Tokens())
				h.ws.Forget()
				h.pass(time.Until(old.Expiry) - 65*time.Minute) // a tick, and its retries
				if n := len(h.ws.Tokens()) - minted; n != 0 {
					t.Errorf("%s: %d tokens minted with more than a quarter of the life left", name, n)
				}
				h.pass(35 * time.Minute)
				fresh := h.inUse()
				if fresh.ID == old.ID || h.profileToken() != fresh.Value || h.r.Ready() != nil {
					t.Fatalf("%s: half an hour before expiry %v is in use still, %v:\n%s", name, fresh, h.r.Ready(), h.story())
				}
				h.wantKnown("in memory", h.ledger.Pending())
				if h.r.Status().Ledger == "" {
					t.Errorf("%s: the status doesn't say that the ledger can't be written", name)
				}
				h.pass(25 * time.Minute)
				if !h.isLive(old.ID) {
					t.Errorf("%s: the token before it has ended:\n%s", name, h.story())
				}
				if !killed {
					for range 10 { // more than the next one's life
						h.pass(30 * time.Minute)
						h.wantAlive(name)
					}
				}
				if n := len(h.callsAt(deletePath, nil)); n > 0 {
					t.Errorf("%s: %d tokens were revoked while the ledger can't be written:\n%s", name, n, h.story())
				}
				if killed {
					h.close() // which writes nothing
				}
				if err := mend(); err != nil {
					t.Fatal(err)
				}
				if killed {
					h.serve()
				}
				h.pass(h.grace + 15*time.Minute)
				last := h.wantOne()
				if h.r.Status().Ledger != "" {
					t.Errorf("%s: the status says that the ledger can't be written: %s", name, h.r.Status().Ledger)
				}
				_, entries, err := ledger.Read(h.stateDir())
				if err != nil || !slices.ContainsFunc(entries, func(e ledger.Entry) bool { return e.ID == last.ID && !e.Stage.Ended() }) {
					t.Errorf("%s: the ledger on the disk doesn't know the token in use: %v", name, err)
				}
			})
		}
	}
}

// TestLogoutWithoutADisk: who logs out wants every token dead, whether or not the ledger
// can be written.
func TestLogoutWithoutADisk(t *testing.T) {
	if !processtest.Mounts(t) {
		return
	}
	for name, disk := range brokenDisks {
		onDisk(t, func(h *house) {
			mend := disk.breakNow(h)
			d := h.logout()
			if live := h.ours(); len(live) > 0 {
				t.Errorf("%s: %d tokens of ours live after %+v:\n%s", name, len(live), d, h.story())
			}
			if err := mend(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
