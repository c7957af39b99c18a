package rotator_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

// useMintProfile gives the house a mint profile, which acts with a token of its own.
func (h *house) useMintProfile() {
	h.Helper()
	minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
	h.mintAs = h.client().As(pat.New(minter.Value, host))
}

// login brings a token as `patrol login` does.
func (h *house) login(tok workspacetest.Token) error {
	_, err := h.r.Login(h.Context(), pat.New(tok.Value, host))
	return err
}

// TestLoginWithTokenInQueue: a person brings a token that patrol has replaced and is
// about to revoke. It is refused or used, and what is in use is never revoked.
func TestLoginWithTokenInQueue(t *testing.T) {
	slow := workspacetest.Fault{Path: deletePath, Delay: 12 * time.Second}
	slowSecond := slow
	slowSecond.Skip = 1
	for name, test := range map[string]struct {
		faults  []workspacetest.Fault // of the revocations
		refused bool
	}{
		"its revocation is under way":                {[]workspacetest.Fault{slowSecond}, true},
		"that of another is, and its own comes next": {[]workspacetest.Fault{slow}, false},
		"that of another has failed":                 {[]workspacetest.Fault{{Path: deletePath, Effect: workspacetest.Answer, Status: 500, Body: "{}"}, slow}, true},
	} {
		for _, mints := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, mints %v", name, mints), func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.issue(24 * time.Hour)
					h.serve()
					h.pass(time.Second)
					brought := h.bring("")
					if err := h.login(brought); err != nil {
						t.Fatal(err)
					}
					h.pass(h.grace - 500*time.Millisecond)
					for _, f := range test.faults {
						h.ws.Inject(f)
					}
					h.pass(3 * time.Second)
					if !mints { // so that the token that is brought stays in use
						h.ws.Inject(answer(createPath, 403, forbidden))
					}
					err := h.login(brought)
					if test.refused != errors.Is(err, rotator.ErrNeedsLogin) || !test.refused && mints != (err == nil) {
						t.Errorf("Login = %v, want a refusal %v", err, test.refused)
					}
					for range 30 {
						h.wantAlive("after the login")
						h.pass(time.Second)
					}
					if used := h.proxy.token().Expose() == brought.Value; used != (!test.refused && !mints) {
						t.Errorf("the token that was brought is in use: %v\n%s", used, h.story())
					}
				})
			})
		}
	}
}

// TestOldTokenOfAnotherUserMintsNothing: the user's own tokens are dead, and an old one
// of the user before lives in its grace. That one must not mint for this user.
func TestOldTokenOfAnotherUserMintsNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.writeProfile(h.bring(userA).Value)
		h.serve()
		h.pass(10 * time.Minute)
		brought := h.bring(userB)
		if err := h.login(brought); err != nil {
			t.Fatal(err)
		}
		h.pass(90 * time.Second)
		h.ws.Revoke(brought.ID)
		h.ws.Revoke(h.inUse().ID)
		if live := h.ws.Live(); len(live) != 1 || live[0].User != userA {
			t.Fatalf("live: %v, want an old one of %s", live, userA)
		}
		before := len(h.ws.Tokens())
		if again, ok := h.r.Refused(h.Context(), h.proxy.token()); ok {
			t.Errorf("the request is sent again with %v", again)
		}
		h.pass(10 * time.Minute)
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !h.proxy.token().IsZero() {
			t.Errorf("Ready = %v, and the proxy has %v", err, h.proxy.token())
		}
		if n := len(h.ws.Tokens()) - before; n != 0 {
			t.Errorf("%d tokens were minted with another user's:\n%s", n, h.story())
		}
	})
}

// TestQuotaSparesMinter: the token in use is dead, the workspace has no room, and only
// an old token could mint. It isn't revoked to make room, since nothing could mint then.
func TestQuotaSparesMinter(t *testing.T) {
	inHouseWith(t, workspacetest.Config{Quota: 2}, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.killCurrent(2 * time.Minute)
		other := h.ws.Issue(workspacetest.IssueOptions{Comment: "CI"})
		if _, err := h.r.Rotate(h.Context(), "asked"); !errors.Is(err, workspace.ErrQuota) {
			t.Errorf("Rotate = %v", err)
		}
		if !h.isLive(boot.ID) {
			t.Fatalf("the only token that could mint was revoked:\n%s", h.story())
		}
		h.ws.Revoke(other.ID)
		h.pass(10 * time.Minute)
		h.wantAlive("ten minutes after there was room")
		h.pass(h.grace)
		h.wantOne()
	})
}

