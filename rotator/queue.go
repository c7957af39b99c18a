package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// drainAtMost is how long requests that carry an old token may hold up its
// revocation.
const drainAtMost = 10 * time.Minute

// retiree is a token that is no longer in use and has to be revoked, or a mint
// of which it isn't known whether it made a token.
type retiree struct {
	Entry ledger.Entry
	Token pat.Token // zero if its value isn't at hand

	// Drained is since when no request carries it; zero: some may.
	Drained time.Time

	// Failed is why it couldn't be revoked so far; "" if that wasn't tried.
	Failed string
}

// uncertain reports whether it isn't known if there is a token.
func (t retiree) uncertain() bool { return t.Entry.Stage == ledger.Intended }

// queued is a retiree in the queue. Its times keep their monotonic reading: a
// clock that is set back must not stretch a grace by hours.
type queued struct {
	retiree
	due      time.Time // when to try again
	noGrace  bool      // it isn't waited for, nor are requests
	failures int
	finished chan struct{} // closed when its revocation that is under way has ended; nil: none is
}

// queue owns the old tokens until they have ended. It knows neither the workspace
// nor the files: how a token ends is finish's to say.
type queue struct {
	grace time.Duration
	log   *slog.Logger
	work  *background
	wake  chan struct{}

	ends ends

	mu    sync.Mutex // guards all below; held over nothing that blocks
	items []*queued  // oldest first
	mints mintRound
}

// ends is what a queue needs to bring what is in it to its end.
type ends interface {
	// endToken makes sure that nobody uses a token any more and revokes it. It returns
	// its entry as it ended.
	endToken(context.Context, retiree) (ledger.Entry, error)

	// endMints finds out at once of all mints without an answer whether they have
	// made a token, and revokes those. by does it; nil: whoever revokes old tokens. It
	// returns what has ended; the error is why something hasn't.
	endMints(ctx context.Context, mints []retiree, by *principal) ([]ledger.Entry, error)

	// record is told of each end.
	record(ledger.Entry)
}

// Add puts a token into the queue. Its requests have drained when drained is
// closed; nil: there are none.
func (q *queue) Add(c credential, drained <-chan struct{}) {
	t := &queued{retiree: retiree{Entry: c.Entry, Token: c.Token, Drained: time.Now()}}
	if t.Entry.Stage != ledger.Intended && t.Entry.Stage != ledger.Retiring {
		t.Entry.Stage = ledger.Retiring
		q.ends.record(t.Entry)
	}
	if !isClosed(drained) {
		t.Drained = time.Time{}
		q.work.Go(func(ctx context.Context) { q.awaitDrain(ctx, t, drained) })
	}
	q.insert(t)
}

// isClosed reports whether a channel is nil or closed.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return ch == nil
	}
}

func (q *queue) insert(t *queued) {
	q.mu.Lock()
	q.items = slices.DeleteFunc(q.items, func(old *queued) bool { return old.Entry.Nonce == t.Entry.Nonce })
	q.items = append(q.items, t)
	if t.uncertain() && q.mints.due.Before(time.Now()) {
		q.mints = mintRound{due: time.Now().Add(min(q.grace, settleTime))}
	}
	q.mu.Unlock()
	q.Wake()
}

// awaitDrain notes when no request carries t any more.
func (q *queue) awaitDrain(ctx context.Context, t *queued, drained <-chan struct{}) {
	select {
	case <-drained:
	case <-time.After(drainAtMost):
		q.log.Warn("requests still carry an old token: no longer waiting for them", "token", t.Token, "waited", drainAtMost)
	case <-ctx.Done():
		return
	}
	q.mu.Lock()
	t.Drained = time.Now()
	q.mu.Unlock()
	q.Wake()
}

// Wake has Run look at once at what is due. It doesn't block.
func (q *queue) Wake() { wake(q.wake) }

// Items returns the tokens in the queue, oldest first.
func (q *queue) Items() []retiree {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]retiree, len(q.items))
	for i, t := range q.items {
		all[i] = t.retiree
	}
	return all
}

// Has reports whether the token is in the queue.
func (q *queue) Has(nonce string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.findLocked(nonce) != nil
}

func (q *queue) findLocked(nonce string) *queued {
	i := slices.IndexFunc(q.items, func(t *queued) bool { return t.Entry.Nonce == nonce })
	if i < 0 {
		return nil
	}
	return q.items[i]
}

// Remove takes a token out of the queue: it has ended, or is in use again.
func (q *queue) Remove(nonce string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = slices.DeleteFunc(q.items, func(t *queued) bool { return t.Entry.Nonce == nonce })
}

// MakeDue has everything tried now: requests and graces are no longer waited for.
func (q *queue) MakeDue() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mints.due = time.Time{}
	for _, t := range q.items {
		t.due, t.noGrace = time.Time{}, true
	}
}

// ForgetValue forgets the value of a token: the workspace refuses it.
func (q *queue) ForgetValue(nonce string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.findLocked(nonce); t != nil {
		t.Token = pat.Token{}
	}
}

