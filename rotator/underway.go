package rotator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// request is a wish to rotate.
type request struct {
	reason   string
	byUser   bool        // patrol itself doesn't rotate for a user who has logged out
	replaces *credential // what is to be replaced; nil is whatever is in use
	dead     error       // why that is dead; nil if it may live
}

// rotations sees to it that one rotation runs at a time, and keeps how the last
// one ended.
type rotations struct {
	minting atomic.Value // the nonce of the mint that the one under way has begun; "": none

	// mu guards all below. It is taken before the chain's, so that a rotation's
	// end and the token that it has put into use are seen together.
	mu      sync.Mutex
	running *rotation // nil: none
	refusal error     // why none may begin; nil: one may
	last    Rotation  // that has ended
	lastErr error
}

// Last returns the last rotation that has ended, and how.
func (s *rotations) Last() (Rotation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.lastErr
}

// Refuse lets no rotation begin: whoever asks for one gets the error why. nil lets them
// begin again. It returns the one that is under way, nil if none is. After errClosed
// nothing changes any more.
func (s *rotations) Refuse(why error) (underWay *rotation, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.refusal, errClosed) {
		return nil, errClosed
	}
	s.refusal = why
	return s.running, nil
}

// Cancel ends the rotation that is under way and waits for its end.
func (s *rotations) Cancel(why error) {
	s.mu.Lock()
	o := s.running
	s.mu.Unlock()
	if o != nil {
		o.cancel(why)
		<-o.done
	}
}

// end notes how the rotation ended. It reports whether the one before ended with the
// same error.
func (s *rotations) end(o *rotation) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = errText(s.lastErr) == errText(o.err)
	s.running, s.last, s.lastErr = nil, o.result, o.err
	s.minting.Store("")
	return again
}

// Rotate mints a new token, puts it in the place of the one in use, and returns
// after the credential files were written; the old token is then in the queue. If a
// rotation is under way it waits for that one. If ctx is done it returns, and the
// rotation goes on.
//
// A nil error means that there is a new token; a file that could not be written
// stands in Rotation.Files, and is tried again while the Rotator runs. After an
// error the old token is still the one in use.
func (r *Rotator) Rotate(ctx context.Context, reason string) (Rotation, error) {
	r.schedule.EndPauses()
	r.reconcileProfile(ctx) // what a person has put there is what is to be replaced
	return r.rotate(ctx, request{reason: reason, byUser: true})
}

// rotate rotates, or joins the rotation that is under way. If what the request is to
// replace has been replaced already, there is nothing to do.
func (r *Rotator) rotate(ctx context.Context, q request) (Rotation, error) {
	o, joined, err := r.begin(q)
	if o == nil {
		return Rotation{Token: r.chain.State().InUse().forProxy(r.skew()), Joined: joined}, err
	}
	select {
	case <-o.done:
		result := o.result
		result.Joined = joined
		return result, o.err
	case <-ctx.Done():
		return Rotation{}, fmt.Errorf("waiting for the rotation, which goes on: %w", context.Cause(ctx))
	}
}

// begin returns the rotation that serves a request, which it begins if none is
// under way. It returns nil without an error if there is nothing to do.
func (r *Rotator) begin(q request) (o *rotation, joined bool, err error) {
	r.rotations.mu.Lock()
	defer r.rotations.mu.Unlock()
	s := r.chain.State()
	switch {
	case r.rotations.refusal != nil:
		return nil, false, r.rotations.refusal
	case s.Phase == phaseLoggedOut && !q.byUser:
		return nil, false, r.loggedOutError()
	case r.rotations.running != nil:
		return r.rotations.running, true, nil
	case q.replaces != nil && s.Phase == phaseReady && !s.Current.Is(*q.replaces):
		return nil, true, nil
	}
	o = &rotation{Rotator: r, request: q, old: s.Current, done: make(chan struct{})}
	var ctx context.Context
	ctx, o.cancel = context.WithCancelCause(r.work.ctx)
	r.rotations.running = o
	r.work.Go(func(context.Context) { o.run(ctx) })
	return o, false, nil
}

// run takes the steps, tells everyone who waits how that went, and logs it.
func (o *rotation) run(ctx context.Context) {
	const tries = 3
	defer o.cancel(nil)
	o.result = Rotation{Reason: o.reason, Began: o.now()}
	for range tries {
		if o.err = o.takeSteps(ctx); !errors.Is(o.err, errReplaced) {
			break
		}
		// What a person has brought meanwhile is what is to be replaced.
		o.old, o.dead = o.chain.State().Current, nil
	}
	o.result.Took, o.result.Old = o.now().Sub(o.result.Began), o.old.forProxy(o.skew())
	if o.err == nil {
		o.result.Token = o.fresh.forProxy(o.skew())
	} else {
		o.err = fmt.Errorf("rotating the token of %s: %w", o.host(), o.err)
		// The pause isn't meant for a token that has come into use meanwhile.
		if s := o.chain.State(); s.Phase == phaseReady && s.Current.Is(o.old) {
			o.pauseRotating(o.err)
		}
	}
	again := o.rotations.end(o)
	switch {
	case o.err == nil:
		o.cfg.Log.Info("rotated", "reason", o.reason, "old", o.result.Old, "new", o.result.Token, "took", o.result.Took)
	case again || !o.schedule.running.Load(): // who asked is told
		o.cfg.Log.Debug("the rotation failed", "reason", o.reason, "err", o.err)
	default:
		o.cfg.Log.Error("the rotation failed", "reason", o.reason, "token", o.result.Old, "err", o.err)
	}
	close(o.done)
	o.wakeAll()
}
