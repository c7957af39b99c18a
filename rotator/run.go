package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	// wallCheck is how often the wall clock and the profile are looked at:
	// timers stop while a laptop sleeps.
	wallCheck = 30 * time.Second

	// fileCheck is how often all credential files are looked at.
	fileCheck = 5 * time.Minute

	// tokenWatch is how often a token is looked for while there is none.
	tokenWatch = 2 * time.Second

	// jitterAtMost bounds how much later than its tick a rotation begins, so
	// that a thousand laptops don't mint at the same second.
	jitterAtMost = 2 * time.Minute
)

// Run keeps the token fresh until ctx is done: it rotates when that is due,
// looks after the files and the queue, and looks for a token while there is
// none. It returns nil. A rotation that is under way goes on until Close.
func (r *Rotator) Run(ctx context.Context) error {
	r.running.Store(true)
	defer r.running.Store(false)
	r.warnOfGaps()
	tending := make(chan struct{})
	r.work.Go(func() {
		defer close(tending)
		r.runTend(ctx)
	})
	r.runSchedule(ctx)
	<-tending
	return nil
}

// warnOfGaps says so if the schedule is sparser than the tokens need.
func (r *Rotator) warnOfGaps() {
	if r.cfg.Schedule == nil {
		return
	}
	if gap := LongestGap(r.cfg.Schedule, r.now()); gap > usable(r.cfg.Lifetime) {
		r.log.Warn("the schedule is sparser than tokens live: they will also be rotated before they expire",
			"longest_gap", gap, "lifetime", r.cfg.Lifetime)
	}
}

// scheduler decides when to rotate. It belongs to the goroutine of Run.
type scheduler struct {
	r                  *Rotator
	tick               time.Time // the next tick of the schedule with its jitter, wall time; zero: there is no schedule
	look               time.Time // when to look at the profile again
	tidy               time.Time // when to look at all the files again
	seenWall, seenMono time.Time // when the clocks were last compared

	// A rotation that failed.
	want  string    // why it was begun
	of    string    // the nonce of the token that it was to replace
	retry time.Time // when to try it again
	pause *backoff.ExponentialBackOff

	// The search for a token while there is none.
	ask    time.Time // when to ask the workspace again about tokens that it has refused
	seen   string    // which tokens it was asked about
	told   string    // what the log says about it
	search *backoff.ExponentialBackOff
}

// runSchedule rotates when that is due. A rotation that failed is tried again
// with growing pauses, and never waits for the next tick.
func (r *Rotator) runSchedule(ctx context.Context) {
	s := &scheduler{r: r, pause: retries(5 * time.Minute), search: retries(30 * time.Second)}
	s.plan()
	if h := r.held(); r.Ready() == nil && r.expiry(h).Sub(r.now()) < r.life(h)/3 {
		s.want, s.of = "little of the token's life is left", h.entry.Nonce
	}
	for {
		s.compareClocks()
		var wait time.Duration
		if r.Ready() != nil {
			wait = s.recover(ctx)
		} else {
			wait = s.rotate(ctx)
		}
		if !r.rest(ctx, r.kick, wait) {
			return
		}
	}
}

// plan sets the next tick.
func (s *scheduler) plan() {
	if s.r.cfg.Schedule == nil {
		return
	}
	const part = 20 // of the gap
	tick := s.r.cfg.Schedule.Next(s.r.now())
	if after := s.r.cfg.Schedule.Next(tick); after.After(tick) {
		if most := min(after.Sub(tick)/part, jitterAtMost); most > 0 {
			tick = tick.Add(rand.N(most)) //nolint:gosec // jitter needs no secrecy
		}
	}
	s.tick = tick.Round(0)
	s.r.mu.Lock()
	s.r.next = s.tick
	s.r.mu.Unlock()
}

// compareClocks notices, by the monotonic clock, that the wall clock was set
// back. When the token expires is then anybody's guess, and it is rotated. A
// clock that jumps forward is taken for a sleep: the expiry comes nearer.
func (s *scheduler) compareClocks() {
	const tolerance = time.Minute
	wall, mono := s.r.now(), time.Now()
	back := mono.Sub(s.seenMono) - wall.Sub(s.seenWall)
	switch {
	case s.seenMono.IsZero():
	case back > tolerance:
		s.want, s.of = "the clock was set back", s.r.held().entry.Nonce
		s.r.log.Warn("the clock was set back: rotating", "by", back.Round(time.Second))
	case -back > tolerance: // what failed before a sleep may work now
		s.retry, s.ask = time.Time{}, time.Time{}
	}
	s.seenWall, s.seenMono = wall, mono
}

// rotate rotates if that is due, and returns how long it won't be.
func (s *scheduler) rotate(ctx context.Context) time.Duration {
	r := s.r
	if now := r.now(); !s.tick.IsZero() && s.tick.After(r.cfg.Schedule.Next(now).Add(jitterAtMost)) {
		s.plan() // the clock was set back
	}
	asked := r.glance.Swap(false)
	if asked || !time.Now().Before(s.look) {
		s.look = time.Now().Add(wallCheck)
		r.reconcile(ctx)
	}
	h := r.held()
	if h.entry.Ours() && (asked || !time.Now().Before(s.tidy)) {
		s.tidy = time.Now().Add(fileCheck)
		r.mend()
	}
	if s.of != h.entry.Nonce {
		s.want, s.retry = "", time.Time{} // somebody else has replaced the token
	}
	reason := cmp.Or(r.due(h, s.tick), s.want)
	if pause := time.Until(s.retry); reason != "" && pause > 0 {
		return min(wallCheck, pause)
	}
	if !s.tick.IsZero() && !r.now().Before(s.tick) {
		s.plan()
	}
	if reason != "" {
		s.try(ctx, reason, h)
		return 0 // to see what is due now
	}
	next := r.deadline(h)
	if !s.tick.IsZero() && s.tick.Before(next) {
		next = s.tick
	}
	return min(wallCheck, max(next.Sub(r.now()), 0))
}