// TestUncertainMintsOfUnknownUser: the mint profile's user can't be read, and its mints
// have no answer. There is a bound on them as on those of a user who is known.
func TestUncertainMintsOfUnknownUser(t *testing.T) {
	inHouse(t, func(h *house) {
		h.useMintProfile()
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		dead := h.proxy.token()
		h.ws.Revoke(h.inUse().ID)
		h.ws.Inject(lostAnswer(createPath))
		h.ws.Inject(answer("/api/2.0/preview/scim/v2/Me", 503, "{}"))
		_, _ = h.r.Refused(h.Context(), dead)
		h.ws.Inject(answer(listPath, 503, "{}"))
		h.pass(12 * time.Hour)
		if live, waits := len(h.ours()), len(h.r.Status().Retiring); live > 3 || waits > 4 {
			t.Errorf("%d tokens live and %d wait, want three mints without an answer at most", live, waits)
		}
		h.ws.Heal()
		h.pass(time.Hour)
		h.wantAlive("after the outage")
		if live := h.ours(); len(live) != 1 {
			t.Errorf("%d tokens of ours live an hour after the outage:\n%s", len(live), h.story())
		}
	})
}

// TestLogoutAfterLostMint: the answer to a create is lost, and the list doesn't show its
// token yet when the user logs out. It is revoked half an hour later.
func TestLogoutAfterLostMint(t *testing.T) {
	for name, test := range map[string]struct {
		listLag time.Duration
		late    time.Duration // how late the create arrives whose answer is lost
	}{
		"lists lag":                       {listLag: 10 * time.Second},
		"the mint comes after the logout": {late: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inHouseWith(t, workspacetest.Config{ListLag: test.listLag}, func(h *house) {
				way := &lateWay{RoundTripper: h.ws.Transport(), late: test.late}
				h.way = way
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(10 * time.Minute)
				way.armed.Store(true)
				if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
					t.Error("the rotation worked")
				}
				result := h.logout()
				h.pass(30 * time.Minute)
				way.work.Wait()
				if live := h.ours(); len(live) > 0 {
					t.Errorf("%d tokens of ours live; the logout said %+v:\n%s", len(live), result, h.story())
				}
			})
		})
	}
}

// TestLogoutAfterRestartWhereRevokingFails: the values of old tokens aren't at hand, and
// the first tries to revoke them fail. The last token is kept until it has revoked them.
func TestLogoutAfterRestartWhereRevokingFails(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			t.Fatal(err)
		}
		h.restart()
		h.pass(time.Minute)
		h.ws.Inject(workspacetest.Fault{Path: deletePath, Effect: workspacetest.Answer, Status: 500, Body: "{}", Times: 3})
		result := h.logout()
		h.pass(30 * time.Minute)
		if live := h.ws.Live(); len(live) > 0 {
			t.Errorf("%d tokens live half an hour after the logout, which said %+v:\n%s", len(live), result, h.story())
		}
	})
}

// TestLogoutForgetsPaste: nobody could say whether a token works that was put into the
// profile, and then the user logs out. It isn't used once the workspace answers.
func TestLogoutForgetsPaste(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.wantOne()
		h.ws.Inject(always("", workspacetest.Reset))
		h.writeProfile(h.bring("").Value)
		h.r.CheckProfile()
		h.pass(time.Minute)
		h.logout()
		h.ws.Heal()
		h.pass(2 * time.Hour)
		if live := h.ours(); len(live) > 0 || !h.proxy.token().IsZero() {
			t.Errorf("%d tokens of ours live two hours after the outage, and the proxy has %v:\n%s", len(live), h.proxy.token(), h.story())
		}
	})
}

// TestRotateAfterLogout: the user has given up all tokens, so none of them mints, even
// if they live because nothing can be revoked.
func TestRotateAfterLogout(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(always(deletePath, workspacetest.Reset))
		h.logout()
		before := len(h.ws.Tokens())
		if _, err := h.r.Rotate(h.Context(), "asked"); !errors.Is(err, rotator.ErrNeedsLogin) {
			t.Errorf("Rotate = %v", err)
		}
		if n := len(h.ws.Tokens()) - before; n != 0 {
			t.Errorf("%d tokens were minted after a logout", n)
		}
	})
}

