package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// clockTolerance is by how much this machine's clock and the workspace's may
// differ before a token that looks expired is believed to be.
const clockTolerance = 10 * time.Minute

// propagation is how long a new token may be unknown to some part of the
// workspace.
const propagation = time.Minute

// AwaitRevoked finishes what is due until the token has left the queue, or ctx is done.
// It must not be used beside Run, which does the same for every old token.
func (r *Rotator) AwaitRevoked(ctx context.Context, t pat.Token) error {
	for {
		wait := r.finishDue(ctx)
		if !slices.ContainsFunc(r.queue.Items(), func(old retiree) bool { return old.Entry.Hash == t.Hash() }) {
			return nil
		}
		if !sleep(ctx, r.queue.wake, wait) {
			return fmt.Errorf("%v is still to be revoked, by the next start: %w", t, context.Cause(ctx))
		}
	}
}

// finishDue brings each old token to its end that is due, and returns how long to wait
// for the next.
func (r *Rotator) finishDue(ctx context.Context) (wait time.Duration) {
	for _, old := range r.queue.Items() {
		switch {
		case ctx.Err() != nil, r.untilRevocable(old) > 0:
		case old.uncertain():
			r.askAboutMints(ctx)
		default:
			r.finishOne(ctx, old.Entry.Nonce)
		}
	}
	wait = time.Minute
	for _, old := range r.queue.Items() {
		wait = min(wait, r.untilRevocable(old))
	}
	return wait
}

// askAboutMints brings mints without an answer to their end, as far as that can be done.
func (r *Rotator) askAboutMints(ctx context.Context) {
	err := r.finishMints(ctx, nil)
	if left := r.queue.uncertainMints(); len(left) > 0 && errors.Is(err, workspace.ErrInvalidToken) {
		r.dropRevokerIfDead(ctx, left[0].Entry, err)
	}
}

// untilRevocable is how long an old token is not to be ended yet.
func (r *Rotator) untilRevocable(old retiree) time.Duration {
	if old.uncertain() {
		return r.schedule.WaitForList(openMints)
	}
	return max(r.queue.graceLeft(old), r.schedule.WaitForList(old.Entry.Nonce))
}

// errGraceAnew says that a file held an old token until a moment ago.
var errGraceAnew = errors.New("a file still held it")

// finishOne brings one token to its end, unless it has come into use again meanwhile.
func (r *Rotator) finishOne(ctx context.Context, nonce string) {
	old, err := r.tryToFinish(ctx, nonce)
	if errors.Is(err, workspace.ErrInvalidToken) { // a rotation may be waited for then: nothing is locked
		r.dropRevokerIfDead(ctx, old.Entry, err)
	}
}

// tryToFinish is what finishOne does while no token may be taken back. It returns the token
// as it was, and why it hasn't ended.
func (r *Rotator) tryToFinish(ctx context.Context, nonce string) (old retiree, err error) {
	unlock, err := r.queue.LockEnding(ctx)
	if err != nil {
		return old, err
	}
	defer unlock()
	old, there := r.queue.Find(nonce)
	if !there {
		return old, nil
	}
	end, err := r.endToken(ctx, old)
	switch {
	case err == nil:
		r.noteEnded(end)
		return old, nil
	case errors.Is(err, errGraceAnew):
		r.queue.SeenInFile(nonce)
		return old, err
	}
	r.schedule.Failed(nonce, err)
	r.queue.update(nonce, func(t *retiree) { t.Entry, t.Failed = end, err.Error() })
	if old.Failed != err.Error() && ctx.Err() == nil {
		r.cfg.Log.Warn("an old token can't be revoked yet", "token", tokenName(old.Entry), "err", err)
	}
	return old, err
}

// noteEnded takes a token out of the queue that has ended.
func (r *Rotator) noteEnded(e ledger.Entry) {
	r.record(e)
	r.cfg.Log.Info("an old token has ended", "token", tokenName(e), "end", e.Stage, "why", e.Reason)
	r.queue.Remove(e.Nonce)
	for _, old := range r.queue.Items() {
		r.schedule.Forget(old.Entry.Nonce) // it may have waited for this one
	}
	r.queue.Wake()
}

func tokenName(e ledger.Entry) string { return cmp.Or(pat.ShortID(e.ID), "of mint "+e.Nonce) }

// endToken makes sure that an old token is used nowhere, and revokes it. It returns
// its entry as it ended. A token that nobody can revoke, because it may be another
// user's or another workspace's or because the workspace forbids it, ends by itself.
func (r *Rotator) endToken(ctx context.Context, old retiree) (ledger.Entry, error) {
	end, err := r.revokeOld(ctx, old)
	switch {
	case errors.Is(err, workspace.ErrPermission) && queuedBeyondLifetime(end, old.Drained), errors.Is(err, errNotShown) && r.expired(end):
		return withEnd(end, ledger.Expired, err.Error()), nil
	case errors.Is(err, errNotShown) && end.Expiry.IsZero():
		return withEnd(end, ledger.Left, err.Error()), nil
	}
	return end, err
}

