package rotator

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"

	"patrol/rotator/workspace"
)

// LongestGap returns the longest time that passes without a tick, looking at
// the next 400 ticks or one year, whichever ends first.
func LongestGap(schedule cron.Schedule, now time.Time) time.Duration {
	const ticks, year = 400, 365 * 24 * time.Hour
	var longest time.Duration
	last := now
	for range ticks {
		next := schedule.Next(last)
		if next.IsZero() {
			return year
		}
		longest = max(longest, next.Sub(last))
		if next.Sub(now) > year {
			break
		}
		last = next
	}
	return longest
}

// UsableLife is the part of a token's life after which it is rotated whatever the
// schedule says. In the rest there is time to try again after a failure.
func UsableLife(life time.Duration) time.Duration { return life - life/8 }

// plan is what decides when a token is rotated.
type plan struct {
	Credential credential
	Skew       skew
	Tick       time.Time // the schedule's next, wall time; zero: there is no schedule
	Wanted     string    // why it is to be rotated, if something else has come up
	NotBefore  time.Time // a rotation has failed: when to try again, by the monotonic clock
}

// Next returns how long the token is not to be rotated yet, and why it is then; 0 is
// at once. Both clocks count: the wall clock, now, goes on while a laptop sleeps, and
// the monotonic one, mono, can't be set.
func (p plan) Next(now, mono time.Time) (wait time.Duration, reason string) {
	const tolerance = 2 * time.Minute // more than Skew leaves out
	c := p.Credential
	deadline := min(c.Deadline(p.Skew).Sub(now), c.Since.Add(UsableLife(c.Lifetime)).Sub(mono))
	wait, reason = deadline, "the token is about to expire"
	if c.Entry.Ours() && c.Expiry(p.Skew).Sub(now) > c.Lifetime+tolerance {
		wait, reason = c.Since.Add(tolerance).Sub(mono), "its expiry can't be right: the clock was set"
	}
	if !c.Minted.IsZero() { // whatever the clocks say, a new token is not replaced at once
		wait = max(wait, c.Minted.Add(min(leastAge, c.Lifetime/2)).Sub(mono))
	}
	tick := p.Tick.Sub(now)
	switch {
	case !c.Entry.Ours():
		wait, reason = 0, "the token is not patrol's own"
	case wait > 0 && p.Wanted != "":
		wait, reason = 0, p.Wanted
	case wait > 0 && !p.Tick.IsZero() && tick < wait:
		wait, reason = tick, "schedule"
	}
	return max(wait, p.NotBefore.Sub(mono), 0), reason
}

// leastAge is how long a token that was just minted is not called about to expire.
const leastAge = 2 * time.Minute

// failureCount is how often in a row something has been tried in vain, and what the
// workspace said the last time.
type failureCount struct {
	BeforeExpiry int // while the token in use had life left
	AfterExpiry  int
	Err          error
}

// Add counts a failure; left is how much life the token in use has.
func (f *failureCount) Add(err error, left time.Duration) {
	f.Err = err
	if left > 0 {
		f.BeforeExpiry++
	} else {
		f.AfterExpiry++
	}
}

// Pauses between tries. They bound what an outage of any length costs: 20 failed
// tries in any hour before the token expires, and 6 in any hour from then on.
var (
	pauseBefore = pauses{first: 10 * time.Second, factor: 3, most: 10 * time.Minute}
	pauseAfter  = pauses{first: 2 * time.Minute, factor: 3, most: 15 * time.Minute}

	// pauseSearch is between two looks for a token while none is known.
	pauseSearch = pauses{first: 2 * time.Second, factor: 2, most: 3 * time.Minute}

	// pauseTime is between two questions what time it is.
	pauseTime = pauses{first: 10 * time.Minute, factor: 2, most: time.Hour}

	// pauseRevoke is between two tries to revoke a token.
	pauseRevoke = pauses{first: time.Second, factor: 2, most: 5 * time.Minute}

	// pauseMints is between two questions about mints without an answer.
	pauseMints = pauses{first: 5 * time.Minute, factor: 2, most: 15 * time.Minute}
)

const (
	// retryAfterAtMost bounds how long the workspace's Retry-After is heeded.
	retryAfterAtMost = 15 * time.Minute

	// pauseUnreachable bounds the wait where nothing reached the workspace, which costs it
	// nothing: a laptop's network comes back at any moment.
	pauseUnreachable = 30 * time.Second

	// pausePreflight bounds the wait where something on this machine has to be mended
	// first.
	pausePreflight = time.Minute

	// pauseNoList is between two questions about mints where the token in use may not
	// list.
	pauseNoList = time.Hour

	// pauseForbidden is between two tries with a token that never expires and may
	// not mint.
	pauseForbidden = 6 * time.Hour
)

// pauses grow from the first by a factor up to the longest.
type pauses struct {
	first  time.Duration
	factor float64
	most   time.Duration
}

// After is the pause after so many failures in a row.
func (p pauses) After(failures int) time.Duration {
	pause := float64(p.first) * math.Pow(p.factor, float64(max(failures, 1)-1))
	return time.Duration(min(pause, float64(p.most)))
}

// retryPause is how long to wait before a rotation that has failed is tried again;
// left is how much life the token in use has. It heeds the workspace's Retry-After,
// but for no longer than a quarter of what is left.
func retryPause(f failureCount, left time.Duration, neverExpires bool) time.Duration {
	const part, least = 4, 2 * time.Minute
	asked := min(workspace.RetryAfter(f.Err), retryAfterAtMost)
	switch {
	case errors.Is(f.Err, workspace.ErrUnreachable):
		return min(pauseBefore.After(f.BeforeExpiry+f.AfterExpiry), pauseUnreachable)
	case left > 0 && errors.Is(f.Err, errPreflight):
		return min(pauseBefore.After(f.BeforeExpiry), pausePreflight)
	case neverExpires && errors.Is(f.Err, workspace.ErrPermission):
		return pauseForbidden
	case left <= 0 && !neverExpires:
		return max(pauseAfter.After(f.AfterExpiry), asked)
	case neverExpires:
		return max(pauseBefore.After(f.BeforeExpiry+f.AfterExpiry), asked)
	}
	return max(min(pauseBefore.After(f.BeforeExpiry), max(left/part, least)), min(asked, left/part))
}

// withJitter makes a pause up to a fifth longer, so that a thousand laptops don't
// come back at the same second.
func withJitter(pause time.Duration) time.Duration {
	const part = 5
	return pause + rand.N(pause/part+1) //nolint:gosec // jitter needs no secrecy
}

// schedule is what Run shares with those who ask about it.
type schedule struct {
	wake         chan struct{} // something has changed that the schedule depends on
	running      atomic.Bool   // Run is at work
	checkProfile atomic.Bool   // the profile is to be looked at now: see CheckProfile
	tryNow       atomic.Bool   // what has failed is to be tried now: see TryNow

	mu   sync.Mutex // guards next
	next time.Time  // the next tick of the schedule
}

func (s *schedule) setNext(tick time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = tick
}

// Next returns the next tick of the schedule, zero if there is none.
func (s *schedule) Next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// CheckProfile has Run look at the profile now, and not only when it would by
// itself, which is every 30 seconds (2 while there is no token). It doesn't block.
func (r *Rotator) CheckProfile() {
	r.schedule.checkProfile.Store(true)
	wake(r.schedule.wake)
}

// TryNow has Run look at all files now, and try at once what has failed and waits to be
// tried again: whoever asks for it has reason to think that it works now. It doesn't
// block.
func (r *Rotator) TryNow() {
	r.schedule.tryNow.Store(true)
	wake(r.schedule.wake)
}
