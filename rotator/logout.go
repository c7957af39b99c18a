package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"patrol/rotator/ledger"
)

// LogoutResult is what Logout did. There is no token's value in it.
type LogoutResult struct {
	Files  []FileInfo    `json:"files"` // the profile first
	Tokens []LogoutToken `json:"tokens"`
}

// The ends of a LogoutToken.
const (
	EndRevoked = "revoked" // or dead by itself
	EndLeft    = "left"    // alive: it isn't patrol's to revoke
	EndPending = "pending" // it couldn't be revoked now, and stands in the ledger
)

// LogoutToken is what became of one token.
type LogoutToken struct {
	ID      string    `json:"id,omitempty"`
	Found   []string  `json:"found_in,omitempty"` // where, if patrol didn't mint it
	Expires time.Time `json:"expires,omitzero"`
	End     string    `json:"end"`
	Why     string    `json:"why,omitempty"`
}

// Logout ends everything that this patrol has made: it tells the proxy that
// there is no token, takes ours out of the credential files, and revokes them,
// the one in use last. In that order a crash leaves no dead token in use and no
// live one forgotten: what isn't revoked by then is in the ledger. A token that
// patrol didn't mint is left alone, unless it was replaced already or brought by
// Login.
//
// From then on, restarts included, the Rotator uses no token by itself but one
// that it has never seen: put into the profile, or brought by Login. Nor does
// it mint by MintAs, unless Rotate is called. What couldn't be revoked is tried
// again while Run runs.
//
// It blocks while the workspace is asked, half a minute at most; once ctx is
// done, what is left to be revoked stays in the ledger. The error says why
// nothing was done.
func (r *Rotator) Logout(ctx context.Context) (LogoutResult, error) {
	r.discovery.adoptMu.Lock()
	defer r.discovery.adoptMu.Unlock()
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the workspace did not answer in time"))
	defer cancel()
	defer context.AfterFunc(r.work.ctx, cancel)()
	if _, err := r.rotations.Refuse(r.loggedOutError()); err != nil {
		return LogoutResult{}, err
	}
	defer r.wakeAll()
	defer func() { _, _ = r.rotations.Refuse(nil) }()
	r.rotations.Cancel(errors.New("patrol logout"))
	if err := r.rebuildLedger(ctx); err != nil {
		r.cfg.Log.Warn("the ledger has gaps still", "err", err)
	}
	here, err := r.candidates()
	if err != nil {
		r.cfg.Log.Warn("the profile can't be read", "err", err)
	}
	r.giveUp(here)
	left := r.leaveForeign(here)
	ours := r.cfg.Ledger.Pending()
	r.enqueuePending(here)
	cleared := r.files.Clear(r.isGone)
	tokens := r.finishAtLogout(ctx, ours)
	pending := len(r.queue.Items())
	r.cfg.Log.Info("logged out", "revoked", len(ours)-pending, "left", len(left), "pending", pending)
	return LogoutResult{Files: cleared, Tokens: append(left, tokens...)}, nil
}

// giveUp gives the token in use up, and records which tokens were on the machine
// then.
func (r *Rotator) giveUp(here []candidate) {
	var seen []string
	for _, f := range here {
		if !f.known {
			seen = append(seen, f.token.Hash())
		}
	}
	var spares []credential
	for _, f := range slices.SortedStableFunc(slices.Values(here), candidate.compare) {
		f.token.ID = f.entry.ID
		spares = append(spares, credential{Token: f.token, Entry: f.entry})
	}
	r.chain.LogOut(r.loggedOutError(), spares, func() { _ = r.cfg.Ledger.LogOut(seen) })
}

