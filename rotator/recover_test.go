package rotator_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/workspacetest"
)

// TestLostReply: a create is committed and its answer is lost. The token that
// nobody has is found by its comment and revoked before the next rotation.
func TestLostReply(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"reset":  {Effect: workspacetest.Reset, After: true},
		"close":  {Effect: workspacetest.Close, After: true},
		"hang":   {Effect: workspacetest.Hang, After: true},
		"broken": {Effect: workspacetest.Break},
		"late":   {Effect: workspacetest.Slow, After: true, Delay: time.Minute},
		"502":    {Effect: workspacetest.Answer, After: true, Status: 502, Body: "<html><pre>Bad Gateway</pre>"},
	} {
		for _, crash := range []bool{false, true} {
			if crash {
				name += ", and patrol ends"
			}
			t.Run(name, func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.schedule = every(t, "0 */3 * * *")
					h.issue(24 * time.Hour)
					h.serve()
					h.pass(time.Hour)
					before := h.wantOne()
					fault.Method, fault.Path = "POST", "/api/2.0/token/create"
					h.ws.Inject(fault)
					if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
						h.Fatal("Rotate worked")
					}
					if got := len(h.live()); got != 2 {
						h.Fatalf("%d tokens live, want the one in use and the orphan", got)
					}
					if crash {
						h.restart()
					}
					h.pass(5 * time.Minute) // no rotation is due in them
					if got := h.wantOne(); got.ID != before.ID {
						h.Errorf("the token in use was replaced:\n%s", h.story())
					}
				})
			})
		}
	}
}

// TestLostReplies: the answers to all creates are lost for hours. The orphans
// don't pile up: each goes before the next but a few.
func TestLostReplies(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(2 * time.Hour)
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Reset, After: true, Times: workspacetest.Always})
		most := 0
		for range 90 {
			h.pass(time.Minute)
			most = max(most, len(h.live()))
		}
		minted := len(h.ws.Tokens())
		h.ws.Heal()
		h.pass(h.grace + 20*time.Minute)
		h.wantOne()
		t.Logf("%d tokens minted, at most %d alive at once", minted, most)
		if most > 4 { // the one in use, and three of which nothing is known
			t.Errorf("%d tokens lived at once", most)
		}
	})
}

// TestTriesAtOnceAfterSleep: what failed before a sleep is tried again as soon
// as the machine is awake.
func TestTriesAtOnceAfterSleep(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(2 * time.Hour)
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Status: 500, Body: "{}", Times: workspacetest.Always})
		h.pass(80 * time.Minute) // the pauses between tries are minutes long
		for n := len(h.ws.Requests()); len(h.ws.Requests()) == n; {
			h.pass(time.Second)
		}
		h.ws.Heal()
		old := h.proxy.token()
		h.clock.Add(int64(2 * time.Minute))
		h.pass(31 * time.Second)
		if h.proxy.token().Same(old) {
			h.Errorf("half a minute after a sleep it wasn't tried again:\n%s", h.story())
		}
	})
}

// TestExpiryIsNoSecret: a token that can't be replaced, because the profile
// can't be written, expires. Then patrol doesn't call itself ready.
func TestExpiryIsNoSecret(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		h.wantOne()
		h.write(h.cfgPath(), h.read(h.cfgPath())+"client_id = x\n")
		h.pass(5 * time.Hour)
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) {
			h.Errorf("Ready = %v", err)
		}
		if last := h.r.Status().Last; !strings.Contains(last.Error, "client_id") {
			h.Errorf("the last rotation's error doesn't say why: %s", last.Error)
		}
		if !h.proxy.token().IsZero() {
			h.Error("the proxy has a token that has expired")
		}
		h.issue(24 * time.Hour)
		h.pass(h.grace + 2*time.Minute)
		h.wantOne()
	})
}

// TestShortLife: a token that lives for seconds is replaced before it expires,
// without a schedule.
func TestShortLife(t *testing.T) {
	inHouse(t, func(h *house) {
		h.lifetime, h.grace = 10*time.Second, time.Second
		h.issue(24 * time.Hour)
		h.serve()
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if !h.isLive(h.proxy.token().ID) {
				h.Fatalf("the token in use has expired:\n%s", h.story())
			}
		}
	})
}

