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

// mintRound is when to ask about the mints without an answer, all in one.
type mintRound struct {
	due      time.Time
	failures int
	failed   string // why some are left
}

// Uncertain is how many mints of a user there are without an answer.
func (q *queue) Uncertain(user string) (n int) {
	for _, t := range q.Items() {
		if t.uncertain() && t.Entry.User == user {
			n++
		}
	}
	return n
}

// untilMintsDue is how long nothing is to be asked about mints.
func (q *queue) untilMintsDue() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Until(q.mints.due)
}

// AskAboutMints has Run ask soon about the mints without an answer: another token is in
// use, which may be allowed to see more.
func (q *queue) AskAboutMints() {
	q.mu.Lock()
	q.mints = mintRound{}
	q.mu.Unlock()
}

// FinishMints asks about all mints without an answer, and returns when to do so again.
// by does it; nil: whoever revokes old tokens. The error is why something is left.
func (q *queue) FinishMints(ctx context.Context, by *principal) (time.Duration, error) {
	mints := slices.DeleteFunc(q.Items(), func(t retiree) bool { return !t.uncertain() })
	ended, err := q.ends.endMints(ctx, mints, by)
	for _, e := range ended {
		q.end(e)
	}
	q.mu.Lock()
	q.mints.failures++
	pause := withJitter(pauseMints.After(q.mints.failures))
	switch {
	case errors.Is(err, workspace.ErrPermission):
		pause = pauseNoList
	case errors.Is(err, errCreateMayArrive):
		pause = settleTime
	}
	old := q.mints.failed
	q.mints.due, q.mints.failed = time.Now().Add(pause), errText(err)
	for _, t := range q.items {
		if t.uncertain() {
			t.Failed = errText(err)
		}
	}
	q.mu.Unlock()
	if err != nil && old != err.Error() && ctx.Err() == nil {
		q.log.Warn("what a mint without an answer has made can't be revoked yet", "mints", len(mints)-len(ended), "err", err)
	}
	return pause, err
}

// endMints asks for one list for all mints without an answer, and revokes what
// they have made. A mint of which nothing can be learned ends when its token must have
// expired.
func (r *Rotator) endMints(ctx context.Context, mints []retiree, by *principal) (done []ledger.Entry, err error) {
	if err := r.ledgerUnwritten(); err != nil {
		return nil, err
	}
	o := &mintSearch{Rotator: r, by: by, lists: map[string]listing{}}
	for _, old := range mints {
		end, merr := o.endMint(ctx, old.Entry)
		switch {
		case merr == nil:
			done = append(done, end)
		case time.Since(old.Drained) > r.cfg.Lifetime+clockTolerance:
			done = append(done, withEnd(end, ledger.Expired, merr.Error()))
		case err == nil:
			err = merr
		}
	}
	if len(done) > 0 && len(mints) >= uncertainAtMost {
		r.TryNow() // a rotation may have waited for room for another mint
	}
	return done, err
}

// mintSearch looks for what mints without an answer have made, in one list for all.
type mintSearch struct {
	*Rotator
	by    *principal
	lists map[string]listing // by who asked
}

// listing is what the workspace listed, or why it didn't.
type listing struct {
	tokens []pat.Info
	err    error
}

// endMint revokes what one mint may have made.
func (o *mintSearch) endMint(ctx context.Context, e ledger.Entry) (ledger.Entry, error) {
	if err := o.authority.checkMaybeSameHost(e); err != nil {
		return e, err
	}
	by, err := o.principal(e)
	if err != nil {
		return e, err
	}
	key := by.user + "/" + by.id
	list, asked := o.lists[key]
	if !asked {
		list.tokens, list.err = o.listForMints(ctx, by)
		o.lists[key] = list
		if errors.Is(list.err, workspace.ErrInvalidToken) && o.by == nil {
			o.dropRevokerIfDead(ctx, e, list.err)
		}
	}
	if list.err != nil {
		return e, list.err
	}
	return o.authority.RevokeMint(ctx, by, e, list.tokens, o.now())
}

func (o *mintSearch) principal(e ledger.Entry) (principal, error) {
	if o.by != nil {
		return *o.by, nil
	}
	return o.revoker(e)
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

// uncertainAtMost is how many mints without an answer there may be at a time: each may
// have made a token.
const uncertainAtMost = 3

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
	if n := o.queue.Uncertain(o.minter.user); n >= uncertainAtMost && (o.byOther || o.byUser || o.queue.untilMintsDue() <= 0) {
		_, err = o.queue.FinishMints(ctx, &o.minter)
	}
	if n := o.queue.Uncertain(o.minter.user); n >= uncertainAtMost {
		open := fmt.Errorf("nothing was minted: %d mints have had no answer, and each may have made a token, so that is found out first", n)
		if err == nil {
			return open // it was asked a moment ago, and will be again
		}
		return fmt.Errorf("%w: %w", open, err)
	}
	return nil
}