// leaveForeign records which tokens are left alone, and returns them, with those on the
// machine that never were patrol's to revoke.
func (r *Rotator) leaveForeign(here []candidate) []LogoutToken {
	left := []LogoutToken{}
	for _, e := range r.cfg.Ledger.Pending() {
		if reason := r.reasonToLeaveAtLogout(e); reason != "" {
			r.queue.Remove(e.Nonce)
			r.record(withEnd(e, ledger.Left, reason))
			left = append(left, LogoutToken{ID: e.ID, Found: e.Found, Expires: e.Expiry, End: EndLeft, Why: reason})
		}
	}
	for _, f := range here {
		if !f.known || f.entry.Stage == ledger.Left {
			why := cmp.Or(f.entry.Reason, "patrol did not mint it")
			left = append(left, LogoutToken{ID: f.entry.ID, Found: f.sources, Expires: f.entry.Expiry, End: EndLeft, Why: why})
		}
	}
	return left
}

// reasonToLeaveAtLogout says why a token isn't to be revoked by Logout, "" if it is.
func (r *Rotator) reasonToLeaveAtLogout(e ledger.Entry) string {
	if e.Stage == ledger.Intended {
		return ""
	}
	login := len(e.Found) == 1 && e.Found[0] == fromLogin
	if reason := r.reasonToLeave(e); reason != "" || e.Ours() || login || e.Stage == ledger.Retiring {
		return reason
	}
	return "patrol did not mint it, and has not replaced it"
}

// isGone reports whether Logout takes the token with this hash out of files.
func (r *Rotator) isGone(hash string) bool {
	e, known := r.cfg.Ledger.ByHash(hash)
	return known && e.Stage != ledger.Left && e.Stage != ledger.Current
}

// finishAtLogout revokes tokens that are in the queue, with a few tries, and says what became
// of them. Those that couldn't be revoked stay there.
func (r *Rotator) finishAtLogout(ctx context.Context, ours []ledger.Entry) (tokens []LogoutToken) {
	const tries = 3
	r.queue.EndGraces()
	pause := retries(time.Second)
	for try := range tries {
		if try > 0 && (len(r.queue.Items()) == 0 || !sleep(ctx, nil, pause.NextBackOff())) {
			break
		}
		r.schedule.EndPauses()
		for _, old := range r.queue.Items() {
			if !old.uncertain() && ctx.Err() == nil {
				r.finishOne(ctx, old.Entry.Nonce)
			}
		}
		r.schedule.EndPauses() // of the lists that failed for them
		r.askAboutMints(ctx)
	}
	pending := map[string]retiree{}
	for _, old := range r.queue.Items() {
		pending[old.Entry.Nonce] = old
	}
	for _, e := range ours {
		e, _ = r.cfg.Ledger.ByNonce(e.Nonce)
		t := LogoutToken{ID: e.ID, Found: e.Found, Expires: e.Expiry, End: EndRevoked, Why: e.Reason}
		old, waits := pending[e.Nonce]
		switch {
		case waits:
			t.End, t.Why = EndPending, cmp.Or(old.Failed, errText(context.Cause(ctx)))
		case e.Stage == ledger.Left:
			t.End = EndLeft
		case e.ID == "":
			continue // it was a mint that came to nothing
		}
		tokens = append(tokens, t)
	}
	return tokens
}

// blockedByLogout reports whether a token isn't to be used unless a person brings
// it: the user has logged out, and patrol knew it then.
func (r *Rotator) blockedByLogout(f candidate) bool {
	if f.brought || r.chain.State().Phase != phaseLoggedOut {
		return false
	}
	if e, known := r.cfg.Ledger.ByHash(f.token.Hash()); known {
		return e.Stage.Ended() || e.Stage == ledger.Retiring
	}
	_, seen := r.cfg.Ledger.LoggedOut()
	return slices.Contains(seen, f.token.Hash())
}

// loggedOutError says that the user has logged out, and what to do.
func (r *Rotator) loggedOutError() error {
	return fmt.Errorf("%w: patrol was logged out of %s; run `patrol login`, or put a new token into the profile", ErrNeedsLogin, r.host())
}
