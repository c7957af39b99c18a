package rotator

import (
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

// usable is the part of a token's life after which it is rotated whatever the
// schedule says. What is left is for failures.
func usable(life time.Duration) time.Duration { return life - life/8 }

// expiry is when a token expires by this machine's clock. Where the workspace
// doesn't say, it is when a token of ours would.
func (r *Rotator) expiry(h holding) time.Time {
	switch {
	case !h.entry.Until.IsZero():
		return h.entry.Until
	case !h.token.Expiry.IsZero():
		return h.token.Expiry
	}
	return h.since.Round(0).Add(r.cfg.Lifetime)
}

// life is how long a token lives in all.
func (r *Rotator) life(h holding) time.Duration { return r.lifeOf(h.token) }

// deadline is when a token is rotated by whatever the schedule says.
func (r *Rotator) deadline(h holding) time.Time {
	life := r.life(h)
	return r.expiry(h).Add(usable(life) - life)
}

// due says why the token should be rotated now, "" if it needn't be. Both
// clocks count: the wall clock goes on while a laptop sleeps, and the
// monotonic one can't be set.
func (r *Rotator) due(h holding, tick time.Time) string {
	now, life := r.now(), r.life(h)
	left := r.expiry(h).Sub(now)
	switch {
	case !h.entry.Ours():
		return "the token is not patrol's own"
	case left <= life-usable(life), time.Since(h.since) >= usable(life):
		return "the token is about to expire"
	case !tick.IsZero() && !now.Before(tick):
		return "schedule"
	}
	return ""
}
