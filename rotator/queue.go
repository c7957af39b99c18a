package rotator

import (
	"context"
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

	// Drained is since when no request carries it; zero: some may. It keeps its
	// monotonic reading: a clock that is set back must not stretch a grace by hours.
	Drained time.Time
	drained <-chan struct{} // closed then; nil: there were no such requests
	noGrace bool            // neither requests nor the grace are waited for

	// Failed is why it couldn't be revoked so far; "" if that wasn't tried.
	Failed string
}

// uncertain reports whether it isn't known if there is a token.
func (t retiree) uncertain() bool { return t.Entry.Stage == ledger.Intended }

// queue owns the old tokens until they have ended. It knows neither the workspace
// nor the files: finish.go ends what is in it.
type queue struct {
	grace  time.Duration
	log    *slog.Logger
	work   *background
	pauses *pauses
	record func(ledger.Entry)
	wake   chan struct{}

	// ending has room for one: see LockEnding.
	ending chan struct{}

	mu    sync.Mutex // guards items; held over nothing that blocks
	items []retiree  // oldest first
}

// Add puts a token into the queue. Its requests have drained when drained is
// closed; nil: there are none.
func (q *queue) Add(c credential, drained <-chan struct{}) {
	t := retiree{Entry: c.Entry, Token: c.Token, Drained: time.Now()}
	if t.Entry.Stage != ledger.Intended && t.Entry.Stage != ledger.Retiring {
		t.Entry.Stage = ledger.Retiring
		q.record(t.Entry)
	}
	if drained == nil {
		q.insert(t)
		return
	}
	t.Drained, t.drained = time.Time{}, drained
	q.insert(t)
	q.work.Go(func(ctx context.Context) { q.awaitDrain(ctx, t) })
}

func (q *queue) insert(t retiree) {
	if t.uncertain() {
		q.pauses.Postpone(openMints, min(q.grace, settleTime))
	}
	q.mu.Lock()
	q.items = slices.DeleteFunc(q.items, func(old retiree) bool { return old.Entry.Nonce == t.Entry.Nonce })
	q.items = append(q.items, t)
	q.mu.Unlock()
	q.Wake()
}

// awaitDrain notes when no request carries t any more.
func (q *queue) awaitDrain(ctx context.Context, t retiree) {
	select {
	case <-t.drained:
	case <-time.After(drainAtMost):
		q.log.Warn("requests still carry an old token: no longer waiting for them", "token", t.Token, "waited", drainAtMost)
	case <-ctx.Done():
		return
	}
	q.update(t.Entry.Nonce, func(now *retiree) {
		if now.drained == t.drained { // else it has been in use again since
			now.Drained = time.Now()
		}
	})
	q.Wake()
}

// Wake has Run look at once at what is due. It doesn't block.
func (q *queue) Wake() { wake(q.wake) }

// Items returns the tokens in the queue, oldest first.
func (q *queue) Items() []retiree {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.items)
}

// Find returns a token in the queue; false if it isn't there.
func (q *queue) Find(nonce string) (retiree, bool) {
	items := q.Items()
	i := slices.IndexFunc(items, func(t retiree) bool { return t.Entry.Nonce == nonce })
	if i < 0 {
		return retiree{}, false
	}
	return items[i], true
}

// Has reports whether a token is in the queue.
func (q *queue) Has(nonce string) bool {
	_, there := q.Find(nonce)
	return there
}

// update changes what is known of a token, if it is in the queue still.
func (q *queue) update(nonce string, change func(*retiree)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.items {
		if q.items[i].Entry.Nonce == nonce {
			change(&q.items[i])
		}
	}
}

// Remove takes a token out of the queue: it has ended, or is in use again.
func (q *queue) Remove(nonce string) {
	q.mu.Lock()
	q.items = slices.DeleteFunc(q.items, func(t retiree) bool { return t.Entry.Nonce == nonce })
	q.mu.Unlock()
	q.pauses.Forget(nonce)
}

// LockEnding has whoever revokes a token in the queue and whoever takes one back wait for
// one another. It is held over network calls; nobody waits for it for longer than ctx.
func (q *queue) LockEnding(ctx context.Context) (unlock func(), err error) {
	select {
	case q.ending <- struct{}{}:
		return func() { <-q.ending }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for a revocation that is under way: %w", context.Cause(ctx))
	}
}

// TakeBack takes a token out of the queue, if it is there, that is to come into use again.
// It waits for a revocation that is under way, which may end the token.
func (q *queue) TakeBack(ctx context.Context, nonce string) error {
	if !q.Has(nonce) {
		return nil
	}
	unlock, err := q.LockEnding(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	q.Remove(nonce)
	return nil
}

// SeenInFile begins the grace of a token anew: a file held it until now, and
// whoever has just read it there may use it.
func (q *queue) SeenInFile(nonce string) {
	q.update(nonce, func(t *retiree) {
		if !t.Drained.IsZero() {
			t.Drained = time.Now()
		}
	})
}

// EndGraces has no token wait for requests, or for its grace, any more.
func (q *queue) EndGraces() {
	for _, t := range q.Items() {
		q.update(t.Entry.Nonce, func(t *retiree) { t.noGrace = true })
	}
}

// graceLeft is how long a token is not to be revoked yet.
func (q *queue) graceLeft(t retiree) time.Duration {
	switch {
	case t.noGrace:
		return 0
	case t.Drained.IsZero():
		return drainAtMost // awaitDrain wakes us
	}
	return time.Until(t.Drained.Add(q.grace))
}
