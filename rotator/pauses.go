package rotator

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"patrol/rotator/workspace"
)

// What is done again and again, or until it works. Of an old token that is to be revoked
// the name is its nonce.
const (
	anyList        = "ask for a list" // whatever for
	rotating       = "rotate, or find a token to use"
	openMints      = "ask about mints without an answer"
	pasted         = "ask about a new token in the profile"
	refusedRequest = "ask about a refused request, though the last list had no answer"
	serverTime     = "learn the workspace's time"
	otherMint      = "mint by another than the token in use"
	ledgerGaps     = "find what the ledger has lost"
	lookAtProfile  = "look at the profile"
	lookAtFiles    = "look at all files"
)

// pauses owns when something is done again: what has failed, what is to be looked at now
// and then, and above all when the workspace may be asked. In an outage of any length it
// gets 20 failed creates and 40 lists in an hour, and 6 and 12 from the expiry of the token
// in use on. So that the askers' lists don't add up, all of them wait once one of them got
// no answer. Who does something for a person asks at once, and ends all pauses.
type pauses struct {
	lifeLeft func() time.Duration // of the token in use

	mu sync.Mutex // guards of; held over nothing that blocks
	of map[string]pause
}

// pause is how long something isn't to be done.
type pause struct {
	until    time.Time
	failures int // in a row
	err      error
}

const (
	// retryAfterAtMost bounds how long the workspace's Retry-After is heeded.
	retryAfterAtMost = 15 * time.Minute

	// pauseLocal bounds the pause where nothing reached the workspace, which costs it
	// nothing: a laptop's network comes back at any moment, and a file is mended.
	pauseLocal = 30 * time.Second

	// jitterPart is the part by which a pause may be longer, so that a thousand laptops
	// don't come back at the same second.
	jitterPart = 5
)

// pauseAfter is how long to wait after so many failures in a row, the last of them err;
// left is how much life the token in use has. Retry-After is heeded, but for no longer
// than a quarter of what is left.
func pauseAfter(failures int, err error, left time.Duration) time.Duration {
	const part = 4
	next, factor, most := 10*time.Second, time.Duration(3), 5*time.Minute
	if left <= 0 {
		next, factor, most = 2*time.Minute, 8, 15*time.Minute
	}
	for n := 1; n < failures && next < most; n++ {
		next = min(next*factor, most)
	}
	if isLocal(err) {
		return min(next, pauseLocal)
	}
	asked := min(workspace.RetryAfter(err), retryAfterAtMost)
	if left > 0 {
		asked = min(asked, left/part)
	}
	return max(next, asked)
}

// isLocal reports whether what failed with err has cost the workspace nothing.
func isLocal(err error) bool {
	return errors.Is(err, workspace.ErrUnreachable) || errors.Is(err, errPreflight)
}

func (s *pauses) get(what string) pause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[what]
}

// Wait is how long something isn't to be done.
func (s *pauses) Wait(what string) time.Duration {
	return max(time.Until(s.get(what).until), 0)
}

// WaitForList is the same for what begins with a list.
func (s *pauses) WaitForList(what string) time.Duration {
	return max(s.Wait(what), s.Wait(anyList))
}

// IsNew reports whether something has neither failed nor been put off since it was last
// forgotten.
func (s *pauses) IsNew(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.of[what]
	return !known
}

// WhyNotAsked returns how the last list failed, as long as no other is to be made; nil: one
// may be.
func (s *pauses) WhyNotAsked() error {
	if p := s.get(anyList); time.Now().Before(p.until) {
		return p.err
	}
	return nil
}

// Failed notes that something has failed. What fails during its pause was begun before
// that, and changes nothing.
func (s *pauses) Failed(what string, err error) {
	left := s.lifeLeft()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.of[what]
	if time.Now().Before(p.until) {
		return
	}
	d := pauseAfter(p.failures+1, err, left)
	d += rand.N(d/jitterPart + 1) //nolint:gosec // jitter needs no secrecy
	s.of[what] = pause{until: time.Now().Add(d), failures: p.failures + 1, err: err}
}

// Listed notes how a list was answered: whoever has made one says so. That the asker's
// token is invalid, or may not list, is an answer.
func (s *pauses) Listed(err error) {
	if err == nil || errors.Is(err, workspace.ErrInvalidToken) || errors.Is(err, workspace.ErrPermission) {
		s.Forget(anyList)
	} else {
		s.Failed(anyList, err)
	}
}

// Postpone has something done after d at the soonest. It hasn't failed.
func (s *pauses) Postpone(what string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[what] = pause{until: time.Now().Add(max(d, time.Until(s.of[what].until)))}
}

// Forget has things done as if they had never failed.
func (s *pauses) Forget(what ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range what {
		delete(s.of, w)
	}
}

// EndPauses ends these pauses, and with none named those of all that has to do with the
// workspace: somebody has reason to think that what failed works now. The failures count on,
// so that the next pauses aren't shorter than these.
func (s *pauses) EndPauses(these ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for what, p := range s.of {
		all := len(these) == 0 && what != lookAtProfile && what != lookAtFiles && what != otherMint
		if all || slices.Contains(these, what) {
			p.until = time.Time{}
			s.of[what] = p
		}
	}
}

// ForgetAll has everything done as if nothing had ever failed.
func (s *pauses) ForgetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.of)
}
