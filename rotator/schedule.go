package rotator

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/robfig/cron/v3"
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
// schedule says. What is left is for failures.
func UsableLife(life time.Duration) time.Duration { return life - life/8 }

// Plan is what decides when a token is rotated.
type Plan struct {
	Credential Credential
	Tick       time.Time // the schedule's next, wall time; zero: there is no schedule
	Wanted     string    // why it is to be rotated, if something else has come up
	NotBefore  time.Time // a rotation has failed: when to try again, by the monotonic clock
}

// Next returns when the token is to be rotated and why: a time that isn't after
// now says at once. Both clocks count: the wall clock, now, goes on while a laptop
// sleeps, and the monotonic one, mono, can't be set.
func (p Plan) Next(now, mono time.Time) (wait time.Duration, reason string) {
	c := p.Credential
	deadline := min(c.Deadline().Sub(now), c.Since.Add(UsableLife(c.Lifetime)).Sub(mono))
	wait, reason = deadline, "the token is about to expire"
	if tick := p.Tick.Sub(now); !p.Tick.IsZero() && tick < wait && wait > 0 {
		wait, reason = tick, "schedule"
	}
	switch {
	case !c.Entry.Ours():
		wait, reason = 0, "the token is not patrol's own"
	case wait > 0 && p.Wanted != "":
		wait, reason = 0, p.Wanted
	}
	return max(wait, p.NotBefore.Sub(mono), 0), reason
}

// schedule is what Run shares with those who ask about it.
type schedule struct {
	wake       chan struct{} // something has changed that the schedule hangs on
	running    atomic.Bool   // Run is at work
	checkFiles atomic.Bool   // the files are to be looked at now: see CheckFiles

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

// CheckFiles has Run look at the files now, and not only when it would by itself: at
// the profile every 30 seconds (2 while there is no token), at the others every 5
// minutes. It doesn't block.
func (r *Rotator) CheckFiles() {
	r.schedule.checkFiles.Store(true)
	wake(r.schedule.wake)
}