// TestBootstrapIsIdentifiedLater: the list told nothing when the token was
// found. It is asked again before that token is left alone for good.
func TestBootstrapIsIdentifiedLater(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"refused": {Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":"PERMISSION_DENIED","message":"no"}`},
		"empty":   {Effect: workspacetest.Empty},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				boot := h.issue(24 * time.Hour)
				fault.Path, fault.Times = "/api/2.0/token/list", 2 // at the start, and when the expiry is unknown
				h.ws.Inject(fault)
				h.serve()
				h.pass(h.grace + time.Minute)
				if tok := h.wantOne(); tok.ID == boot.ID {
					h.Error("the token wasn't rotated")
				}
			})
		})
	}
}

// TestNothingIsMintedUnrecorded: what can't be put into the ledger before is not
// minted. When the ledger can be written again, all goes on.
func TestNothingIsMintedUnrecorded(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder with open files can't be moved")
	}
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		before := h.wantOne()
		if err := os.Rename(h.stateDir(), h.stateDir()+".away"); err != nil {
			h.Fatal(err)
		}
		h.write(h.stateDir(), "a file where the folder was")
		_, err := h.r.Rotate(h.Context(), "asked")
		if err == nil || !strings.Contains(err.Error(), "nothing was minted") || !strings.Contains(err.Error(), h.stateDir()) {
			h.Errorf("Rotate = %v", err)
		}
		h.pass(100 * time.Minute) // more than a quarter of the life is left
		if got := h.wantOne(); got.ID != before.ID || len(h.ws.Tokens()) != 2 {
			h.Error("a token was minted of which no record could be made")
		}
		if last := h.r.Status().Last; last.Error == "" {
			h.Error("the status doesn't say so")
		}
		if err := errors.Join(os.Remove(h.stateDir()), os.Rename(h.stateDir()+".away", h.stateDir())); err != nil {
			h.Fatal(err)
		}
		h.pass(25*time.Minute + h.grace) // a tick
		if got := h.wantOne(); got.ID == before.ID {
			h.Errorf("it wasn't tried again:\n%s", h.story())
		}
		// Nor does a logout have to look for what never was.
		if left := h.ledger.Pending(); len(left) != 1 || left[0].Stage != ledger.Current {
			h.Errorf("the ledger waits for %+v", left)
		}
	})
}

// TestUnrecordedTokenIsKept: the disk fails right after the intent was recorded,
// the rotation is finished all the same, and patrol is killed. The start after
// it finds a token in the profile whose mint the ledger knows as begun: that is
// no stray to be revoked.
func TestUnrecordedTokenIsKept(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder with open files can't be moved")
	}
	for _, random := range []bool{false, true} {
		inHouseWith(t, workspacetest.Config{RandomIDs: random}, func(h *house) {
			h.schedule = every(t, "0 */3 * * *")
			h.issue(24 * time.Hour)
			h.serve()
			h.pass(time.Hour)
			away := h.stateDir() + ".away"
			h.breakDuring("/api/2.0/token/create", func() {
				if err := os.Rename(h.stateDir(), away); err != nil {
					h.Error(err)
				}
				h.write(h.stateDir(), "a file where the folder was")
			})
			if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
				h.Fatal(err)
			}
			h.close()
			if err := errors.Join(os.Remove(h.stateDir()), os.Rename(away, h.stateDir())); err != nil {
				h.Fatal(err)
			}
			value := h.profileToken()
			h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Status: 500, Body: "{}", Times: workspacetest.Always})
			h.serve()
			h.pass(30 * time.Minute)
			if id := h.ws.Requests()[len(h.ws.Requests())-1].TokenID; h.r.Ready() != nil || h.profileToken() != value || !h.isLive(id) {
				h.Fatalf("random ids %v: the token in use was revoked as a stray: %v\n%s", random, h.r.Ready(), h.story())
			}
			h.ws.Heal()
			h.pass(h.grace + 12*time.Minute)
			if n := len(h.live()); n > 2 || n > 1 && !random { // one that can't be told from others is left to expire
				h.Errorf("random ids %v: %d tokens live:\n%s", random, n, h.story())
			}
		})
	}
}
