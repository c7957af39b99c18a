package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// phase says whether there is a token in use.
type phase uint8

// The phases of a chain.
const (
	phaseStarting  phase = iota // none has been found yet
	phaseReady                  // there is one that works
	phaseDead                   // the workspace refuses all that are known
	phaseLoggedOut              // the user has logged out
)

// state is what a chain knows at one instant. It is a value: it is replaced as a
// whole, and never changed.
type state struct {
	Phase phase

	// Current is the token in use if the phase is Ready, the one that died if
	// it is Dead, else zero.
	Current credential

	// Previous is the token that was in use until Current came.
	Previous credential

	// Spares are, after a logout, what old tokens are revoked with that can't revoke
	// themselves: the token that was in use, and those that were on the machine then.
	Spares []credential

	// Err is why there is no token that works, and what to do about it; nil if
	// the phase is Ready, and only then.
	Err error
}

// InUse returns the token in use, zero if there is none that works.
func (s state) InUse() credential {
	if s.Phase != phaseReady {
		return credential{}
	}
	return s.Current
}

// chain owns the token in use, or the reason why there is none. Nothing else
// publishes a token.
type chain struct {
	host      pat.Host
	handovers chan<- pat.Handover // nil: no proxy runs in this process
	ctx       context.Context     // ends with the process: until then a handover that has begun is waited for
	skew      func() skew
	died      func() // called when the token in use is found dead
	log       *slog.Logger

	// publishMu is held while a token is handed to the proxy and put into state,
	// so that the two never differ for long. It is taken before mu. It is held
	// while the proxy answers, which it does at once, and by LogOut while the ledger
	// is written, 10 seconds at most; State waits for neither.
	publishMu sync.Mutex

	mu    sync.Mutex // guards state; held over nothing that blocks
	state state
}

// State returns the state as it is now. It doesn't block.
func (c *chain) State() state {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// update changes the state, and returns the one before.
func (c *chain) update(change func(s *state)) (old state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old = c.state
	change(&c.state)
	return old
}

// Use publishes a token and makes it the one in use. It returns the state before
// that, and a channel that is closed once no request carries the token of that
// state any more; a nil channel says that none does.
//
// If replaces isn't nil, it must still be the token in use; otherwise nothing
// changes, and the error is errReplaced.
func (c *chain) Use(next credential, replaces *credential) (old state, drained <-chan struct{}, err error) {
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	if s := c.State(); replaces != nil && !s.Current.Is(*replaces) {
		return state{}, nil, errReplaced
	}
	if drained, err = c.publishLocked(next.forProxy(c.skew())); err != nil {
		return state{}, nil, fmt.Errorf("handing the token to the proxy: %w", err)
	}
	old = c.update(func(s *state) { *s = state{Phase: phaseReady, Current: next, Previous: s.Current} })
	return old, drained, nil
}

// errReplaced says that the token that was to be replaced is no longer in use.
var errReplaced = errors.New("another token has come into use meanwhile")

// MarkDead records that the workspace refuses old, the token in use, and tells the proxy
// to send nothing with it. If another token has come into use, nothing changes. It
// returns, for users, what is wrong and what to do.
func (c *chain) MarkDead(old credential, why error) error {
	err := fmt.Errorf("%w: %s refuses the one in use (%v) as invalid, revoked or expired, so it can't mint the next one; run `patrol login`, or put a new token into the profile: %w",
		ErrNeedsLogin, c.host, old.Token, why)
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	if !c.State().Current.Token.Same(old.Token) {
		return err
	}
	// The proxy first: whoever sees the phase Dead may rely on it that no
	// request is sent with the dead token any more.
	c.publishNothingLocked()
	if before := c.update(func(s *state) { s.Phase, s.Err = phaseDead, err }); before.Phase == phaseReady {
		c.log.Error("the token in use is dead", "token", old.Token, "err", err)
	}
	c.died()
	return err
}

// Fail records why there is no token that works, unless one has come into use
// since old was read. It returns what is recorded.
func (c *chain) Fail(old state, why error) error {
	c.update(func(s *state) {
		if !s.Current.Is(old.Current) || s.Phase == phaseReady {
			return
		}
		s.Err = why
		if s.Phase == phaseStarting && errors.Is(why, ErrNeedsLogin) {
			s.Phase = phaseDead
		}
	})
	return c.State().Err
}

// LogOut gives the token in use up and tells the proxy so. That token, and then spares,
// are what the old ones are revoked with. record is called before anything changes.
func (c *chain) LogOut(why error, spares []credential, record func()) {
	c.publishMu.Lock()
	defer c.publishMu.Unlock()
	record()
	c.publishNothingLocked()
	c.update(func(s *state) {
		all := slices.Concat([]credential{s.Current}, s.Spares, spares)
		all = slices.DeleteFunc(all, credential.IsZero)
		*s = state{Phase: phaseLoggedOut, Err: why, Spares: all}
	})
}

// ForgetSpare forgets t, if that is one of the spares: the workspace refuses it.
func (c *chain) ForgetSpare(t pat.Token) {
	c.update(func(s *state) {
		s.Spares = slices.DeleteFunc(slices.Clone(s.Spares), func(c credential) bool { return c.Token.Same(t) })
	})
}

// publishNothingLocked tells the proxy that there is no token. The caller holds
// publishMu.
func (c *chain) publishNothingLocked() {
	if _, err := c.publishLocked(pat.Token{Host: c.host}); err != nil {
		c.log.Error("the proxy could not be told that there is no token", "err", err)
	}
}

// publishLocked hands t to the proxy, if there is one. The caller holds
// publishMu.
func (c *chain) publishLocked(t pat.Token) (drained <-chan struct{}, err error) {
	if c.handovers == nil {
		return nil, nil
	}
	return pat.Publish(c.ctx, c.handovers, t)
}

// NoteWritten notes in which files the credential stands, if it is still the one
// in use. It returns its entry, and whether that is new to the ledger.
func (c *chain) NoteWritten(written credential, files []string) (e ledger.Entry, isNew bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	current := &c.state.Current
	if current.IsZero() || !current.Is(written) {
		return ledger.Entry{}, false
	}
	isNew = current.Entry.Stage != ledger.Current
	current.Entry.Stage, current.Entry.Files = ledger.Current, files
	return current.Entry, isNew
}
