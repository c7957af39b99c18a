package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"patrol/rotator/workspace"
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
	r.schedule.running.Store(true)
	defer r.schedule.running.Store(false)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.work.ctx, cancel)()
	r.warnOfGaps()
	ended := make(chan struct{})
	r.work.Go(func(context.Context) {
		defer close(ended)
		r.runUpkeep(ctx)
	})
	r.runLoop(ctx)
	<-ended
	return nil
}

// warnOfGaps says so if the schedule is sparser than the tokens need.
func (r *Rotator) warnOfGaps() {
	if r.cfg.Schedule == nil {
		return
	}
	if gap := LongestGap(r.cfg.Schedule, r.now()); gap > UsableLife(r.cfg.Lifetime) {
		r.cfg.Log.Warn("the schedule is sparser than tokens live: they will also be rotated before they expire",
			"longest_gap", gap, "lifetime", r.cfg.Lifetime)
	}
}

// loop decides when to rotate. It belongs to the goroutine of Run.
type loop struct {
	*Rotator
	tick           time.Time // the next tick of the schedule with its jitter, wall time; zero: there is no schedule
	checkProfileAt time.Time
	repairFilesAt  time.Time
	clocks         clocks
	askTime        askTime
	retry          retry
	search         search
}

// clocks is when the wall clock and the monotonic clock were last compared.
type clocks struct{ wall, mono time.Time }

// retry is about a rotation that is wanted, or has failed.
type retry struct {
	reason   string
	of       credential // what it is to replace
	at       time.Time  // when to try again
	failures failureCount
}

// search is the search for a token while there is none.
type search struct {
	askAgain time.Time // when to ask the workspace again about tokens that it has refused
	asked    string    // which tokens it was asked about
	logged   string    // what the log says about it
	failures int
}

// runLoop rotates when that is due. A rotation that failed is tried again
// with growing pauses, and never waits for the next tick.
func (r *Rotator) runLoop(ctx context.Context) {
	l := &loop{Rotator: r, askTime: askTime{at: time.Now().Add(askTimeAfter)}}
	l.planTick()
	if c := r.chain.State().InUse(); !c.IsZero() && c.Expiry(r.skew()).Sub(r.now()) < c.Lifetime/3 {
		l.want("little of the token's life is left", c)
	}
	for {
		l.compareClocks()
		if l.schedule.tryNow.Swap(false) {
			l.tryNow()
		}
		var wait time.Duration
		if s := r.chain.State(); s.Phase == phaseReady {
			wait = l.rotateIfDue(ctx)
		} else {
			wait = l.findToken(ctx, s)
		}
		if !sleep(ctx, r.schedule.wake, wait) {
			return
		}
	}
}

// want asks for a rotation.
func (l *loop) want(reason string, of credential) { l.retry.reason, l.retry.of = reason, of }

// planTick sets the next tick.
func (l *loop) planTick() {
	if l.cfg.Schedule == nil {
		return
	}
	const part = 20 // of the gap
	tick := l.cfg.Schedule.Next(l.now())
	if after := l.cfg.Schedule.Next(tick); after.After(tick) {
		if most := min(after.Sub(tick)/part, jitterAtMost); most > 0 {
			tick = tick.Add(rand.N(most)) //nolint:gosec // jitter needs no secrecy
		}
	}
	l.tick = tick.Round(0)
	l.schedule.setNext(l.tick)
}

// compareClocks notices, by the monotonic clock, that the wall clock was set
// back. Then nobody knows when the token expires, and it is rotated. A clock that
// jumps forward is taken for a sleep.
func (l *loop) compareClocks() {
	const tolerance = time.Minute
	now := clocks{wall: l.now(), mono: time.Now()}
	back := now.mono.Sub(l.clocks.mono) - now.wall.Sub(l.clocks.wall)
	switch {
	case l.clocks.mono.IsZero():
	case back > tolerance:
		l.want("the clock was set back", l.chain.State().Current)
		l.cfg.Log.Warn("the clock was set back: rotating", "by", back.Round(time.Second))
	case -back > tolerance: // what failed before a sleep may work now
		l.cfg.Workspace.ForgetTime()
		l.askTime = askTime{at: time.Now().Add(askTimeAfter)}
		l.tryNow()
		l.retry.failures, l.search.failures = failureCount{}, 0
	}
	l.clocks = now
}

