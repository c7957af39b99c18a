package rotator_test

import (
	"math/rand/v2"
	"time"

	"patrol/rotator/workspacetest"
)

// calls are when a workspace that is down was called: creates that failed, and all
// lists.
type calls struct{ creates, lists []time.Time }

// downFault is what a call meets while the workspace is down. It may have been done.
func downFault(chance *rand.Rand) *workspacetest.Fault {
	faults := []workspacetest.Fault{
		{Effect: workspacetest.Reset},
		{Effect: workspacetest.Close},
		{Effect: workspacetest.Hang},
		{Effect: workspacetest.Answer, Status: 503, Body: `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"x"}`},
		{Effect: workspacetest.Answer, Status: 502, Body: "<html><body><pre>bad gateway</pre></body></html>"},
	}
	f := faults[chance.IntN(len(faults))]
	f.After = chance.IntN(2) == 0
	return &f
}

// outage is a workspace that is down, for longer than a token lives perhaps. However
// long that is, it isn't flooded with calls.
func (s *simulation) outage(d time.Duration) {
	s.Helper()
	s.note("the workspace is down for", d)
	began := s.serverNow()
	end := began.Add(d)
	s.mu.Lock()
	s.down, s.calls = true, calls{}
	s.mu.Unlock()
	s.setRate(1)
	s.pass(time.Minute) // a rotation that was under way ends
	expiry := began     // of a token that is dead already
	const margin = 45 * time.Minute
	for _, t := range s.ws.Live() {
		if t.Value != s.proxy.token().Expose() {
			continue
		}
		expiry = t.Expiry
		if expiry.Before(end.Add(margin)) {
			s.doomed = t.Value
		}
	}
	for s.serverNow().Before(end) {
		s.awake(min(time.Hour, end.Sub(s.serverNow())))
		s.checkCalls(began, expiry)
	}
	s.mu.Lock()
	s.down = false
	s.mu.Unlock()
	s.setRate(0)
	s.note("the workspace is up again", 0)
	s.pass(20 * time.Minute) // a pause between two tries may be as long as that
	s.check()
}

// checkCalls checks the bounds on the calls in any hour of an outage.
func (s *simulation) checkCalls(began, expiry time.Time) {
	s.Helper()
	s.mu.Lock()
	c := s.calls
	s.mu.Unlock()
	now := s.serverNow()
	for _, bound := range []struct {
		what, when string
		at         []time.Time
		from, to   time.Time
		most       int
	}{
		{"creates failed", "before expiry", c.creates, began, expiry, createsBefore},
		{"lists", "before expiry", c.lists, began, expiry, listsBefore},
		{"creates failed", "from expiry on", c.creates, expiry, now, createsAfter},
		{"lists", "from expiry on", c.lists, expiry, now, listsAfter},
	} {
		if n := mostInAnHour(bound.at, bound.from, bound.to); n > bound.most {
			s.Fatalf("%d %s in an hour %s, want %d at most\n%s", n, bound.what, bound.when, bound.most, s.story())
		}
	}
}
