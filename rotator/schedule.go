package rotator

import (
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
)

// LongestGap returns the longest time that passes without a tick, looking at
// the next 400 ticks or one year, whichever ends first.
func LongestGap(schedule cron.Schedule, now time.Time) time.Duration {
	const ticks, year = 400, 365 * 24 * time.Hour
	var longest time.Duration
	for n, last := 0, now; n < ticks && last.Sub(now) <= year; n++ {
		next := schedule.Next(last)
		if next.IsZero() {
			return year
		}
		longest, last = max(longest, next.Sub(last)), next
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

// schedule is when things are done, which Run shares with those who ask for them.
type schedule struct {
	pauses

	wake    chan struct{} // something has changed that the loop depends on
	running atomic.Bool   // Run is at work
	tick    atomic.Pointer[time.Time]
}

// NextTick returns the next tick, zero if there is none.
func (s *schedule) NextTick() time.Time {
	if tick := s.tick.Load(); tick != nil {
		return *tick
	}
	return time.Time{}
}

// CheckProfile has Run look at the profile now, and not only when it would by
// itself, which is every 30 seconds (2 while there is no token). It doesn't block.
func (r *Rotator) CheckProfile() {
	r.schedule.Forget(lookAtProfile)
	wake(r.schedule.wake)
}

// TryNow has Run look at all files now, and try at once what has failed and waits to be
// tried again: whoever asks for it has reason to think that it works now. It doesn't
// block.
func (r *Rotator) TryNow() {
	r.schedule.EndPauses()
	r.schedule.Forget(lookAtProfile, lookAtFiles)
	r.wakeAll()
}
