package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

const (
	// drainAtMost is how long requests that carry an old token may hold up
	// its revocation.
	drainAtMost = 10 * time.Minute

	// settled is how long a create whose answer was lost may still take
	// effect.
	settled = 2 * time.Minute

	// skew is by how much this machine's clock and the workspace's may
	// differ before a token that looks expired is believed to be.
	skew = 10 * time.Minute
)

// aged is a token that is no longer current and is to be revoked. The times
// in it keep their monotonic reading: a clock that is set back must not
// stretch a grace by hours.
type aged struct {
	entry  ledger.Entry
	token  pat.Token // to revoke its user's others with, if that is another now; zero if it isn't at hand
	quiet  time.Time // since when no request carries it; zero: some may
	due    time.Time // when to look at it next
	failed string    // why it couldn't be revoked so far, in words
	pause  *backoff.ExponentialBackOff
}

// enqueue puts a token into the queue of those to be revoked. Its requests
// have drained when drained is closed; nil: there are none.
func (r *Rotator) enqueue(h holding, drained <-chan struct{}) {
	a := &aged{entry: h.entry, token: h.token, pause: retries(5 * time.Minute)}
	if a.entry.Stage != ledger.Intended && a.entry.Stage != ledger.Retiring {
		a.entry.Stage = ledger.Retiring
		r.record(a.entry)
	}
	if drained == nil {
		a.quiet = time.Now()
	} else {
		r.work.Go(func() {
			select {
			case <-drained:
			case <-time.After(drainAtMost):
				r.log.Warn("requests still carry an old token: no longer waiting for them", "token", h.token, "waited", drainAtMost)
			case <-r.ctx.Done():
				return
			}
			r.mu.Lock()
			a.quiet = time.Now()
			r.mu.Unlock()
			wake(r.tend)
		})
	}
	r.mu.Lock()
	r.queue = append(r.queue, a)
	r.mu.Unlock()
	wake(r.tend)
}

// unqueue takes a token out of the queue: it is current again.
func (r *Rotator) unqueue(nonce string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(a *aged) bool { return a.entry.Nonce == nonce })
}

func (r *Rotator) queued(nonce string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.find(nonce) != nil
}

// find returns a token in the queue, nil if it isn't there. mu is held.
func (r *Rotator) find(nonce string) *aged {
	i := slices.IndexFunc(r.queue, func(a *aged) bool { return a.entry.Nonce == nonce })
	if i < 0 {
		return nil
	}
	return r.queue[i]
}

// inHand reports whether this process deals with the token already: it is being
// minted, in use, about to join the queue, or in it.
func (r *Rotator) inHand(nonce string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return nonce == r.minting || nonce == r.holding.entry.Nonce || nonce == r.before.entry.Nonce || r.find(nonce) != nil
}

// Retire tends the queue until this token is no longer in it, or ctx is done.
// It must not be used beside Run, which tends it too.
func (r *Rotator) Retire(ctx context.Context, t pat.Token) error {
	for {
		wait := r.tendOnce(ctx)
		r.mu.Lock()
		left := slices.ContainsFunc(r.queue, func(a *aged) bool { return a.entry.Hash == t.Hash() })
		r.mu.Unlock()
		if !left {
			return nil
		}
		if !r.rest(ctx, r.tend, wait) {
			return fmt.Errorf("%v is still to be revoked, by the next start: %w", t, context.Cause(ctx))
		}
	}
}

