package rotator_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestLostLedgerIsRebuilt: the ledger is lost, and with it a token that was to be
// revoked. A command that only opens it comes between. The service after that
// knows the tokens for its own still, and revokes all but one.
func TestLostLedgerIsRebuilt(t *testing.T) {
	for name, spoil := range map[string]func(data []byte) []byte{
		"empty":   func([]byte) []byte { return nil },
		"torn":    func(data []byte) []byte { return data[:17] },
		"garbage": func([]byte) []byte { return []byte("what\nis this\n") },
		"current": func(data []byte) []byte { // has survived
			lines := bytes.SplitAfter(bytes.TrimSuffix(data, []byte{'\n'}), []byte{'\n'})
			return append([]byte("rot\n"), append(lines[len(lines)-1], '\n')...)
		},
	} {
		for _, random := range []bool{false, true} {
			if random {
				name += ", random ids"
			}
			t.Run(name, func(t *testing.T) {
				inHouseWith(t, workspacetest.Config{RandomIDs: random}, func(h *house) {
					h.schedule = every(h.T, "0 */3 * * *")
					h.ws.Issue(workspacetest.IssueOptions{Comment: "CI"})
					boot := h.issue(24 * time.Hour)
					h.serve()
					h.pass(time.Hour)
					h.ws.Revoke(boot.ID)
					h.close()
					h.ws.Issue(workspacetest.IssueOptions{Comment: pat.Comment(h.ledger.Instance(), h.ledger.NewNonce()), Lifetime: 12 * time.Hour})
					path := filepath.Join(h.stateDir(), "ledger")
					h.write(path, string(spoil([]byte(h.read(path)))))
					l, err := ledger.Open(ledger.Config{Dir: h.stateDir(), Now: h.now})
					if err != nil {
						h.Fatal(err)
					}
					if err := l.Close(); err != nil {
						h.Fatal(err)
					}
					h.serve()
					h.pass(2*h.grace + 5*time.Minute)
					if live := h.ws.Live(); len(live) != 2 || live[0].Comment != "CI" || live[1].Value != h.profileToken() {
						h.Errorf("%d tokens live, want CI's and the one in use: %v\n%s", len(live), live, h.story())
					}
					if h.ledger.Incomplete() {
						h.Error("the ledger isn't mended")
					}
				})
			})
		}
	}
}

// TestRebuildWaitsForFiles: where ids tell nothing of values, a file that can't be
// written may hold a token that the ledger has lost.
func TestRebuildWaitsForFiles(t *testing.T) {
	inHouseWith(t, workspacetest.Config{RandomIDs: true}, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		h.ws.Revoke(boot.ID)
		h.close()
		lost := h.ws.Issue(workspacetest.IssueOptions{Comment: pat.Comment(h.ledger.Instance(), h.ledger.NewNonce()), Lifetime: 12 * time.Hour})
		h.write(filepath.Join(h.stateDir(), "ledger"), "rot\n"+h.read(filepath.Join(h.stateDir(), "ledger")))
		h.write(h.claudePath(), `{"env": {"ANTHROPIC_AUTH_TOKEN": "`+lost.Value)
		h.serve()
		h.pass(30 * time.Minute)
		if !h.isLive(lost.ID) || !h.ledger.Incomplete() {
			h.Errorf("a token was revoked that a file may hold:\n%s", h.story())
		}
		if n := strings.Count(h.logs.String(), "the ledger has gaps still"); n != 1 {
			h.Errorf("that is told %d times:\n%s", n, h.story())
		}
		if err := os.Remove(h.claudePath()); err != nil {
			h.Fatal(err)
		}
		h.pass(30 * time.Minute)
		h.wantOne()
	})
}

// TestStateTakenAway: the state folder is deleted under the service, and a lone
// rotation begins anew there. The service takes over what that one minted, and
// revokes it.
func TestStateTakenAway(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("open files can't be removed")
	}
	for _, random := range []bool{false, true} {
		inHouseWith(t, workspacetest.Config{RandomIDs: random}, func(h *house) {
			h.schedule = every(h.T, "0 */3 * * *")
			boot := h.issue(24 * time.Hour)
			h.serve()
			h.pass(time.Hour)
			h.ws.Revoke(boot.ID)
			h.wantOne()
			if err := os.RemoveAll(h.stateDir()); err != nil {
				h.Fatal(err)
			}
			lone := &house{T: h.T, dir: h.dir, ws: h.ws, logs: h.logs, lifetime: h.lifetime, grace: h.grace}
			lone.open()
			if err := lone.r.Start(h.Context()); err != nil {
				h.Fatal(err)
			}
			if _, err := lone.r.Rotate(h.Context(), "asked"); err != nil {
				h.Fatal(err)
			}
			lone.close()
			h.pass(h.grace)
			if h.profileToken() != h.proxy.token().Expose() || h.r.Ready() != nil {
				h.Errorf("the profile and the proxy differ:\n%s", h.story())
			}
			h.pass(h.grace + 5*time.Minute)
			h.wantOne()
			h.restart()
			h.pass(2*h.grace + 5*time.Minute)
			h.wantOne()
		})
	}
}

// TestStatusTellsOfLedger that can't be written, and no longer once it can.
func TestStatusTellsOfLedger(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder with open files can't be moved")
	}
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		away := h.stateDir() + ".away"
		if err := os.Rename(h.stateDir(), away); err != nil {
			h.Fatal(err)
		}
		h.write(h.stateDir(), "a file where the folder was")
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			h.Error("Rotate worked")
		}
		h.pass(5 * time.Minute)
		if got := h.r.Status().Ledger; !strings.Contains(got, h.stateDir()) {
			h.Errorf("the status says %q", got)
		}
		if err := errors.Join(os.Remove(h.stateDir()), os.Rename(away, h.stateDir())); err != nil {
			h.Fatal(err)
		}
		h.pass(2 * time.Minute)
		if got := h.r.Status().Ledger; got != "" {
			h.Errorf("with the folder back the status says %q", got)
		}
	})
}
