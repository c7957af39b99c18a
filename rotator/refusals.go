package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"patrol/rotator/pat"
)

const (
	// propagationPause is how long a request waits before it tries a new token
	// again, where there is no older one to stand in.
	propagationPause = 500 * time.Millisecond

	// probeTTL is how long the answer holds that a token works.
	probeTTL = 30 * time.Second

	// forcedEvery is the least time between two mints by another than the token in use,
	// and between two adoptions of tokens that can't be told apart. Without it two
	// programs that revoke or replace each other's tokens would do so without end.
	forcedEvery = 5 * time.Minute
)

// refusals is what is known of requests that the workspace has refused.
type refusals struct {
	mu    sync.Mutex // guards probe; held over nothing that blocks
	probe *probe     // the last question; nil: none whose answer holds
}

// probe is a question to the workspace whether the token in use works. All who want
// to know at once share it.
type probe struct {
	of            string // the token's hash
	done          chan struct{}
	at            time.Time
	alive         bool
	previousAlive bool // it isn't, but the one before it, which was asked about then, is
	err           error
}

// Refused is told that the workspace called t invalid when a request bore it.
// It answers with the token to send that request with once more, or false: the
// refusal is to be passed on. It blocks while the workspace is asked about t
// and, if t is dead and another can mint, while a rotation runs.
//
// A refusal alone mints nothing: an endpoint may call any token invalid.
func (r *Rotator) Refused(ctx context.Context, t pat.Token) (again pat.Token, ok bool) {
	s := r.chain.State()
	switch {
	case s.Phase != phaseReady:
		return pat.Token{}, false
	case !s.Current.Token.Same(t):
		return s.Current.Token, true
	}
	previous := s.Previous
	if !r.queue.Has(previous.Entry.Nonce) {
		previous = credential{}
	}
	p, err := r.probeInUse(ctx, s.Current, previous)
	young := time.Since(s.Current.Since) < propagation
	switch {
	case young && !previous.IsZero() && (err != nil || p.alive || p.previousAlive):
		return previous.Token, true
	case err != nil:
		return pat.Token{}, false
	case p.alive && young:
		return s.Current.Token, sleep(ctx, nil, propagationPause)
	case p.alive:
		return pat.Token{}, false
	}
	why := errors.New("a request was refused")
	if again, err := r.replaceDead(ctx, s.Current, why); err == nil {
		return again, true
	}
	if p.previousAlive {
		return previous.Token, r.queue.Has(previous.Entry.Nonce)
	}
	return pat.Token{}, false
}

// replaceDead has another mint than the token in use, which is dead, or ends the chain
// if nobody can or one did a moment ago. It returns the token that is in use then.
func (r *Rotator) replaceDead(ctx context.Context, dead credential, why error) (pat.Token, error) {
	if r.mintCooldown() != nil || !r.hasOtherMinter() {
		return pat.Token{}, r.chain.MarkDead(dead, why)
	}
	if _, err := r.rotate(ctx, request{reason: "the token in use is dead", replaces: &dead, dead: why}); err != nil {
		return pat.Token{}, err
	}
	return r.Current(), r.Ready()
}

// hasOtherMinter reports whether anybody but the token in use may be able to mint.
func (r *Rotator) hasOtherMinter() bool {
	return r.cfg.MintAs != nil || slices.ContainsFunc(r.queue.Items(), func(t retiree) bool { return !t.Token.IsZero() && !r.expired(t.Entry) })
}

// probeInUse finds out whether the token in use works, and if it doesn't, the one
// before it, if there is one; once for all who ask.
func (r *Rotator) probeInUse(ctx context.Context, current, previous credential) (*probe, error) {
	p, isNew := r.refusals.join(current.Entry.Hash)
	if isNew {
		r.work.Go(func(bg context.Context) {
			if p.err = r.mayAskOfRefusal(); p.err == nil {
				p.alive, p.err = r.authority.Alive(bg, current.Token)
			}
			if p.err == nil && !p.alive && !previous.IsZero() {
				p.previousAlive, p.err = r.authority.Alive(bg, previous.Token)
			}
			r.refusals.answered(p)
		})
	}
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// mayAskOfRefusal returns an error if the workspace isn't to be asked, since its last answer
// to a list failed. But a workspace that refuses requests may answer lists again: once in a
// quarter of an hour it is asked all the same.
func (r *Rotator) mayAskOfRefusal() error {
	const every = 15 * time.Minute
	err := r.schedule.WhyNotAsked()
	if err == nil || r.schedule.Wait(refusedRequest) > 0 {
		return err
	}
	r.schedule.Postpone(refusedRequest, every)
	return nil
}

// join returns the question about a token, which the caller has to ask if it is new.
func (s *refusals) join(hash string) (p *probe, isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p = s.probe; p != nil && p.of == hash && time.Since(p.at) <= probeTTL {
		return p, false
	}
	s.probe = &probe{of: hash, done: make(chan struct{}), at: time.Now()}
	return s.probe, true
}

// answered tells all who wait for p. Only the answer that the token works is kept.
func (s *refusals) answered(p *probe) {
	s.mu.Lock()
	if p.err != nil || !p.alive {
		s.probe = nil
	}
	s.mu.Unlock()
	close(p.done)
}

// mintCooldown returns an error as long as no other may mint for a token that is dead
// before its expiry: one did a moment ago, and what killed that one's token would kill
// the next too.
func (r *Rotator) mintCooldown() error {
	wait := r.schedule.Wait(otherMint)
	if wait == 0 || r.lifeLeft() < 0 {
		return nil
	}
	next := r.now().UTC().Add(wait)
	return fmt.Errorf("something revokes patrol's tokens, as the one that was minted at %s is dead already; the next one is minted at %s, so find out what it is (another rotator of the same user?)",
		next.Add(-forcedEvery).Format(time.TimeOnly), next.Format(time.TimeOnly))
}