// try rotates once and plans another try if that failed.
func (s *scheduler) try(ctx context.Context, reason string, h holding) {
	if _, err := s.r.begin(ctx, need{reason: reason, of: &h}); err == nil {
		s.want, s.retry = "", time.Time{}
		s.pause.Reset()
		return
	}
	const parts, least = 8, 5 * time.Second // of the time that is left, to have several tries
	pause := min(s.pause.NextBackOff(), max(s.r.expiry(h).Sub(s.r.now())/parts, least))
	s.want, s.of, s.retry = reason, h.entry.Nonce, time.Now().Add(pause)
}

// recover looks for a token that works, and mints by the mint profile if
// there is none. It returns how long to wait before it is called again.
func (s *scheduler) recover(ctx context.Context) time.Duration {
	r := s.r
	var there strings.Builder
	if all, err := r.look(); err == nil {
		for _, f := range all {
			there.WriteString(f.token.Hash())
		}
	}
	if there.String() == s.seen && time.Now().Before(s.ask) {
		return tokenWatch
	}
	s.seen = there.String()
	held := r.held()
	err := r.adopt(ctx, true)
	if err != nil && r.cfg.MintAs != nil && !errors.As(err, new(*ConflictError)) {
		if wait := r.tooSoon(); wait != nil {
			err = r.stuck(held, fmt.Errorf("%w; %w", err, wait))
		} else {
			_, err = r.begin(ctx, need{reason: "there is no token that works", of: &held})
		}
	}
	if err == nil {
		s.search.Reset()
		s.seen, s.told, s.ask = "", "", time.Time{}
		s.plan()
		return 0
	}
	if ctx.Err() == nil && s.told != err.Error() {
		s.told = err.Error()
		level := slog.LevelError
		if r.isOut() {
			level = slog.LevelInfo // as its user wants it
		}
		r.log.Log(ctx, level, "there is no token to work with: looking for one", "err", err)
	}
	s.ask = time.Now().Add(s.search.NextBackOff())
	return min(tokenWatch, time.Until(s.ask))
}

// reconcile looks at what stands in the profile. An old token of ours there
// is replaced; a token that we have never seen, and that works, was put there
// by somebody who wants it used.
func (r *Rotator) reconcile(ctx context.Context) {
	all, err := r.look()
	if err != nil {
		return // the rotation's preflight will say so
	}
	current := r.Current()
	inFile := func(f found) bool {
		return slices.ContainsFunc(f.sources, func(s string) bool { return s != inUse && !f.pinned })
	}
	if r.held().entry.Ours() && !slices.ContainsFunc(all, inFile) {
		r.mend() // the profile is gone, or its token is
	}
	for _, f := range all {
		switch {
		case f.pinned || f.token.Same(current):
		case f.known:
			r.log.Info("an old token stands in the profile: writing the current one", "from", f.sources)
			r.mend()
		default:
			r.consider(ctx, f)
		}
	}
}

// mend writes the files again: what others have put back into them, and files
// that are new. Whoever has just read an old token there gets another grace.
func (r *Rotator) mend() {
	r.mu.Lock()
	queue, out := slices.Clone(r.queue), r.out
	r.mu.Unlock()
	if out {
		r.files.clear(r.gone)
		return
	}
	for _, a := range queue {
		r.mu.Lock()
		hash := a.entry.Hash
		r.mu.Unlock()
		if paths, _ := r.files.holders(hash); len(paths) == 0 {
			continue // or it can't be known, and end will find out
		}
		r.mu.Lock()
		if !a.quiet.IsZero() {
			a.quiet = time.Now()
		}
		r.mu.Unlock()
	}
	r.written(r.files.put(r.Current))
}

// consider makes a token that was put into the profile the current one, if it
// works. One that another patrol has minted is left to it: two that took each
// other's tokens over would never rest.
func (r *Rotator) consider(ctx context.Context, f found) {
	alive, err := r.inspect(ctx, &f)
	switch {
	case err != nil || !alive:
		return
	case r.isAnothers(f.token.Comment):
		r.warnOnce("another patrol writes this profile too: give each a profile of its own", f.token.Comment)
		return
	case f.token.ID == "" && !r.mayAdopt():
		r.warnOnce("tokens that can't be told apart appear in the profile: does another patrol write it too?", f.entry.Hash)
		return
	}
	r.log.Info("a new token stands in the profile", "from", f.sources)
	if err := r.take(ctx, f); err != nil {
		r.log.Error("the new token can't be used", "err", err)
	}
}

// warnOnce logs a warning about something, once as long as it is the same.
func (r *Rotator) warnOnce(what, about string) {
	r.mu.Lock()
	again := r.warned == about
	r.warned = about
	r.mu.Unlock()
	if !again {
		r.log.Warn(what, "about", about) //nolint:sloglint // the callers' messages are static
	}
}

func (r *Rotator) held() holding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holding
}
