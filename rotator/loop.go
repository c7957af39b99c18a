package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/workspace"
)

const (
	// wallCheck is how often the wall clock and the profile are looked at:
	// timers stop while a laptop sleeps.
	wallCheck = 30 * time.Second

	// filesEvery is how often all credential files are looked at.
	filesEvery = 5 * time.Minute

	// tokenWatch is how often a token is looked for while there is none.
	tokenWatch = 2 * time.Second

	// jitterAtMost bounds how much later than its tick a rotation begins, so
	// that a thousand laptops don't mint at the same second.
	jitterAtMost = 2 * time.Minute

	// pauseForbidden is between two tries with a token that never expires and may
	// not mint.
	pauseForbidden = 6 * time.Hour
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

	// wall and mono are when the two clocks were last compared.
	wall, mono time.Time

	wanted   string     // why the token in use is to be rotated, "" if only plan.Next says so
	replaces credential // that token

	filesFailed bool   // to be written
	searched    string // which tokens there were at the last search; "": one is in use
	unwritable  bool   // something on this machine is to be mended before any is minted
	logged      string // what the log says about that
}

// runLoop rotates when that is due. A rotation that failed is tried again
// with growing pauses, and never waits for the next tick.
func (r *Rotator) runLoop(ctx context.Context) {
	l := &loop{Rotator: r, wall: r.now(), mono: time.Now()}
	l.schedule.Postpone(serverTime, askTimeAfter)
	l.planTick()
	if c := r.chain.State().Current; r.lifeLeft() < c.Lifetime/3 {
		l.wantRotation("little of the token's life is left", c)
	}
	for {
		l.compareClocks()
		l.lookAfterFiles(ctx)
		var wait time.Duration
		if s := r.chain.State(); s.Phase == phaseReady {
			l.searched, l.unwritable = "", false
			wait = l.rotateIfDue(ctx)
		} else {
			wait = l.findToken(ctx, s)
		}
		if !sleep(ctx, r.schedule.wake, wait) {
			return
		}
	}
}

// wantRotation asks for a rotation.
func (l *loop) wantRotation(reason string, replaces credential) {
	l.wanted, l.replaces = reason, replaces
}

// planTick sets the next tick, with its jitter.
func (l *loop) planTick() {
	if l.cfg.Schedule == nil {
		return
	}
	const part = 20 // of the gap
	tick := l.cfg.Schedule.Next(l.now())
	if most := min(l.cfg.Schedule.Next(tick).Sub(tick)/part, jitterAtMost); most > 0 {
		tick = tick.Add(rand.N(most)) //nolint:gosec // jitter needs no secrecy
	}
	tick = tick.Round(0)
	l.schedule.tick.Store(&tick)
}

// compareClocks notices, by the monotonic clock, that the wall clock was set
// back. Then nobody knows when the token expires, and it is rotated. A clock that
// jumps forward is taken for a sleep.
func (l *loop) compareClocks() {
	const tolerance = time.Minute
	wall, mono := l.now(), time.Now()
	back := mono.Sub(l.mono) - wall.Sub(l.wall)
	switch {
	case back > tolerance:
		l.wantRotation("the clock was set back", l.chain.State().Current)
		l.planTick()
		l.cfg.Log.Warn("the clock was set back: rotating", "by", back.Round(time.Second))
	case -back > tolerance: // what failed before a sleep may work now
		l.cfg.Workspace.ForgetTime()
		l.schedule.ForgetAll()
		l.schedule.Postpone(serverTime, askTimeAfter)
	}
	l.wall, l.mono = wall, mono
}

// askTimeAfter is how long after a start or a sleep the workspace is asked for its time: a
// rotation may be due then, whose answers tell it.
const askTimeAfter = time.Minute

// learnTime asks the workspace something if its time isn't known, because each answer
// tells it. By this machine's clock alone nobody can say when the token expires: it may
// have been set while patrol didn't run.
func (l *loop) learnTime(ctx context.Context, c credential) {
	const failed, untold = 10 * time.Minute, time.Hour
	if _, known := l.cfg.Workspace.Time(); known || l.schedule.WaitForList(serverTime) > 0 {
		return
	}
	if _, err := l.authority.Alive(ctx, c.Token); err != nil {
		l.schedule.Postpone(serverTime, failed)
		return
	}
	_, _ = l.authority.Alive(ctx, c.Token) // two answers have to agree
	l.schedule.Postpone(serverTime, untold)
}

// rotateIfDue begins a rotation if that is due. It returns how long to wait before it is
// called again. A rotation's end wakes the loop, which looks after the profile meanwhile.
func (l *loop) rotateIfDue(ctx context.Context) time.Duration {
	c := l.chain.State().Current
	if !l.replaces.Is(c) {
		l.wantRotation("", c) // somebody else has replaced the token
	}
	plan := plan{
		Credential: c, Skew: l.skew(), Tick: l.schedule.NextTick(), Wanted: l.wanted,
		NotBefore: time.Now().Add(l.schedule.WaitForList(rotating)), // a list tells whether the new token works
	}
	wait, reason := plan.Next(l.now(), time.Now())
	if wait > 0 {
		l.learnTime(ctx, c)
		return min(wallCheck, wait)
	}
	if !plan.Tick.IsZero() && !l.now().Before(plan.Tick) {
		l.planTick()
	}
	l.wantRotation(reason, c) // again, if it fails
	switch o, _, err := l.begin(request{reason: reason, replaces: &c}); {
	case o != nil:
		return wallCheck
	case err != nil:
		l.pauseRotating(err)
	}
	return 0 // to see what is due now
}

