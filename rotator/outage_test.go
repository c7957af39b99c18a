package rotator_test

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

const (
	createPath = "/api/2.0/token/create"
	listPath   = "/api/2.0/token/list"
	deletePath = "/api/2.0/token/delete"
)

// callsAt returns when this path was called.
func (h *house) callsAt(path string, which func(workspacetest.Request) bool) (at []time.Time) {
	for _, r := range h.ws.Requests() {
		if r.Path == path && (which == nil || which(r)) {
			at = append(at, r.Time)
		}
	}
	return at
}

func failed(r workspacetest.Request) bool { return r.Fault || r.Status != http.StatusOK }

// mostInAnHour returns the largest number of these calls in any hour that begins
// at from or later and ends before to.
func mostInAnHour(at []time.Time, from, to time.Time) (most int) {
	at = slices.DeleteFunc(slices.Clone(at), func(t time.Time) bool { return t.Before(from) || !t.Before(to) })
	for i, first := range at {
		n := 0
		for _, t := range at[i:] {
			if t.Sub(first) < time.Hour {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// wantFewCalls checks the bounds on calls in any hour between two instants.
func (h *house) wantFewCalls(when string, from, to time.Time, creates, lists int) {
	h.Helper()
	if n := mostInAnHour(h.callsAt(createPath, failed), from, to); n > creates {
		h.Errorf("%s: %d creates failed in an hour, want %d at most", when, n, creates)
	}
	if n := mostInAnHour(h.callsAt(listPath, nil), from, to); n > lists {
		h.Errorf("%s: %d lists in an hour, want %d at most", when, n, lists)
	}
}

const (
	createsBefore, listsBefore = 20, 40 // in any hour before the token expires
	createsAfter, listsAfter   = 6, 12  // and from then on
)

func always(path string, effect workspacetest.Effect) workspacetest.Fault {
	return workspacetest.Fault{Path: path, Effect: effect, Times: workspacetest.Always}
}

func answer(path string, status int, body string) workspacetest.Fault {
	f := always(path, workspacetest.Answer)
	f.Status, f.Body = status, body
	return f
}

func lostAnswer(path string) workspacetest.Fault {
	f := always(path, workspacetest.Reset)
	f.After = true
	return f
}

const forbidden = `{"error_code":"PERMISSION_DENIED","message":"not permitted"}`

// outages are the ways in which nothing can be minted for hours.
var outages = map[string][]workspacetest.Fault{
	"no network":             {always("", workspacetest.Reset)},
	"no answers":             {always("", workspacetest.Hang)},
	"unavailable":            {answer("", 503, `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"x"}`)},
	"answers lost":           {lostAnswer(createPath), always("", workspacetest.Reset)},
	"creates lost":           {always(createPath, workspacetest.Reset)},
	"creates fail":           {answer(createPath, 500, `{"error_code":"INTERNAL_ERROR","message":"x"}`)},
	"creates forbidden":      {answer(createPath, 403, forbidden)},
	"lists fail":             {answer(listPath, 500, "{}")},
	"lists fail, and delete": {answer(createPath, 500, "{}"), answer(listPath, 500, "{}"), answer(deletePath, 500, "{}")},
}

// TestOutageIsBorne: for hours nothing can be minted, until the token has expired
// and for hours after that. The workspace isn't flooded with calls, whatever the
// schedule says; once it works again, patrol knows that its token is dead, and one
// that a person brings is used at once.
func TestOutageIsBorne(t *testing.T) {
	for name, faults := range outages {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.schedule = every(t, "*/10 * * * *")
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(65 * time.Minute)
				began, expiry := time.Now(), h.inUse().Expiry
				for _, f := range faults {
					h.ws.Inject(f)
				}
				h.pass(time.Until(expiry))
				h.wantFewCalls("before expiry", began, expiry, createsBefore, listsBefore)
				for range 4 {
					h.pass(time.Hour)
					h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
					if t.Failed() {
						return // an hour of it is enough
					}
				}
				h.ws.Heal()
				h.pass(20 * time.Minute)
				if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !h.proxy.token().IsZero() {
					t.Errorf("Ready = %v, and the proxy has %v:\n%s", err, h.proxy.token(), h.story())
				}
				h.issue(24 * time.Hour)
				h.r.CheckProfile()
				h.pass(time.Second)
				if err := h.r.Ready(); err != nil {
					t.Errorf("a token was brought: %v", err)
				}
				h.pass(30 * time.Minute)
				h.wantOneInTheEnd()
			})
		})
	}
}