// tryNow ends the wait for the next try and the next look at the files.
func (l *loop) tryNow() {
	l.retry.at, l.search.askAgain = time.Time{}, time.Time{}
	l.checkProfileAt, l.repairFilesAt = time.Time{}, time.Time{}
	l.discovery.profile.askNow()
}

// askTime is when to ask the workspace for its time, where that isn't known.
type askTime struct {
	at    time.Time
	asked int // how often in vain
}

// askTimeAfter is how long after a start or a sleep the workspace is asked: a rotation may
// be due then, whose answers tell its time.
const askTimeAfter = time.Minute

// learnTime asks the workspace something if its time isn't known, because each answer
// tells it. By this machine's clock alone nobody can say when the token expires: it may
// have been set while patrol didn't run.
func (l *loop) learnTime(ctx context.Context, c credential) {
	_, known := l.cfg.Workspace.Time()
	if known || time.Now().Before(l.askTime.at) || l.now().After(c.Expiry(l.skew())) { // tries to rotate ask then
		return
	}
	if _, err := l.authority.Alive(ctx, c.Token); err == nil {
		_, _ = l.authority.Alive(ctx, c.Token) // two answers have to agree
	}
	l.askTime.asked++
	l.askTime.at = time.Now().Add(withJitter(pauseTime.After(l.askTime.asked)))
}

// rotateIfDue rotates if that is due. It returns how long to wait before it is called
// again.
func (l *loop) rotateIfDue(ctx context.Context) time.Duration {
	if !l.tick.IsZero() && l.tick.After(l.cfg.Schedule.Next(l.now()).Add(jitterAtMost)) {
		l.planTick() // the clock was set back
	}
	l.lookAfterFiles(ctx)
	c := l.chain.State().Current
	if !l.retry.of.Is(c) {
		l.retry = retry{of: c} // somebody else has replaced the token
	}
	plan := plan{Credential: c, Skew: l.skew(), Tick: l.tick, Wanted: l.retry.reason, NotBefore: l.retry.at}
	wait, reason := plan.Next(l.now(), time.Now())
	if wait > 0 {
		l.learnTime(ctx, c)
		return min(wallCheck, wait)
	}
	if !l.tick.IsZero() && !l.now().Before(l.tick) {
		l.planTick()
	}
	l.tryToRotate(ctx, reason, c)
	return 0 // to see what is due now
}

// lookAfterFiles looks at the profile, and at all files, when that is due.
func (l *loop) lookAfterFiles(ctx context.Context) {
	if l.schedule.checkProfile.Swap(false) || !time.Now().Before(l.checkProfileAt) {
		l.checkProfileAt = time.Now().Add(wallCheck)
		l.reconcileProfile(ctx)
	}
	if l.chain.State().Current.Entry.Ours() && !time.Now().Before(l.repairFilesAt) {
		l.repairFilesAt = time.Now().Add(fileCheck)
		l.repairFiles()
	}
}

// tryToRotate rotates once and plans another try if that failed.
func (l *loop) tryToRotate(ctx context.Context, reason string, c credential) {
	_, err := l.rotate(ctx, request{reason: reason, replaces: &c})
	if err == nil {
		l.retry = retry{}
		l.repairFilesAt = time.Now().Add(fileCheck) // they have just been written
		return
	}
	l.want(reason, c)
	left := c.Expiry(l.skew()).Sub(l.now())
	l.retry.failures.Add(err, left)
	l.retry.at = time.Now().Add(withJitter(retryPause(l.retry.failures, left, c.NeverExpires())))
}

