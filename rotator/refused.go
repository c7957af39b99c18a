package rotator

import (
	"context"
	"errors"
	"fmt"
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

	// forcedEvery is how often a token that was killed may be replaced by the
	// mint profile, and how often one that can't be told apart may be adopted.
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
	_ = r.lost(r.ctx, h, why)
	if r.cfg.MintAs == nil || r.tooSoon() != nil {
		return pat.Token{}, false
	}
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

// tooSoon returns an error as long as the mint profile may not replace a token
// that is dead before its time: it minted one a moment ago, and what killed
// that would kill the next one too. By the wall clock: a laptop that has slept
// needn't wait.
func (r *Rotator) tooSoon() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, next := r.now(), r.minted.Add(forcedEvery)
	if r.minted.IsZero() || now.Before(r.minted) || !now.Before(next) || now.After(r.expiry(r.holding)) {
		return nil
	}
	return fmt.Errorf("something revokes patrol's tokens, as the one that was minted at %s is dead already; the next one is minted at %s, so find out what it is (another rotator of the same user?)",
		r.minted.UTC().Format(time.TimeOnly), next.UTC().Format(time.TimeOnly))
}

// mayAdopt reports whether a token that can't be told apart may be adopted now.
func (r *Rotator) mayAdopt() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.adopted.IsZero() && time.Since(r.adopted) < forcedEvery {
		return false
	}
	r.adopted = time.Now()
	return true
}