// rest waits until something changes or the time is up; it reports false if
// ctx is done.
func (r *Rotator) rest(ctx context.Context, change <-chan struct{}, atMost time.Duration) bool {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-change:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// runTend looks after the queue and after files that could not be written.
func (r *Rotator) runTend(ctx context.Context) {
	pause := retries(5 * time.Minute)
	gaps := r.cfg.Ledger.Salvaged() || r.blank
	var told string // of the gaps
	var fileDue time.Time
	for {
		r.tendLedger()
		if gaps && r.Ready() == nil {
			err := r.rebuild(ctx)
			if gaps = err != nil; gaps && text(err) != told {
				r.log.Warn("the ledger has gaps still", "err", err)
			}
			told = text(err)
		}
		wait := r.tendOnce(ctx)
		switch {
		case failing(r.files.states()) == nil:
			pause.Reset()
			fileDue = time.Time{}
		case fileDue.IsZero():
			fileDue = time.Now().Add(pause.NextBackOff())
		case !time.Now().Before(fileDue):
			r.mend()
			fileDue = time.Now().Add(pause.NextBackOff())
		}
		if !fileDue.IsZero() {
			wait = min(wait, time.Until(fileDue))
		}
		if !r.rest(ctx, r.tend, max(wait, 0)) {
			return
		}
	}
}

// tendOnce does for each token in the queue what is due, and returns how long
// nothing more will be.
func (r *Rotator) tendOnce(ctx context.Context) time.Duration {
	const idle = time.Minute
	wait := idle
	r.mu.Lock()
	queue := slices.Clone(r.queue)
	r.mu.Unlock()
	for _, a := range queue {
		if ctx.Err() != nil {
			break
		}
		again, ended := r.age(ctx, a)
		if ended {
			r.unqueue(a.entry.Nonce)
			continue
		}
		wait = min(wait, again)
	}
	return wait
}

// age takes the next step with an old token. It returns after what time to
// look again, or that nothing is left to be done.
func (r *Rotator) age(ctx context.Context, a *aged) (again time.Duration, ended bool) {
	r.mu.Lock()
	e, quiet, due := a.entry, a.quiet, a.due
	r.mu.Unlock()
	if quiet.IsZero() {
		return drainAtMost, false // the drain wakes us
	}
	if wait := max(time.Until(quiet.Add(r.cfg.Grace)), time.Until(due)); wait > 0 {
		return wait, false
	}
	end, err := r.endOf(ctx, e)
	switch {
	case errors.Is(err, errGraceAnew):
		r.mu.Lock()
		a.quiet = time.Now()
		r.mu.Unlock()
		return r.cfg.Grace, false
	case err != nil:
		if errors.Is(err, workspace.ErrInvalidToken) {
			r.suspect(ctx, e, err)
		}
		pause := a.pause.NextBackOff()
		r.mu.Lock()
		changed := a.failed != err.Error()
		a.entry, a.failed, a.due = end, err.Error(), time.Now().Add(pause)
		r.mu.Unlock()
		if changed && ctx.Err() == nil {
			r.log.Warn("an old token can't be revoked yet", "token", name(e), "err", err)
		}
		return pause, false
	}
	r.record(end)
	r.log.Info("an old token has ended", "token", name(end), "end", end.Stage, "why", end.Reason)
	return 0, true
}

// suspect looks whether the token is dead that e should have been revoked with.
// If it is the one in use, that is lost.
func (r *Rotator) suspect(ctx context.Context, e ledger.Entry, why error) {
	t, err := r.revokesWith(e)
	if err != nil {
		return
	}
	if h := r.held(); h.token.Same(t) {
		if time.Since(h.since) >= propagation {
			_ = r.judge(ctx, h, why) // it tells everybody
		}
		return
	}
	if alive, err := r.alive(ctx, t); alive || err != nil {
		return
	}
	r.mu.Lock()
	i := slices.IndexFunc(r.queue, func(a *aged) bool { return a.token.Same(t) })
	var dead ledger.Entry
	if i >= 0 {
		dead = r.queue[i].entry
		r.queue[i].token = pat.Token{} // no other is revoked with it
	}
	r.mu.Unlock()
	if i >= 0 && dead.Host.Same(r.host()) {
		r.record(ended(dead, ledger.Revoked, "the workspace refuses it as invalid, revoked or expired"))
		r.unqueue(dead.Nonce)
	}
}

func name(e ledger.Entry) string { return cmp.Or(pat.ShortID(e.ID), "of mint "+e.Nonce) }

// errGraceAnew says that a file held an old token until a moment ago.
var errGraceAnew = errors.New("a file still held it")

// endOf is end, but for a token that nobody can revoke, because it may be another
// user's or another workspace's or because the workspace forbids it: it ends by
// itself.
func (r *Rotator) endOf(ctx context.Context, e ledger.Entry) (ledger.Entry, error) {
	end, err := r.end(ctx, e)
	switch {
	case errors.Is(err, workspace.ErrPermission) && r.outlived(end):
		return ended(end, ledger.Expired, err.Error()), nil
	case !errors.Is(err, errAnothers):
	case r.past(end) || end.Stage == ledger.Intended && r.now().After(end.At.Add(r.cfg.Lifetime+skew)):
		return ended(end, ledger.Expired, err.Error()), nil
	case end.Stage != ledger.Intended && end.Expiry.IsZero():
		return ended(end, ledger.Left, err.Error()), nil
	}
	return end, err
}

// end makes sure that nobody holds the token and revokes it, if that is ours
// to do. It returns the entry as it ended.
func (r *Rotator) end(ctx context.Context, e ledger.Entry) (ledger.Entry, error) {
	switch {
	case !e.Host.MaySame(r.host()):
		return e, fmt.Errorf("it came with another workspace, %s: %w", e.Host, errAnothers)
	case e.Stage == ledger.Intended:
		by, err := r.revoker(e)
		if err != nil {
			return e, err
		}
		return r.sweep(ctx, by, e)
	}
	if err := r.letGo(e); err != nil {
		if !errors.Is(err, errGraceAnew) && r.past(e) {
			return ended(e, ledger.Expired, "a file still holds it: "+err.Error()), nil
		}
		return e, err
	}
	if r.inGrace(e.Nonce) { // mend has just found it in a file, and was faster
		return e, errGraceAnew
	}
	e, err := r.identify(ctx, e)
	if err != nil {
		return e, err
	}
	if reason := r.notOurs(e); reason != "" {
		return ended(e, ledger.Left, reason), nil
	}
	by, err := r.revoker(e)
	if err != nil {
		return e, err
	}
	if err := r.revoke(ctx, by, e); err != nil {
		return e, err
	}
	return ended(e, ledger.Revoked, ""), nil
}

func ended(e ledger.Entry, stage ledger.Stage, why string) ledger.Entry {
	e.Stage, e.Reason = stage, why
	return e
}

// past reports whether the token has certainly expired.
func (r *Rotator) past(e ledger.Entry) bool {
	return !e.Expiry.IsZero() && r.now().After(e.Expiry.Add(skew))
}

// outlived reports whether the token has been in the queue for longer than it
// lives. That doesn't hang on the wall clock, by which a token that is called
// past may live: it needs to be sure where nobody has said no for good.
func (r *Rotator) outlived(e ledger.Entry) bool {
	if e.Created.IsZero() || e.Expiry.IsZero() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.find(e.Nonce)
	return a != nil && !a.quiet.IsZero() && time.Since(a.quiet) > e.Expiry.Sub(e.Created)+skew
}

// letGo makes sure that no credential file holds the token. One that did is
// written, and the grace starts anew for whoever has just read it.
func (r *Rotator) letGo(e ledger.Entry) error {
	paths, err := r.files.holders(e.Hash)
	if err != nil {
		return fmt.Errorf("looking for it in the credential files: %w", err)
	}
	if len(paths) == 0 || r.isOut() { // who has logged out wants it dead
		return nil
	}
	states := r.files.put(r.Current)
	r.written(states)
	if paths, err = r.files.holders(e.Hash); err != nil {
		return fmt.Errorf("looking for it in the credential files: %w", err)
	}
	if len(paths) > 0 {
		return errors.Join(fmt.Errorf("%s still holds it", strings.Join(paths, ", ")), failing(states))
	}
	return errGraceAnew
}

// inGrace reports whether the grace of a token in the queue isn't over.
func (r *Rotator) inGrace(nonce string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.find(nonce)
	return a != nil && time.Since(a.quiet) < r.cfg.Grace
}

// identify looks once more which token of the list it is that was found, if
// that isn't known: the list may have been refused, or empty, back then.
func (r *Rotator) identify(ctx context.Context, e ledger.Entry) (ledger.Entry, error) {
	if e.ID != "" {
		return e, nil
	}
	by, err := r.revoker(e)
	if err != nil {
		return e, err
	}
	list, err := r.list(ctx, by)
	if err != nil && !errors.Is(err, workspace.ErrPermission) {
		return e, fmt.Errorf("looking for it in the workspace's list: %w", err)
	}
	for _, t := range list {
		if t.ID == e.Hash {
			e.ID, e.Comment, e.Created, e.Expiry = t.ID, t.Comment, t.Created, t.Expiry
		}
	}
	return e, nil
}

// notOurs says why a token isn't ours to revoke, "" if it is. We revoke what
// we minted. Of the tokens that were found on this machine we revoke the one
// that we are certain of, if no place holds it on that we can't write.
func (r *Rotator) notOurs(e ledger.Entry) string {
	switch {
	case e.Ours():
		return ""
	case r.cfg.KeepBootstrap:
		return "it is to be kept"
	case e.ID == "" || e.ID != e.Hash:
		return "the workspace's list doesn't tell which one it is: revoke it by hand if it is no longer needed"
	case e.Pinned || r.pinned(e.Hash):
		return "it came from the environment, which patrol can't rewrite"
	case r.isAnothers(e.Comment):
		return "another patrol minted it"
	}
	return ""
}

// isAnothers reports whether a token with this comment was minted by a patrol,
// and not by this one.
func (r *Rotator) isAnothers(comment string) bool {
	return strings.HasPrefix(comment, "patrol/") && !strings.HasPrefix(comment, r.prefix())
}

// pinned reports whether a place that we can't rewrite holds the token now.
func (r *Rotator) pinned(hash string) bool {
	candidates, err := r.cfg.Candidates()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(candidates, func(c Candidate) bool { return !c.Rewritten && c.Token.Hash() == hash })
}
