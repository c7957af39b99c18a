package rotator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// lateWay loses the next create's request for a while: its sender is told that
// the connection was reset, and then the workspace gets it.
type lateWay struct {
	http.RoundTripper
	armed atomic.Bool
	late  time.Duration
	work  sync.WaitGroup
}

func (w *lateWay) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/token/create") || !w.armed.CompareAndSwap(true, false) {
		return w.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	again := r.Clone(context.WithoutCancel(r.Context()))
	again.Body = io.NopCloser(bytes.NewReader(body))
	w.work.Go(func() {
		time.Sleep(w.late)
		if resp, err := w.RoundTripper.RoundTrip(again); err == nil {
			_ = resp.Body.Close()
		}
	})
	return nil, errors.New("read: connection reset by peer")
}

// TestLateCreate: a create whose answer was lost takes effect later than the
// grace is long. Its token is looked for until it can't come any more.
func TestLateCreate(t *testing.T) {
	inHouse(t, func(h *house) {
		way := &lateWay{RoundTripper: h.ws.Transport(), late: 30 * time.Second}
		h.way = way
		h.grace = time.Second
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		before := h.wantOne()
		way.armed.Store(true)
		if _, err := h.r.Rotate(h.Context(), "test"); err == nil {
			h.Fatal("Rotate worked")
		}
		h.pass(time.Minute)
		way.work.Wait()
		synctest.Wait()
		if n := len(h.ws.Tokens()); n != 3 {
			h.Fatalf("%d tokens were made, want 3", n)
		}
		h.pass(10 * time.Minute)
		if got := h.wantOne(); got.ID != before.ID {
			h.Errorf("the token in use was replaced:\n%s", h.story())
		}
	})
}

// TestDeathIsNoticed: the token in use is revoked by somebody, and no request
// comes that would show it. Who is to revoke an old token with it notices.
func TestDeathIsNoticed(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		for _, id := range h.live() { // the one before it too, which could mint
			h.ws.Revoke(id)
		}
		h.pass(h.grace)
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || h.r.Status().Problem == "" || !h.proxy.token().IsZero() {
			t.Errorf("Ready = %v, and the proxy has %v:\n%s", err, h.proxy.token(), h.story())
		}
	})
}

// TestYouthIsNoDeath: a part of the workspace doesn't know the new token yet when
// the old one is to be revoked with it.
func TestYouthIsNoDeath(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = 0
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		unknown := workspacetest.Fault{Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":403,"message":"Invalid access token."}`}
		unknown.Path = "/api/2.0/token/delete"
		h.ws.Inject(unknown)
		unknown.Path, unknown.Skip = "/api/2.0/token/list", 1 // the probe
		h.ws.Inject(unknown)
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
			h.Fatal(err)
		}
		h.pass(time.Minute)
		h.wantOne()
		if slices.ContainsFunc(h.proxy.got, pat.Token.IsZero) {
			h.Errorf("the proxy was told that there is no token:\n%s", h.story())
		}
	})
}

// TestDeathIsMended: the same, where a mint profile is there.
func TestDeathIsMended(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour // after the last use: no refusal comes before
		h.issue(24 * time.Hour)
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.serve()
		h.pass(time.Minute)
		dead := h.r.Current()
		h.ws.Revoke(dead.ID)
		h.pass(h.grace + time.Minute)
		if got := h.r.Current(); h.r.Ready() != nil || got.IsZero() || got.Same(dead) || !h.isLive(got.ID) || !h.proxy.token().Same(got) {
			t.Errorf("%v is in use, %v:\n%s", got, h.r.Ready(), h.story())
		}
		h.pass(2 * h.grace)
		if n := len(h.live()); n != 2 {
			t.Errorf("%d tokens live, want the one in use and the minter's:\n%s", n, h.story())
		}
	})
}

// TestLogoutHangs says so in words for people.
func TestLogoutHangs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.grace = time.Hour
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Minute)
		h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Hang, Times: workspacetest.Always})
		said := 0
		for _, p := range h.logout().Tokens {
			if p.End != rotator.EndPending || strings.Contains(p.Why, "context") {
				t.Errorf("%s: %q", p.End, p.Why)
			}
			if strings.Contains(p.Why, "in time") {
				said++
			}
		}
		if said == 0 {
			t.Error("it doesn't say that the workspace has not answered")
		}
	})
}

// TestForbiddenToRevoke: tokens that the workspace doesn't let patrol revoke wait
// until they have expired, and no longer. A clock that is set forward by hours
// doesn't make them expire.
func TestForbiddenToRevoke(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(h.T, "0 */3 * * *")
		h.issue(2 * time.Hour)
		h.serve()
		h.ws.Inject(workspacetest.Fault{
			Path: "/api/2.0/token/delete", Times: workspacetest.Always,
			Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":"PERMISSION_DENIED","message":"not permitted to revoke"}`,
		})
		h.pass(time.Hour)
		if n := len(h.r.Status().Retiring); n != 1 {
			h.Errorf("%d tokens wait, want the first:\n%s", n, h.story())
		}
		h.clock.Add(int64(12 * time.Hour))
		h.pass(time.Hour)
		for _, token := range h.ws.Live() {
			if e, ok := h.ledger.ByHash(token.ID); !ok || e.Stage == ledger.Expired {
				h.Errorf("%s lives and was let go of:\n%s", token.ID, h.story())
			}
		}
		h.clock.Add(-int64(12 * time.Hour))
		h.pass(24 * time.Hour)
		if n := len(h.r.Status().Retiring); n > 2 || h.r.Ready() != nil {
			h.Errorf("%d tokens wait, %v:\n%s", n, h.r.Ready(), h.story())
		}
	})
}