// TestKilledWhereClockIsAhead: by this machine's clock, which is a day ahead, the old
// token in its grace has expired. It mints all the same once the one in use is revoked.
func TestKilledWhereClockIsAhead(t *testing.T) {
	inHouse(t, func(h *house) {
		h.clock.Store(int64(24 * time.Hour))
		h.issue(0)
		h.serve()
		h.pass(time.Hour)
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			t.Fatal(err)
		}
		h.killCurrent(2 * time.Minute)
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			t.Errorf("Rotate = %v, with %d tokens that live", err, len(h.ws.Live()))
		}
		h.wantAlive("after the rotation")
	})
}

// TestBrokenFileWhereClockIsAhead: a file can't be searched for an old token that has
// expired by this machine's clock. The token is revoked once the file is mended.
func TestBrokenFileWhereClockIsAhead(t *testing.T) {
	inHouse(t, func(h *house) {
		h.clock.Store(int64(24 * time.Hour))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			t.Fatal(err)
		}
		h.write(h.openCodePath(), "{ broken")
		h.pass(h.grace + time.Minute)
		if len(h.ws.Live()) != 2 || len(h.r.Status().Retiring) != 1 {
			t.Errorf("%d tokens live, want the old one to wait:\n%s", len(h.ws.Live()), h.story())
		}
		h.write(h.openCodePath(), "{}")
		h.pass(time.Hour)
		h.wantOne()
	})
}

// aheadWay is a way to a workspace whose Date headers are ahead of its expiries. It lets
// a number of creates through, so that mints without end don't stop the bubble's clock.
type aheadWay struct {
	http.RoundTripper
	ahead   time.Duration
	creates atomic.Int64 // that it lets through
}

func (w *aheadWay) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, createPath) && w.creates.Add(-1) < 0 {
		return nil, errors.New("too many creates")
	}
	resp, err := w.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Header.Set("Date", time.Now().Add(w.ahead).UTC().Format(http.TimeFormat))
	}
	return resp, err
}

// TestNewTokenLooksExpired: by the workspace's Date each new token has expired when it
// is minted. It isn't replaced before it is two minutes old.
func TestNewTokenLooksExpired(t *testing.T) {
	inHouse(t, func(h *house) {
		way := &aheadWay{RoundTripper: h.ws.Transport(), ahead: 5 * time.Hour}
		way.creates.Store(100)
		h.way = way
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		if n := len(h.ws.Tokens()); n > 32 {
			t.Errorf("%d tokens in an hour, want one in two minutes at most", n)
		}
		h.wantAlive("after an hour")
	})
}

// TestFewCallsWhileMintProfileIsRefused: the token in use is dead long before its expiry,
// and the mint profile is asked to wait. The bounds on calls hold all the same.
func TestFewCallsWhileMintProfileIsRefused(t *testing.T) {
	inHouse(t, func(h *house) {
		h.useMintProfile()
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(answer(createPath, 429, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"x"}`))
		began := time.Now()
		h.ws.Revoke(h.inUse().ID)
		_, _ = h.r.Refused(h.Context(), h.proxy.token())
		h.pass(3 * time.Hour)
		h.wantFewCalls("dead before its expiry", began, time.Now(), createsBefore, listsBefore)
	})
}

// TestRotateOnceWithStaleProfile: the environment has a token that works, and the profile
// one that doesn't. A command that rotates once replaces that at its first try.
func TestRotateOnceWithStaleProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.env = h.bring("").Value
		stale := h.issue(time.Hour)
		h.ws.Revoke(stale.ID)
		h.open()
		if err := h.r.Start(h.Context()); err != nil {
			t.Error(err)
		}
		rotation, err := h.r.Rotate(h.Context(), "asked")
		if err != nil || h.profileToken() != rotation.Token.Expose() {
			t.Errorf("Rotate = %v, and the profile doesn't hold the new token", err)
		}
	})
}

// TestResumeWithoutNetwork: a laptop wakes up twice with a token that has expired, and
// its network comes late. Three minutes after that there is a new token.
func TestResumeWithoutNetwork(t *testing.T) {
	var slept atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	inHouseWith(t, workspacetest.Config{Now: now}, func(h *house) {
		sleepFor := func(d time.Duration) {
			slept.Add(int64(d))
			h.clock.Add(int64(d))
		}
		h.useMintProfile()
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.ws.Inject(always("", workspacetest.Reset))
		sleepFor(9 * time.Hour)
		h.pass(40 * time.Minute)
		sleepFor(9 * time.Hour)
		h.pass(40 * time.Second)
		h.ws.Heal()
		h.pass(3 * time.Minute)
		h.wantAlive("three minutes after the network came back")
	})
}