// TestPasteInOutageAfterExpiry: a person puts a token into the profile while the workspace
// doesn't answer, long after the token in use has expired. It is asked about at once, and the
// workspace is called no more often for it. Once the workspace answers, it is used.
func TestPasteInOutageAfterExpiry(t *testing.T) {
	for name, faults := range map[string][]workspacetest.Fault{
		"no answers":   outages["no answers"],
		"unavailable":  outages["unavailable"],
		"answers lost": outages["answers lost"],
	} {
		for _, after := range []time.Duration{5 * time.Minute, 40 * time.Minute, 2 * time.Hour} {
			t.Run(name+", "+after.String()+" after expiry", func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.schedule = every(t, "*/10 * * * *")
					h.issue(24 * time.Hour)
					h.serve()
					h.pass(65 * time.Minute)
					expiry := h.inUse().Expiry
					for _, f := range faults {
						h.ws.Inject(f)
					}
					h.pass(time.Until(expiry) + after)
					pasted := h.issue(48 * time.Hour)
					h.r.CheckProfile()
					h.pass(time.Second)
					if n := len(h.callsAt(listPath, func(r workspacetest.Request) bool { return r.TokenID == pasted.ID })); n != 1 {
						t.Errorf("%d lists with the new token within a second, want 1", n)
					}
					h.pass(2 * time.Hour)
					h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
					h.ws.Heal()
					h.pass(20 * time.Minute)
					h.wantAlive("twenty minutes after the outage")
				})
			})
		}
	}
}

// wantOneInTheEnd is wantOne once the queue is empty, which it is between two ticks of
// the schedule.
func (h *house) wantOneInTheEnd() {
	h.Helper()
	for range 10 {
		if len(h.r.Status().Retiring) == 0 {
			break
		}
		h.pass(time.Minute)
	}
	h.wantOne()
}

// inUse returns the token in use, as the workspace knows it.
func (h *house) inUse() workspacetest.Token {
	h.Helper()
	value := h.proxy.token().Expose()
	for _, t := range h.ws.Tokens() {
		if t.Value == value {
			return t
		}
	}
	h.Fatalf("the proxy has no token of this workspace:\n%s", h.story())
	return workspacetest.Token{}
}

// TestOutageWithMintProfile: the mint profile mints once the workspace works again,
// although the token in use expired hours ago.
func TestOutageWithMintProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.schedule = every(t, "*/10 * * * *")
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(65 * time.Minute)
		expiry := h.inUse().Expiry
		h.ws.Inject(answer("", 503, "{}"))
		h.pass(time.Until(expiry) + 2*time.Hour)
		h.wantFewCalls("from expiry on", expiry, time.Now(), createsAfter, listsAfter)
		h.ws.Heal()
		h.pass(20 * time.Minute)
		if h.r.Ready() != nil || !h.isLive(h.proxy.token().ID) {
			t.Errorf("twenty minutes after the outage: %v, %v:\n%s", h.proxy.token(), h.r.Ready(), h.story())
		}
	})
}

// TestExpiredChainIsQuiet: nothing may be minted here, and the token has expired.
// Nobody but a person can help: the workspace is hardly asked.
func TestExpiredChainIsQuiet(t *testing.T) {
	inHouseWith(t, workspacetest.Config{DisablePATs: true}, func(h *house) {
		boot := h.issue(5 * time.Hour)
		h.serve()
		h.pass(time.Until(boot.Expiry))
		h.wantFewCalls("before expiry", boot.Created, boot.Expiry, createsBefore, listsBefore)
		h.pass(6 * time.Hour)
		h.wantFewCalls("from expiry on", boot.Expiry, time.Now(), createsAfter, listsAfter)
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) {
			t.Errorf("Ready = %v", err)
		}
	})
}

