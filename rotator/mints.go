package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// uncertainAtMost is how many mints without an answer there may be at a time: each may
// have made a token.
const uncertainAtMost = 3

// pauseNoList is between two questions about mints where the token in use may not list.
const pauseNoList = time.Hour

// uncertainMints are the mints without an answer.
func (q *queue) uncertainMints() []retiree {
	return slices.DeleteFunc(q.Items(), func(t retiree) bool { return !t.uncertain() })
}

// finishMints finds out at once of all mints without an answer whether they have made a
// token, and revokes those. by does it; nil: whoever revokes old tokens. The error is why
// something is left.
func (r *Rotator) finishMints(ctx context.Context, by *principal) error {
	mints := r.queue.uncertainMints()
	if len(mints) == 0 {
		return nil
	}
	ended, err := r.endMints(ctx, mints, by)
	for _, e := range ended {
		r.noteEnded(e)
	}
	if len(ended) > 0 && len(mints) >= uncertainAtMost {
		r.schedule.EndPauses(rotating) // it may have waited for room for another mint
		wake(r.schedule.wake)
	}
	switch {
	case err == nil:
		r.schedule.Forget(openMints)
		return nil
	case errors.Is(err, workspace.ErrPermission):
		r.schedule.Postpone(openMints, pauseNoList)
	case errors.Is(err, errCreateMayArrive):
		r.schedule.Postpone(openMints, settleTime)
	default:
		r.schedule.Failed(openMints, err)
	}
	for _, t := range mints {
		r.queue.update(t.Entry.Nonce, func(t *retiree) { t.Failed = err.Error() })
	}
	if mints[0].Failed != err.Error() && ctx.Err() == nil {
		r.cfg.Log.Warn("what a mint without an answer has made can't be revoked yet", "mints", len(mints)-len(ended), "err", err)
	}
	return err
}

// endMints returns the mints that have ended. One of which nothing can be learned ends
// when its token must have expired.
func (r *Rotator) endMints(ctx context.Context, mints []retiree, by *principal) (ended []ledger.Entry, err error) {
	if err := r.ledgerUnwritten(); err != nil {
		return nil, err
	}
	lists := map[string]listing{}
	for _, old := range mints {
		end, merr := r.endMint(ctx, old.Entry, by, lists)
		switch {
		case merr == nil:
			ended = append(ended, end)
		case time.Since(old.Drained) > r.cfg.Lifetime+clockTolerance:
			ended = append(ended, withEnd(end, ledger.Expired, merr.Error()))
		case err == nil:
			err = merr
		}
	}
	return ended, err
}

// listing is what the workspace listed, or why it didn't.
type listing struct {
	tokens []pat.Info
	err    error
}

// endMint revokes what one mint may have made. lists are those that were made for the mints
// before it, by who asked.
func (r *Rotator) endMint(ctx context.Context, e ledger.Entry, by *principal, lists map[string]listing) (ledger.Entry, error) {
	if err := r.authority.checkMaybeSameHost(e); err != nil {
		return e, err
	}
	if by == nil {
		revoker, err := r.revoker(e)
		if err != nil {
			return e, err
		}
		by = &revoker
	}
	key := by.user + "/" + by.id
	list, asked := lists[key]
	if !asked {
		if list.err = r.schedule.WhyNotAsked(); list.err == nil {
			list.tokens, list.err = r.listForMints(ctx, *by)
		}
		lists[key] = list
	}
	if list.err != nil {
		return e, list.err
	}
	return r.authority.RevokeUnanswered(ctx, *by, e, list.tokens, r.now())
}

// listForMints returns the list in which to look for what a mint has made. If the id
// of the token in use is unknown, what is found there could be that one.
func (r *Rotator) listForMints(ctx context.Context, by principal) ([]pat.Info, error) {
	if c := r.chain.State().Current; c.Token.ID == "" && !c.IsZero() {
		return nil, errors.New("it may be the token in use, whose id isn't known")
	}
	list, err := r.authority.ListWhole(ctx, by)
	if err != nil {
		return nil, fmt.Errorf("looking for a token that may have been minted: %w", err)
	}
	return list, nil
}

// lifeFrom is how long a token lives that was made just before and expires then,
// where the workspace doesn't say when it made it. It gives none a longer life than it
// is asked for.
func (o *rotation) lifeFrom(before, expiry time.Time) time.Duration {
	if life := expiry.Sub(before); life > 0 && life < o.cfg.Lifetime {
		return life
	}
	return o.cfg.Lifetime
}

// limitUncertain makes sure that there may be another mint without an answer. Where
// there are enough already, it asks what became of them.
func (o *rotation) limitUncertain(ctx context.Context) (err error) {
	if !o.tooManyUncertain() {
		return nil
	}
	if o.byOther && o.schedule.WhyNotAsked() == nil || o.schedule.WaitForList(openMints) == 0 {
		err = o.finishMints(ctx, &o.minter)
	}
	open := fmt.Errorf("nothing was minted: %d mints have had no answer, and each may have made a token, so that is found out first", uncertainAtMost)
	switch {
	case !o.tooManyUncertain():
		return nil
	case err == nil:
		return open // it was asked a moment ago, and will be again
	}
	return fmt.Errorf("%w: %w", open, err)
}

// tooManyUncertain reports whether the minter has no room for another mint without an answer.
func (o *rotation) tooManyUncertain() bool {
	mints := slices.DeleteFunc(o.queue.uncertainMints(), func(t retiree) bool { return t.Entry.User != o.minter.user })
	return len(mints) >= uncertainAtMost
}
