package rotator

import (
	"context"
	"errors"
	"time"

	"patrol/rotator/pat"
)

const (
	// propagation is how long a new token may be unknown to some part of the
	// workspace.
	propagation = time.Minute

	// settling is how long a request waits before it tries a new token again,
	// where there is no older one to stand in.
	settling = 500 * time.Millisecond

	// trusted is how long the answer holds that a token works.
	trusted = 30 * time.Second

	// forcedEvery is how often refusals may bring about a rotation.
	forcedEvery = 5 * time.Minute
)

// probe is a question to the workspace whether the current token works. All
// who want to know at once share it.
type probe struct {
	of    string // the token's hash
	done  chan struct{}
	at    time.Time
	alive bool
	elder bool // it isn't, but the one before it, which was asked about then, is
	err   error
}

// Refused is told that the workspace called t invalid when a request bore it.
// It answers with the token to send that request with once more, or false: the
// refusal is to be passed on. It blocks while the workspace is asked about t
// and, if t is dead and a mint profile is there, while a rotation runs.
//
// A refusal alone mints nothing: an endpoint may call any token invalid.
func (r *Rotator) Refused(ctx context.Context, t pat.Token) (again pat.Token, ok bool) {
	r.mu.Lock()
	h, before, problem := r.holding, r.before, r.problem
	r.mu.Unlock()
	switch {
	case problem != nil:
		return pat.Token{}, false
	case !h.token.Same(t):
		return h.token, true
	}
	young := time.Since(h.since) < propagation
	if !young || !r.queued(before.entry.Nonce) {
		before = holding{}
	}
	p, err := r.ask(ctx, h, before)
	switch {
	case !before.token.IsZero() && (err != nil || p.alive || p.elder):
		return before.token, true
	case err != nil:
		return pat.Token{}, false
	case p.alive && young:
		return h.token, r.rest(ctx, nil, settling)
	case p.alive:
		return pat.Token{}, false
	}
	why := errors.New("a request was refused")
	if r.cfg.MintAs == nil || !r.mayForce() {
		_ = r.lost(r.ctx, h, why)
		return pat.Token{}, false
	}
	_ = r.lost(r.ctx, h, why)
	if _, err := r.begin(ctx, need{reason: "the token in use is dead", of: &h}); err != nil {
		return pat.Token{}, false
	}
	current := r.Current()
	return current, !current.IsZero()
}

// ask finds out whether the token in use works, and if it doesn't, the one
// before it, if there is one; once for all who ask.
func (r *Rotator) ask(ctx context.Context, h, before holding) (*probe, error) {
	r.mu.Lock()
	p := r.probing
	if r.closed {
		r.mu.Unlock()
		return nil, errClosed
	}
	if p == nil || p.of != h.entry.Hash || time.Since(p.at) > trusted {
		p = &probe{of: h.entry.Hash, done: make(chan struct{}), at: time.Now()}
		r.probing = p
		r.work.Go(func() {
			p.alive, p.err = r.alive(r.ctx, h.token)
			if p.err == nil && !p.alive && !before.token.IsZero() {
				p.elder, p.err = r.alive(r.ctx, before.token)
			}
			if p.err != nil || !p.alive {
				r.mu.Lock()
				r.probing = nil // only good news may be kept
				r.mu.Unlock()
			}
			close(p.done)
		})
	}
	r.mu.Unlock()
	select {
	case <-p.done:
		return p, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// mayForce reports whether a refusal may bring about a rotation now.
func (r *Rotator) mayForce() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.forced.IsZero() && time.Since(r.forced) < forcedEvery {
		return false
	}
	r.forced = time.Now()
	return true
}
