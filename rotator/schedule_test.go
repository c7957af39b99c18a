package rotator_test

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/rotator"
	"patrol/rotator/workspacetest"
)

func every(t *testing.T, spec string) cron.Schedule {
	t.Helper()
	s, err := cron.ParseStandard("CRON_TZ=UTC " + spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchedule: a week of the default schedule. Each token is used for about
// three of its four hours, and one token lives at the end.
func TestSchedule(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(7 * 24 * time.Hour)
		h.pass(10 * time.Minute)
		h.wantOne()
		if got := len(h.ws.Tokens()) - 2; got != 7*8 && got != 7*8-1 {
			h.Errorf("%d rotations in a week, want 56", got)
		}
		for _, r := range h.ws.Requests() {
			if !r.Valid {
				h.Errorf("%s %s went out with a token that was no longer valid", r.Method, r.Path)
			}
		}
	})
}

// TestDeadline: without a schedule a token is replaced before it expires.
func TestDeadline(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(3*time.Hour + 29*time.Minute)
		tok := h.wantOne()
		h.pass(2 * time.Minute)
		if now := h.proxy.token(); now.Expose() == tok.Value {
			h.Error("seven eighths of its life are over, and it is still in use")
		}
		if got := len(h.ws.Tokens()); got != 3 {
			h.Errorf("%d tokens were made, want 3", got)
		}
	})
}

// TestShorterThanAsked: the deadline follows what the workspace gave.
func TestShorterThanAsked(t *testing.T) {
	inHouseWith(t, workspacetest.Config{}, func(h *house) {
		h.lifetime = 30 * time.Minute
		h.schedule = every(t, "0 0 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		for range 48 {
			h.pass(10 * time.Minute)
			if err := h.r.Ready(); err != nil {
				h.Fatal(err)
			}
			if !h.isLive(h.proxy.token().ID) {
				h.Fatal("the token in use has expired")
			}
		}
	})
}

// TestRetryBeforeExpiry: hours of failures don't wait for the next tick.
func TestRetryBeforeExpiry(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(2 * time.Hour)
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Status: 500, Body: "{}", Times: workspacetest.Always})
		h.pass(100 * time.Minute)
		h.ws.Heal()
		before := h.proxy.token()
		h.pass(6 * time.Minute)
		if h.proxy.token().Same(before) {
			h.Errorf("it was not tried again within six minutes:\n%s", h.story())
		}
		h.pass(10 * time.Minute)
		h.wantOne()
	})
}

// TestSleep: timers stop while a laptop sleeps, and the workspace's clock
// doesn't.
func TestSleep(t *testing.T) {
	inHouse(t, func(h *house) {
		h.schedule = every(t, "0 */3 * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		tok := h.wantOne()
		h.clock.Store(int64(3*time.Hour + 30*time.Minute)) // it has slept: both clocks should say so
		h.pass(31 * time.Second)
		if now := h.proxy.token(); now.Expose() == tok.Value {
			h.Error("half a minute after a sleep nothing has happened")
		}
	})
}

// TestClockSet: a clock that is set by hours costs a token at most, and never
// a token every few seconds.
func TestClockSet(t *testing.T) {
	for _, jump := range []time.Duration{-30 * time.Hour, -5 * time.Hour, -30 * time.Minute, 30 * time.Minute, 5 * time.Hour, 30 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.schedule = every(t, "0 */3 * * *")
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(time.Hour)
				before := len(h.ws.Tokens())
				h.clock.Store(int64(jump))
				for range 24 * 6 {
					h.pass(10 * time.Minute)
					if !h.isLive(h.proxy.token().ID) {
						h.Fatalf("the token in use has expired:\n%s", h.story())
					}
					if tok := h.proxy.token(); tok.Expired(h.now()) {
						h.Fatalf("the proxy takes a good token for expired")
					}
				}
				if got := len(h.ws.Tokens()) - before; got > 10 {
					h.Errorf("%d tokens in a day", got)
				}
				h.pass(10 * time.Minute)
				h.wantOne()
			})
		})
	}
}

// TestSkewedFromTheStart: this machine's clock has always been wrong.
func TestSkewedFromTheStart(t *testing.T) {
	for _, skew := range []time.Duration{-6 * time.Hour, 6 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.clock.Store(int64(skew))
				h.issue(90 * 24 * time.Hour)
				h.serve()
				h.pass(24 * time.Hour)
				if got := len(h.ws.Tokens()); got > 9 {
					h.Errorf("%d tokens in a day", got)
				}
				h.wantOne()
			})
		})
	}
}

func TestLongestGap(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for spec, want := range map[string]time.Duration{
		"0 */3 * * *":  3 * time.Hour,
		"0 9-17 * * *": 16 * time.Hour,
		"0 0 1 1 *":    365 * 24 * time.Hour,
		"@every 90m":   90 * time.Minute,
	} {
		if got := rotator.LongestGap(every(t, spec), now); got.Round(time.Minute) < want-24*time.Hour && want > 24*time.Hour || want <= 24*time.Hour && got != want {
			t.Errorf("%s: %v, want %v", spec, got, want)
		}
	}
}