// ledgerUnwritten returns an error while the ledger can't be written: nothing is revoked
// then, since no record says what took its place. After a logout nothing did.
func (r *Rotator) ledgerUnwritten() error {
	if err := r.cfg.Ledger.Err(); err != nil && r.chain.State().Phase != phaseLoggedOut {
		return fmt.Errorf("nothing is revoked until the ledger can be written: %w", err)
	}
	return nil
}

// revokeOld makes sure that nobody holds the token, and revokes it if that is
// patrol's to do.
func (r *Rotator) revokeOld(ctx context.Context, old retiree) (ledger.Entry, error) {
	e := old.Entry
	if err := cmp.Or(r.ledgerUnwritten(), r.authority.checkMaybeSameHost(e), r.profileDoubt()); err != nil {
		return e, err
	}
	if err := r.purgeFromFiles(e); err != nil {
		if !errors.Is(err, errGraceAnew) && queuedBeyondLifetime(e, old.Drained) {
			return withEnd(e, ledger.Expired, "a file still holds it: "+err.Error()), nil
		}
		return e, err
	}
	if now, _ := r.queue.Find(e.Nonce); r.queue.graceLeft(now) > 0 {
		return e, errGraceAnew // repairFiles has just found it in a file, and was faster
	}
	by, err := r.revoker(e)
	if err != nil {
		return e, err
	}
	if e, err = r.identify(ctx, by, e); err != nil {
		return e, err
	}
	if reason := r.reasonToLeave(e); reason != "" {
		return withEnd(e, ledger.Left, reason), nil
	}
	if r.chain.State().InUse().Entry.Nonce == e.Nonce {
		return e, errors.New("it is in use again")
	}
	if err := r.authority.Revoke(ctx, by, e); err != nil {
		return e, err
	}
	return withEnd(e, ledger.Revoked, ""), nil
}

// expired reports whether the token has expired by both clocks, the workspace's, where
// that is known, and this machine's.
func (r *Rotator) expired(e ledger.Entry) bool {
	over := func(now, expiry time.Time) bool { return now.After(expiry.Add(clockTolerance)) }
	at, known := r.cfg.Workspace.Time()
	return !e.Expiry.IsZero() && over(r.now(), e.Expiry) && over(r.now(), e.LocalExpiry) && (!known || over(at, e.Expiry))
}

// queuedBeyondLifetime reports whether the token has been in the queue for longer
// than it lives. It measures with the monotonic clock: a wall clock that is wrong
// must not end a token that lives.
func queuedBeyondLifetime(e ledger.Entry, drained time.Time) bool {
	if e.Created.IsZero() || e.Expiry.IsZero() || drained.IsZero() {
		return false
	}
	return time.Since(drained) > e.Expiry.Sub(e.Created)+clockTolerance
}

// purgeFromFiles makes sure that no credential file holds the token. One that did
// is written, and the grace begins anew for whoever has just read it.
func (r *Rotator) purgeFromFiles(e ledger.Entry) error {
	const looking = "looking for it in the credential files: %w"
	if r.chain.State().Phase == phaseLoggedOut { // who has logged out wants it dead
		return nil
	}
	paths, err := r.files.Holders(e.Hash)
	if err != nil {
		return fmt.Errorf(looking, err)
	}
	if len(paths) == 0 {
		return nil
	}
	infos := r.writeFiles()
	if paths, err = r.files.Holders(e.Hash); err != nil {
		return fmt.Errorf(looking, err)
	}
	if len(paths) > 0 {
		return errors.Join(fmt.Errorf("%s still holds it", strings.Join(paths, ", ")), failures(infos))
	}
	return errGraceAnew
}

// identify looks for a token in the workspace's list if its id isn't known: when it
// was found, the list may have been refused, or empty.
func (r *Rotator) identify(ctx context.Context, by principal, e ledger.Entry) (ledger.Entry, error) {
	if e.ID != "" {
		return e, nil
	}
	list, err := r.authority.ListWhole(ctx, by)
	if err != nil && !errors.Is(err, workspace.ErrPermission) {
		return e, fmt.Errorf("looking for it in the workspace's list: %w", err)
	}
	for _, t := range list {
		if t.ID == e.Hash {
			e.Info = t
		}
	}
	return e, nil
}

