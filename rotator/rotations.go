package rotator

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// request is a wish to rotate.
type request struct {
	reason   string
	byUser   bool        // patrol itself doesn't rotate for a user who has logged out
	replaces *Credential // what is to be replaced; nil is whatever is in use
	dead     error       // why that is dead; nil if it may live
}

// inflight is a rotation that is under way or has ended.
type inflight struct {
	done   chan struct{}
	cancel context.CancelCauseFunc
	result Rotation
	err    error
}

// rotations sees to it that one rotation runs at a time, and keeps how the last
// one ended.
type rotations struct {
	// mu guards all below. It is taken before the Chain's, so that a rotation's
	// end and the token that it has put into use are seen together.
	mu      sync.Mutex
	running *inflight // nil: none
	last    inflight  // that has ended
	refusal error     // why none may begin; nil: one may
	minting string    // the nonce of the mint that the one under way has begun
}

func (s *rotations) setMinting(nonce string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.minting = nonce
}

func (s *rotations) isMinting(nonce string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nonce == s.minting
}

// Last returns the last rotation that has ended, and how.
func (s *rotations) Last() (Rotation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.result, s.last.err
}

// Refuse lets no rotation begin: whoever asks for one gets the error why. nil lets them
// begin again. It returns the one that is under way, nil if none is. After errClosed
// nothing changes any more.
func (s *rotations) Refuse(why error) (underWay *inflight, err error) {
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
	f := s.running
	s.mu.Unlock()
	if f != nil {
		f.cancel(why)
		<-f.done
	}
}

// end notes how a rotation ended. It reports whether the one before ended with the
// same error.
func (s *rotations) end(f *inflight) (again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again = errText(s.last.err) == errText(f.err)
	s.running, s.last, s.minting = nil, *f, ""
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
	r.reconcileProfile(ctx) // what a person has put there is what is to be replaced
	return r.rotate(ctx, request{reason: reason, byUser: true})
}

// rotate rotates, or joins the rotation that is under way. If what the request is to
// replace has been replaced already, there is nothing to do.
func (r *Rotator) rotate(ctx context.Context, q request) (Rotation, error) {
	f, joined, err := r.begin(q)
	if f == nil {
		return Rotation{Token: r.chain.State().InUse().published(r.skew()), Joined: joined}, err
	}
	select {
	case <-f.done:
		result := f.result
		result.Joined = joined
		return result, f.err
	case <-ctx.Done():
		return Rotation{}, fmt.Errorf("waiting for the rotation, which goes on: %w", context.Cause(ctx))
	}
}

// begin returns the rotation that serves a request, which it begins if none is
// under way. It returns nil without an error if there is nothing to do.
func (r *Rotator) begin(q request) (f *inflight, joined bool, err error) {
	r.rotations.mu.Lock()
	defer r.rotations.mu.Unlock()
	s := r.chain.State()
	switch {
	case r.rotations.refusal != nil:
		return nil, false, r.rotations.refusal
	case s.Phase == LoggedOut && !q.byUser:
		return nil, false, r.loggedOutError()
	case r.rotations.running != nil:
		return r.rotations.running, true, nil
	case q.replaces != nil && s.Phase == Ready && !s.Current.Is(*q.replaces):
		return nil, true, nil
	}
	f = &inflight{done: make(chan struct{})}
	var ctx context.Context
	ctx, f.cancel = context.WithCancelCause(r.work.ctx)
	r.rotations.running = f
	r.work.Go(func(context.Context) { r.runRotation(ctx, f, q, s.Current) })
	return f, false, nil
}

// runRotation runs one rotation and tells everyone who waits for it.
func (r *Rotator) runRotation(ctx context.Context, f *inflight, q request, old Credential) {
	const tries = 3
	defer f.cancel(nil)
	began := r.now()
	var o *rotation
	for try := range tries {
		if try > 0 { // what a person has brought meanwhile is what is to be replaced
			old, q.dead = r.chain.State().Current, nil
		}
		o = &rotation{Rotator: r, old: old, dead: q.dead, byUser: q.byUser}
		if f.err = o.run(ctx); !errors.Is(f.err, errReplaced) {
			break
		}
	}
	f.result = Rotation{Reason: q.reason, Began: began, Took: r.now().Sub(began), Old: old.published(r.skew()), Files: o.files}
	if f.err == nil {
		f.result.Token = o.fresh.published(r.skew())
	} else {
		f.err = fmt.Errorf("rotating the token of %s: %w", r.host(), f.err)
	}
	r.logRotation(f.result, f.err, r.rotations.end(f))
	close(f.done)
	r.wakeAll()
}

// logRotation logs how a rotation ended; again says that the one before ended likewise.
func (r *Rotator) logRotation(result Rotation, err error, again bool) {
	switch {
	case err == nil:
		r.cfg.Log.Info("rotated", "reason", result.Reason, "old", result.Old, "new", result.Token, "took", result.Took)
	case again || !r.schedule.running.Load(): // who asked is told
		r.cfg.Log.Debug("the rotation failed", "reason", result.Reason, "err", err)
	default:
		r.cfg.Log.Error("the rotation failed", "reason", result.Reason, "token", result.Old, "err", err)
	}
}