// SeenInFile begins the grace of a token anew: a file held it until now, and
// whoever has just read it there may use it.
func (q *queue) SeenInFile(nonce string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t := q.findLocked(nonce); t != nil && !t.Drained.IsZero() {
		t.Drained = time.Now()
	}
}

// InGrace reports whether the grace of a token isn't over.
func (q *queue) InGrace(nonce string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.findLocked(nonce)
	return t != nil && !t.noGrace && time.Since(t.Drained) < q.grace
}

// AwaitRevoked finishes what is due until the token with this hash has left the queue,
// or ctx is done. It must not be used while Run is at work.
func (q *queue) AwaitRevoked(ctx context.Context, t pat.Token) error {
	for {
		wait := q.finishDue(ctx)
		if !slices.ContainsFunc(q.Items(), func(old retiree) bool { return old.Entry.Hash == t.Hash() }) {
			return nil
		}
		if !sleep(ctx, q.wake, wait) {
			return fmt.Errorf("%v is still to be revoked, by the next start: %w", t, context.Cause(ctx))
		}
	}
}

// finishDue finishes each token that is due, and returns how long to wait for the next.
func (q *queue) finishDue(ctx context.Context) time.Duration {
	const idle = time.Minute
	wait := idle
	q.mu.Lock()
	items := slices.DeleteFunc(slices.Clone(q.items), func(t *queued) bool { return t.uncertain() })
	uncertain := len(items) < len(q.items)
	q.mu.Unlock()
	for _, t := range items {
		if ctx.Err() != nil {
			break
		}
		if w := q.untilDue(t); w > 0 {
			wait = min(wait, w)
			continue
		}
		wait = min(wait, q.finishOne(ctx, t))
	}
	if uncertain && ctx.Err() == nil {
		if w := q.untilMintsDue(); w > 0 {
			return min(wait, w)
		}
		again, _ := q.FinishMints(ctx, nil) // the error stands in Failed
		wait = min(wait, again)
	}
	return wait
}

// end takes a token out of the queue that has ended. What could not be revoked is tried
// again: it may have waited for this one.
func (q *queue) end(e ledger.Entry) {
	q.ends.record(e)
	q.log.Info("an old token has ended", "token", tokenName(e), "end", e.Stage, "why", e.Reason)
	q.Remove(e.Nonce)
	q.mu.Lock()
	for _, t := range q.items {
		t.due = time.Time{}
	}
	q.mu.Unlock()
	q.Wake()
}

// untilDue is how long t is not due yet.
func (q *queue) untilDue(t *queued) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case t.noGrace:
		return time.Until(t.due)
	case t.Drained.IsZero():
		return drainAtMost // awaitDrain wakes us
	}
	return max(time.Until(t.Drained.Add(q.grace)), time.Until(t.due))
}

// beginFinish returns what is to be finished; false if it has left the queue, or somebody
// else was at it, for whom it waits.
func (q *queue) beginFinish(ctx context.Context, t *queued) (retiree, bool) {
	q.mu.Lock()
	other := t.finished
	begins := other == nil && q.findLocked(t.Entry.Nonce) == t
	if begins {
		t.finished = make(chan struct{})
	}
	old := t.retiree
	q.mu.Unlock()
	if other != nil {
		select {
		case <-other:
		case <-ctx.Done():
		}
	}
	return old, begins
}

func (q *queue) endFinish(t *queued) {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(t.finished)
	t.finished = nil
}

// TakeBack takes a token out of the queue that is to come into use again. It waits for a
// revocation that is under way, which may end the token.
func (q *queue) TakeBack(nonce string) {
	for {
		q.mu.Lock()
		t := q.findLocked(nonce)
		if t == nil || t.finished == nil {
			q.mu.Unlock()
			q.Remove(nonce)
			return
		}
		finished := t.finished
		q.mu.Unlock()
		<-finished
	}
}

// errGraceAnew says that a file held an old token until a moment ago.
var errGraceAnew = errors.New("a file still held it")

// finishOne finishes one token, and returns when to look again.
func (q *queue) finishOne(ctx context.Context, t *queued) time.Duration {
	old, begun := q.beginFinish(ctx, t)
	if !begun {
		return 0
	}
	defer q.endFinish(t)
	end, err := q.ends.endToken(ctx, old)
	switch {
	case err == nil:
		q.end(end)
		return time.Minute
	case errors.Is(err, errGraceAnew):
		q.SeenInFile(old.Entry.Nonce)
		return q.grace
	}
	q.mu.Lock()
	t.failures++
	pause := withJitter(pauseRevoke.After(t.failures))
	t.Entry, t.Failed, t.due = end, err.Error(), time.Now().Add(pause)
	q.mu.Unlock()
	if old.Failed != err.Error() && ctx.Err() == nil {
		q.log.Warn("an old token can't be revoked yet", "token", tokenName(old.Entry), "err", err)
	}
	return pause
}

func tokenName(e ledger.Entry) string { return cmp.Or(pat.ShortID(e.ID), "of mint "+e.Nonce) }