// pauseRotating sets when it is tried again to rotate the token in use, or to find one.
func (r *Rotator) pauseRotating(err error) {
	c := r.chain.State().InUse()
	switch {
	case c.IsZero() && r.mintCooldown() != nil:
		r.schedule.Postpone(rotating, r.schedule.Wait(otherMint))
	case !c.IsZero() && c.NeverExpires() && errors.Is(err, workspace.ErrPermission):
		r.schedule.Postpone(rotating, pauseForbidden)
	default:
		r.schedule.Failed(rotating, err)
	}
}

// lifeLeft is how long the token in use will live; where none has been found since the
// start, the one before that. One that never expires, and none, lives on.
func (r *Rotator) lifeLeft() time.Duration {
	const ever = 100 * 365 * 24 * time.Hour
	c := r.chain.State().Current
	if c.IsZero() {
		for _, e := range r.cfg.Ledger.Pending() {
			if e.Stage == ledger.Current {
				c.Entry = e
			}
		}
	}
	if c.NeverExpires() {
		return ever
	}
	return c.Expiry(r.skew()).Sub(r.now())
}

// lookAfterFiles looks at the profile, and at all files, when that is due: more often while
// one of them can't be written.
func (l *loop) lookAfterFiles(ctx context.Context) {
	s := l.chain.State()
	if s.Phase == phaseReady && l.schedule.Wait(lookAtProfile) == 0 {
		l.schedule.Postpone(lookAtProfile, wallCheck)
		l.reconcileProfile(ctx)
	}
	failed := failures(l.files.Infos()) != nil
	if failed && !l.filesFailed {
		l.schedule.Forget(lookAtFiles)
	}
	l.filesFailed = failed
	if !s.InUse().Entry.Ours() && !failed || l.schedule.Wait(lookAtFiles) > 0 {
		return
	}
	l.repairFiles()
	pause := filesEvery
	if failures(l.files.Infos()) != nil {
		pause = pauseLocal
	}
	l.schedule.Postpone(lookAtFiles, pause)
}

// findToken looks for a token that works, and mints by the mint profile if
// there is none. It returns how long to wait before it is called again.
func (l *loop) findToken(ctx context.Context, s state) time.Duration {
	all, _ := l.candidates()                               // pickToken tells of an error
	if here := l.describeSearch(all); here != l.searched { // the search begins, or a person has done something
		l.searched = here
		l.schedule.EndPauses()
	}
	if wait := l.schedule.WaitForList(rotating); wait > 0 {
		return min(tokenWatch, wait)
	}
	none := l.pickToken(ctx, true)
	err := none
	if err != nil && l.hasOtherMinter() && s.Phase != phaseLoggedOut && !errors.Is(err, ErrConflict) && l.schedule.WhyNotAsked() == nil {
		err = l.mintByOther(ctx, s, err)
	}
	if err == nil {
		l.logged = ""
		l.planTick()
		return 0
	}
	l.logSearch(ctx, err)
	l.unwritable = errors.Is(err, errPreflight)
	if len(all) > 0 && isLocal(err) { // but the search has asked the workspace
		err = none
	}
	l.pauseRotating(err)
	return tokenWatch
}

// describeSearch says which tokens there are and, if that was in the way, why the profile can't be
// written.
func (l *loop) describeSearch(all []candidate) string {
	var here strings.Builder
	here.WriteString("tokens:")
	for _, f := range all {
		here.WriteString(f.token.Hash())
	}
	if l.unwritable {
		profile, _ := l.files.Check()
		here.WriteString(errText(profile))
	}
	return here.String()
}

// mintByOther has an old token or the mint profile mint, unless one did so a moment ago;
// why is why no token was found.
func (l *loop) mintByOther(ctx context.Context, s state, why error) error {
	err := l.mintCooldown()
	if err == nil {
		_, err = l.rotate(ctx, request{reason: "there is no token that works", replaces: &s.Current})
	}
	if err == nil {
		return nil
	}
	return l.chain.Fail(s, fmt.Errorf("%w; %w", why, err))
}

// logSearch logs why no token was found, if that is new.
func (l *loop) logSearch(ctx context.Context, err error) {
	if ctx.Err() != nil || l.logged == err.Error() {
		return
	}
	l.logged = err.Error()
	level := slog.LevelError
	if l.chain.State().Phase == phaseLoggedOut {
		level = slog.LevelInfo // as its user wants it
	}
	l.cfg.Log.Log(ctx, level, "there is no token to work with: looking for one", "err", err)
}

// runUpkeep looks after the queue and the ledger.
func (r *Rotator) runUpkeep(ctx context.Context) {
	u := &upkeep{Rotator: r}
	for {
		u.saveLedger()
		u.fillGaps(ctx)
		if !sleep(ctx, r.queue.wake, r.finishDue(ctx)) {
			return
		}
	}
}

// upkeep is what runUpkeep remembers from one round to the next.
type upkeep struct {
	*Rotator
	logged string // what the log says about gaps in the ledger
}