// findToken looks for a token that works, and mints by the mint profile if
// there is none. It returns how long to wait before it is called again.
func (l *loop) findToken(ctx context.Context, s state) time.Duration {
	var there strings.Builder
	if all, err := l.candidates(); err == nil {
		for _, f := range all {
			there.WriteString(f.token.Hash())
		}
	}
	if there.String() == l.search.asked && time.Now().Before(l.search.askAgain) {
		return tokenWatch
	}
	l.search.asked = there.String()
	err := l.pickToken(ctx, true)
	if err != nil && l.hasOtherMinter() && s.Phase != phaseLoggedOut && !errors.Is(err, ErrConflict) {
		err = l.mintByOther(ctx, s, err)
	}
	if err == nil {
		l.search = search{}
		l.planTick()
		return 0
	}
	l.logSearch(ctx, err)
	pause := withJitter(l.searchPause(s, err))
	if cooldown, ok := errors.AsType[*cooldownError](err); ok {
		pause = min(pause, cooldown.ends.Sub(l.now())) // another may mint then
	}
	l.search.askAgain = time.Now().Add(pause)
	return min(tokenWatch, time.Until(l.search.askAgain))
}

// searchPause is how long to wait before the workspace is asked again. Once the last
// token has expired, it is asked less often.
func (l *loop) searchPause(s state, err error) time.Duration {
	f, pauses, c := &l.search.failures, pauseSearch, s.Current
	switch {
	case c.IsZero() || c.NeverExpires():
	case l.now().After(c.Expiry(l.skew())):
		pauses = pauseAfter
	case l.hasOtherMinter(): // which is tried each time
		pauses = pauseBefore
	}
	*f++
	if errors.Is(err, workspace.ErrUnreachable) {
		return min(pauses.After(*f), pauseUnreachable)
	}
	return max(pauses.After(*f), min(workspace.RetryAfter(err), retryAfterAtMost))
}

// mintByOther has an old token or the mint profile mint, unless one did so a moment ago;
// why is why no token was found.
func (l *loop) mintByOther(ctx context.Context, s state, why error) error {
	if wait := l.mintCooldown(); wait != nil {
		return l.chain.Fail(s, fmt.Errorf("%w; %w", why, wait))
	}
	_, err := l.rotate(ctx, request{reason: "there is no token that works", replaces: &s.Current})
	return err
}

// logSearch logs why no token was found, if that is new.
func (l *loop) logSearch(ctx context.Context, err error) {
	if ctx.Err() != nil || l.search.logged == err.Error() {
		return
	}
	l.search.logged = err.Error()
	level := slog.LevelError
	if l.chain.State().Phase == phaseLoggedOut {
		level = slog.LevelInfo // as its user wants it
	}
	l.cfg.Log.Log(ctx, level, "there is no token to work with: looking for one", "err", err)
}

// runUpkeep looks after the queue, the ledger and files that could not be written.
func (r *Rotator) runUpkeep(ctx context.Context) {
	u := &upkeep{Rotator: r, pause: retries(5 * time.Minute)}
	for {
		u.saveLedger()
		u.fillGaps(ctx)
		wait := r.queue.finishDue(ctx)
		if next := u.retryFiles(); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		if !sleep(ctx, r.queue.wake, wait) {
			return
		}
	}
}

// upkeep is what runUpkeep remembers from one round to the next.
type upkeep struct {
	*Rotator
	logged    string // what the log says about gaps in the ledger
	retryFrom time.Time
	pause     *backoff.ExponentialBackOff
}

// retryFiles writes the files again when that is due, if some could not be written.
// It returns when it will; zero: there is no need.
func (u *upkeep) retryFiles() time.Time {
	switch {
	case failures(u.files.Infos()) == nil:
		u.pause.Reset()
		u.retryFrom = time.Time{}
	case u.retryFrom.IsZero():
		u.retryFrom = time.Now().Add(u.pause.NextBackOff())
	case !time.Now().Before(u.retryFrom):
		u.repairFiles()
		u.retryFrom = time.Now().Add(u.pause.NextBackOff())
	}
	return u.retryFrom
}