// TestRetryAfter: patrol waits as long as the workspace asks it to, within reason.
// A person who asks for a rotation doesn't wait.
func TestRetryAfter(t *testing.T) {
	for name, test := range map[string]struct {
		schedule    string
		after       time.Duration // what the workspace asks for
		least, most time.Duration // until the second create
	}{
		"heeded":         {"0 */2 * * *", 10 * time.Minute, 10 * time.Minute, 20 * time.Minute},
		"at most":        {"0 */2 * * *", 2 * time.Hour, 15 * time.Minute, 25 * time.Minute},
		"little is left": {"0 0 1 1 *", 2 * time.Hour, 7 * time.Minute, 15 * time.Minute}, // 30 minutes are: a quarter is 7.5
	} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			t.Run(name+" "+strconv.Itoa(status), func(t *testing.T) {
				inHouse(t, func(h *house) {
					h.schedule = every(t, test.schedule)
					h.issue(24 * time.Hour)
					h.serve()
					h.pass(10 * time.Minute)
					f := answer(createPath, status, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"x"}`)
					f.Header = http.Header{"Retry-After": {strconv.Itoa(int(test.after / time.Second))}}
					h.ws.Inject(f)
					h.ws.Forget()
					for range 4 * 60 {
						if len(h.callsAt(createPath, nil)) > 0 {
							break
						}
						h.pass(time.Minute)
					}
					h.pass(test.least / 2)
					if n := len(h.callsAt(createPath, nil)); n != 1 {
						t.Fatalf("%d creates within %v, want 1: it wasn't waited for", n, test.least/2)
					}
					h.pass(test.most)
					at := h.callsAt(createPath, nil)
					if len(at) < 2 {
						t.Fatalf("it wasn't tried again:\n%s", h.story())
					}
					if gap := at[1].Sub(at[0]); gap < test.least || gap > test.most {
						t.Errorf("tried again after %v, want %v to %v", gap, test.least, test.most)
					}
					h.pass(time.Second)
					before := len(h.callsAt(createPath, nil))
					if _, err := h.r.Rotate(h.Context(), "asked"); err == nil || len(h.callsAt(createPath, nil)) != before+1 {
						t.Errorf("who asks: %v, after %d creates", err, len(h.callsAt(createPath, nil))-before)
					}
					h.ws.Heal()
					if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestRetryAfterExpiry: so too once the token has expired.
func TestRetryAfterExpiry(t *testing.T) {
	inHouse(t, func(h *house) {
		minter := h.ws.Issue(workspacetest.IssueOptions{Comment: "mints"})
		h.mintAs = h.client().As(pat.New(minter.Value, host))
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		expiry := h.inUse().Expiry
		f := answer("", http.StatusTooManyRequests, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"x"}`)
		f.Header = http.Header{"Retry-After": {"900"}}
		h.ws.Inject(f)
		h.pass(time.Until(expiry) + 3*time.Hour)
		creates := slices.DeleteFunc(h.callsAt(createPath, nil), func(at time.Time) bool { return at.Before(expiry) })
		if len(creates) < 2 {
			t.Errorf("%d tries after expiry", len(creates))
		}
		for i := 1; i < len(creates); i++ {
			if gap := creates[i].Sub(creates[i-1]); gap < 15*time.Minute {
				t.Fatalf("a create %v after another, want 15 minutes at least", gap)
			}
		}
	})
}

// TestTokenThatMayNotMint: a token that never expires and may not mint is served
// for ever. A mint is tried every six hours, and whenever a person does something.
func TestTokenThatMayNotMint(t *testing.T) {
	inHouseWith(t, workspacetest.Config{DisablePATs: true}, func(h *house) {
		boot := h.issue(0)
		h.serve()
		h.pass(6 * time.Hour)
		h.ws.Forget()
		h.pass(48 * time.Hour)
		if n := len(h.callsAt(createPath, nil)); n < 6 || n > 10 {
			t.Errorf("%d creates in two days, want 8", n)
		}
		if n := mostInAnHour(h.callsAt(listPath, nil), boot.Created, time.Now()); n > listsAfter {
			t.Errorf("%d lists in an hour, want %d at most", n, listsAfter)
		}
		if err := h.r.Ready(); err != nil || h.proxy.token().Expose() != boot.Value || h.profileToken() != boot.Value {
			t.Errorf("the token that works isn't served: %v", err)
		}
		tries := func(what string, value string) {
			t.Helper()
			n := len(h.callsAt(createPath, func(r workspacetest.Request) bool { return r.TokenID == pat.New(value, host).Hash() }))
			if n < 1 || n > 3 {
				t.Errorf("%s: %d mints tried, want one at once", what, n)
			}
			h.ws.Forget()
		}
		h.ws.Forget()
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			t.Error("Rotate worked")
		}
		tries("rotate", boot.Value)
		brought := h.ws.Issue(workspacetest.IssueOptions{})
		if _, err := h.r.Login(h.Context(), pat.New(brought.Value, host)); err == nil {
			t.Error("Login could rotate")
		}
		tries("login", brought.Value)
		pasted := h.issue(0)
		h.r.CheckProfile()
		h.pass(time.Second)
		tries("paste", pasted.Value)
		if got := h.proxy.token().Expose(); got != pasted.Value {
			t.Error("the token that was pasted isn't in use")
		}
	})
}

// TestWhatTheCreateSays: what the workspace says of a new token holds, and not what
// was asked for, also where it doesn't say when the token was made.
func TestWhatTheCreateSays(t *testing.T) {
	for name, cfg := range map[string]workspacetest.Config{
		"no creation_time":          {NoCreation: true},
		"shorter":                   {GrantAtMost: 50 * time.Minute},
		"no creation_time, shorter": {NoCreation: true, GrantAtMost: 50 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inHouseWith(t, cfg, func(h *house) {
				h.issue(24 * time.Hour)
				h.serve()
				for range 20 * 12 {
					h.pass(5 * time.Minute)
					if h.r.Ready() != nil || !h.isLive(h.proxy.token().ID) {
						t.Fatalf("the chain died: %v\n%s", h.r.Ready(), h.story())
					}
				}
				most := int(20*time.Hour/(40*time.Minute)) + 2
				if cfg.GrantAtMost == 0 {
					most = 7
				}
				if n := len(h.ws.Tokens()); n > most {
					t.Errorf("%d tokens in 20 hours, want %d at most", n, most)
				}
				h.restart()
				h.pass(10 * time.Minute)
				h.wantOne()
			})
		})
	}
}

// ours returns the tokens of this patrol that live.
func (h *house) ours() []workspacetest.Token {
	return slices.DeleteFunc(h.ws.Live(), func(t workspacetest.Token) bool {
		return !strings.HasPrefix(t.Comment, "patrol/"+h.ledger.Instance()+"/")
	})
}