// reasonToLeave says why a token isn't patrol's to revoke, "" if it is. patrol revokes
// what it minted. Of the tokens that were found on this machine it revokes those whose
// id is certain, unless they stand in a place that it can't write.
func (r *Rotator) reasonToLeave(e ledger.Entry) string {
	switch {
	case e.Ours():
		return ""
	case r.cfg.KeepBootstrap:
		return "it is to be kept"
	case e.ID == "" || e.ID != e.Hash:
		return "the workspace's list doesn't tell which one it is: revoke it by hand if it is no longer needed"
	case e.Pinned || r.isPinned(e.Hash):
		return "it came from the environment, which patrol can't rewrite"
	case r.isOtherPatrols(e.Comment):
		return "another patrol minted it"
	}
	return ""
}

// isOtherPatrols reports whether a token with this comment was minted by a patrol,
// and not by this one.
func (r *Rotator) isOtherPatrols(comment string) bool {
	_, ours := r.cfg.Ledger.MintedHere(comment)
	_, _, minted := pat.ParseComment(comment)
	return minted && !ours
}

// isPinned reports whether a place that patrol can't rewrite holds the token now.
func (r *Rotator) isPinned(hash string) bool {
	candidates, err := r.cfg.Candidates()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(candidates, func(c Candidate) bool { return !c.Rewritten && c.Token.Hash() == hash })
}

// errOthersFirst says that a token revokes others before itself.
var errOthersFirst = errors.New("the others are revoked with it first")

// revoker returns who revokes an old token: the token in use; if that is another
// user's, the newest old one of the same user; after a logout that too, or else a spare.
// When no other is left, a token revokes itself. Where no token can, it is the mint profile.
func (r *Rotator) revoker(e ledger.Entry) (principal, error) {
	s := r.chain.State()
	t, err := revokingToken(s, r.queue.Items(), e)
	switch {
	case err == nil:
		return r.authority.actingWith(t), nil
	case r.cfg.MintAs != nil && !errors.Is(err, errOthersFirst):
		return principal{Session: r.cfg.MintAs, user: unknownUser}, nil
	}
	return principal{}, err
}

// revokingToken returns the token that revokes e's. It is a function of its arguments
// alone.
func revokingToken(s state, queue []retiree, e ledger.Entry) (pat.Token, error) {
	ready := s.Phase == phaseReady
	if ready && s.Current.Entry.User == e.User {
		return s.Current.Token, nil
	}
	if ready || s.Phase == phaseLoggedOut {
		if t, err := newestOfUser(queue, e); err != nil || !t.IsZero() {
			return t, err
		}
	}
	others := func(old retiree) bool { return old.Entry.Nonce != e.Nonce && old.Entry.Host.MaySame(e.Host) }
	switch {
	case ready:
		return s.Current.Token, nil
	case len(s.Spares) == 0:
		return pat.Token{}, s.Err
	}
	ofUser := func(c credential) bool { return c.Entry.User == e.User }
	spare := s.Spares[max(slices.IndexFunc(s.Spares, ofUser), 0)].Token
	if e.ID != "" && spare.ID == e.ID && slices.ContainsFunc(queue, others) {
		return pat.Token{}, errOthersFirst
	}
	return spare, nil
}

// newestOfUser returns the newest token in the queue that is of e's user and whose
// value is at hand, zero if there is none.
func newestOfUser(queue []retiree, e ledger.Entry) (pat.Token, error) {
	others := false
	var newest retiree
	for _, old := range queue {
		if old.Entry.User != e.User || !old.Entry.Host.MaySame(e.Host) {
			continue
		}
		others = others || old.Entry.Nonce != e.Nonce
		if !old.Token.IsZero() && (newest.Token.IsZero() || !old.Entry.Created.Before(newest.Entry.Created)) {
			newest = old
		}
	}
	if newest.Entry.Nonce == e.Nonce && others && !newest.Token.IsZero() {
		return pat.Token{}, errOthersFirst
	}
	return newest.Token, nil
}

// dropRevokerIfDead is called when the workspace has called the token invalid that was to
// revoke e's, and makes sure of that. If it is the token in use, another is minted or the
// chain is dead; if it is an old one, nothing is revoked with it any more.
func (r *Rotator) dropRevokerIfDead(ctx context.Context, e ledger.Entry, why error) {
	s, queue := r.chain.State(), r.queue.Items()
	t, err := revokingToken(s, queue, e)
	if err != nil || !r.confirmDead(ctx, credential{Token: t}, why) {
		return
	}
	if s.Current.Token.Same(t) {
		if time.Since(s.Current.Since) >= propagation {
			_, _ = r.replaceDead(ctx, s.Current, why) // the chain tells everybody
		}
		return
	}
	r.chain.ForgetSpare(t)
	for _, old := range queue {
		if old.Token.Same(t) {
			r.queue.update(old.Entry.Nonce, func(t *retiree) { t.Token = pat.Token{} }) // no other is revoked with it
			if old.Entry.Host.Same(r.host()) {
				r.noteEnded(withEnd(old.Entry, ledger.Revoked, "the workspace refuses it as invalid, revoked or expired"))
			}
		}
	}
}
