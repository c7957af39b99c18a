package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// Departure is what Logout did. There is no token's value in it.
type Departure struct {
	Files  []ClearedFile `json:"files"` // the profile's first
	Tokens []PartedToken `json:"tokens"`
}

// ClearedFile is how taking the tokens out of one credential file went.
type ClearedFile struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	Cleared bool     `json:"cleared"` // there was one
	Left    []string `json:"left_alone,omitempty"`
	Error   string   `json:"error,omitempty"` // it may hold one still
}

// The ends of a PartedToken.
const (
	PartedRevoked = "revoked"
	PartedLeft    = "left"    // alive: it isn't patrol's to revoke
	PartedPending = "pending" // it couldn't be revoked now, and stands in the ledger
)

// PartedToken is what became of one token.
type PartedToken struct {
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
func (r *Rotator) Logout(ctx context.Context) (Departure, error) {
	r.taking.Lock()
	defer r.taking.Unlock()
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the workspace did not answer in time"))
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if err := r.stopRotating(); err != nil {
		return Departure{}, err
	}
	defer func() {
		r.mu.Lock()
		r.leaving = false
		r.mu.Unlock()
		wake(r.kick)
		wake(r.tend)
	}()
	if r.cfg.Ledger.Salvaged() && r.Ready() == nil {
		if err := r.rebuild(ctx); err != nil {
			r.log.Warn("the ledger has gaps still", "err", err)
		}
	}
	here, err := r.look()
	if err != nil {
		r.log.Warn("the profile can't be read", "err", err)
	}
	queued := r.values()
	old := r.drop(ctx, here)
	goes, left := r.part(here)
	d := Departure{Files: r.files.clear(r.gone), Tokens: left}
	return r.revokeAll(ctx, d, goes, r.actors(here, old, queued), append(queued, old)), nil
}

// stopRotating ends the rotation that is under way and lets none begin.
func (r *Rotator) stopRotating() error {
	r.mu.Lock()
	f, closed := r.flight, r.closed
	r.leaving = !closed
	r.mu.Unlock()
	switch {
	case closed:
		return errClosed
	case f != nil:
		f.cancel(errors.New("patrol logout"))
		<-f.done
	}
	return nil
}

// drop gives the token in use up, and tells the proxy so. It returns the last
// token that there was.
func (r *Rotator) drop(ctx context.Context, here []found) pat.Token {
	r.turn.Lock()
	defer r.turn.Unlock()
	var seen []string
	for _, f := range here {
		if !f.known {
			seen = append(seen, f.token.Hash())
		}
	}
	r.recordOut(r.cfg.Ledger.LogOut(seen))
	const patience = 5 * time.Second // the proxy answers at once
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := r.publish(brief, pat.Token{Host: r.host()}); err != nil {
		r.log.Error("the proxy could not be told that there is no token", "err", err)
	}
	problem := r.loggedOut()
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.holding.token
	if old.IsZero() {
		old = r.parting
	}
	r.holding, r.before, r.queue, r.problem = holding{}, holding{}, nil, problem
	r.out, r.parting = true, pat.Token{}
	return old
}

// part says of each token what becomes of it, and records that: those that are
// to be revoked, and those that are left.
func (r *Rotator) part(here []found) (goes []ledger.Entry, left []PartedToken) {
	left = []PartedToken{}
	for _, e := range r.cfg.Ledger.Pending() {
		switch reason := r.stays(e); {
		case reason != "":
			r.record(ended(e, ledger.Left, reason))
			left = append(left, PartedToken{ID: e.ID, Found: e.Found, Expires: e.Expiry, End: PartedLeft, Why: reason})
			continue
		case e.Stage != ledger.Intended && e.Stage != ledger.Retiring:
			e.Stage = ledger.Retiring
			r.record(e)
		}
		goes = append(goes, e)
	}
	for _, f := range here {
		switch {
		case !f.known:
			left = append(left, PartedToken{Found: f.sources, End: PartedLeft, Why: "patrol did not mint it"})
		case f.entry.Stage == ledger.Left:
			left = append(left, PartedToken{ID: f.entry.ID, Found: f.sources, Expires: f.entry.Expiry, End: PartedLeft, Why: f.entry.Reason})
		}
	}
	return goes, left
}

// stays says why a token isn't to be revoked by Logout, "" if it is.
func (r *Rotator) stays(e ledger.Entry) string {
	if e.Stage == ledger.Intended {
		return ""
	}
	login := len(e.Found) == 1 && e.Found[0] == fromLogin
	if reason := r.notOurs(e); reason != "" || e.Ours() || login || e.Stage == ledger.Retiring {
		return reason
	}
	return "patrol did not mint it, and has not replaced it"
}

// gone reports whether Logout takes the token with this hash out of files.
func (r *Rotator) gone(hash string) bool {
	e, known := r.cfg.Ledger.ByHash(hash)
	return known && e.Stage != ledger.Left && e.Stage != ledger.Current
}

// values returns the old tokens whose values are at hand.
func (r *Rotator) values() (all []pat.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.queue {
		if !a.token.IsZero() {
			all = append(all, a.token)
		}
	}
	return all
}

// actors returns who may revoke tokens, best first.
func (r *Rotator) actors(here []found, old pat.Token, queued []pat.Token) []actor {
	var all []actor
	if !old.IsZero() {
		all = append(all, r.as(old))
	}
	slices.SortStableFunc(here, func(a, b found) int { return a.rank() - b.rank() })
	for _, f := range here {
		if !f.token.Same(old) {
			f.token.ID = f.entry.ID
			all = append(all, r.as(f.token))
		}
	}
	for _, t := range queued {
		if !slices.ContainsFunc(here, func(f found) bool { return f.token.Same(t) }) {
			all = append(all, r.as(t))
		}
	}
	if r.cfg.MintAs != nil {
		all = append(all, actor{Session: r.cfg.MintAs})
	}
	return all
}

// revokeAll revokes the tokens, those last that revoke the others. What it
// can't revoke goes back into the queue, with its value if that is at hand, to
// revoke the rest with: the last of values is the token that was in use.
func (r *Rotator) revokeAll(ctx context.Context, d Departure, goes []ledger.Entry, by []actor, values []pat.Token) Departure {
	rank := func(e ledger.Entry) int {
		i := slices.IndexFunc(by, func(a actor) bool { return a.id != "" && a.id == e.ID })
		if i < 0 {
			return 0
		}
		return len(by) - i // the best one last
	}
	slices.SortStableFunc(goes, func(a, b ledger.Entry) int { return rank(a) - rank(b) })
	var revoked, pending int
	for _, e := range goes {
		end, err := r.revokeBy(ctx, by, e)
		p := PartedToken{ID: end.ID, Found: e.Found, Expires: e.Expiry, End: PartedRevoked, Why: end.Reason}
		if err != nil {
			pending++
			p.End, p.Why = PartedPending, err.Error()
			r.requeue(e, values, err)
		} else {
			revoked++
			r.record(end)
		}
		if err != nil || end.ID != "" { // else it was a mint that came to nothing
			d.Tokens = append(d.Tokens, p)
		}
	}
	r.log.Info("logged out", "revoked", revoked, "left", len(d.Tokens)-revoked-pending, "pending", pending)
	return d
}

// revokeBy revokes a token by the first actor that the workspace takes and that
// may have such a token, those of its user before others. It marks those that
// the workspace doesn't take.
func (r *Rotator) revokeBy(ctx context.Context, by []actor, e ledger.Entry) (ledger.Entry, error) {
	if !e.Host.MaySame(r.host()) {
		return e, fmt.Errorf("it came with another workspace, %s: %w", e.Host, errAnothers)
	}
	others := func(a actor) int {
		if a.known && a.user == e.User {
			return 0
		}
		return 1
	}
	last := errors.New("no token works any more that it could be revoked with")
	for _, as := range slices.SortedStableFunc(slices.Values(by), func(a, b actor) int { return others(a) - others(b) }) {
		if as.dead && (as.id == "" || as.id != e.ID) {
			continue
		}
		end, err := r.revokeAs(ctx, as, e)
		switch {
		case errors.Is(err, errAnothers):
			last = err
		case errors.Is(err, workspace.ErrInvalidToken):
			i := slices.IndexFunc(by, func(a actor) bool { return a.Session == as.Session })
			by[i].dead = true
		default:
			return end, err
		}
	}
	return e, last
}

func (r *Rotator) revokeAs(ctx context.Context, as actor, e ledger.Entry) (ledger.Entry, error) {
	const tries = 3
	return backoff.Retry(ctx, func() (ledger.Entry, error) {
		end, err := ended(e, ledger.Revoked, ""), error(nil)
		if e.Stage == ledger.Intended {
			end, err = r.sweep(ctx, as, e)
		} else {
			err = r.revoke(ctx, as, e)
		}
		if errors.Is(err, workspace.ErrInvalidToken) || errors.Is(err, workspace.ErrPermission) || errors.Is(err, errAnothers) {
			err = backoff.Permanent(err)
		}
		return end, err
	}, backoff.WithBackOff(retries(time.Second)), backoff.WithMaxTries(tries))
}

// requeue puts a token that couldn't be revoked back into the queue, past its
// grace.
func (r *Rotator) requeue(e ledger.Entry, values []pat.Token, why error) {
	const pause = 10 * time.Second
	now := time.Now()
	old := values[len(values)-1]
	var value pat.Token
	if i := slices.IndexFunc(values, func(t pat.Token) bool { return t.ID != "" && t.ID == e.ID }); i >= 0 {
		value = values[i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, &aged{
		entry: e, token: value, failed: why.Error(), quiet: now.Add(-r.cfg.Grace), due: now.Add(pause), pause: retries(5 * time.Minute),
	})
	if e.ID != "" && e.ID == old.ID {
		r.parting = old
	}
}

// quit revokes the token that as acts with, and makes sure of it.
func (r *Rotator) quit(ctx context.Context, as actor, e ledger.Entry) error {
	err := as.Revoke(ctx, as.id)
	switch {
	case errors.Is(err, workspace.ErrInvalidToken), errors.Is(err, workspace.ErrNotFound):
		return r.knownHere(e)
	case err != nil:
		return err
	}
	all, err := as.List(ctx)
	switch {
	case errors.Is(err, workspace.ErrInvalidToken), errors.Is(err, workspace.ErrPermission):
		return nil
	case err != nil:
		return fmt.Errorf("making sure that token %s is revoked: %w", pat.ShortID(as.id), err)
	case slices.ContainsFunc(all, func(t pat.Token) bool { return t.ID == as.id }):
		return fmt.Errorf("token %s was revoked, and %s still lists it", pat.ShortID(as.id), r.host())
	}
	return nil
}

// revoker returns who revokes an old token: the token in use, or, if another
// user's is in use by now, an old one of the same user, or, after a Logout, the
// last one; and itself when no other is left.
func (r *Rotator) revoker(e ledger.Entry) (actor, error) {
	t, err := r.revokesWith(e)
	if err != nil {
		return actor{}, err
	}
	return r.as(t), nil
}

func (r *Rotator) revokesWith(e ledger.Entry) (pat.Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.problem == nil && r.holding.entry.User == e.User {
		return r.holding.token, nil
	}
	if r.problem == nil || r.out {
		if t, err := r.oldOf(e); err != nil || !t.IsZero() {
			return t, err
		}
	}
	switch {
	case r.problem == nil:
		return r.holding.token, nil
	case r.parting.IsZero():
		return pat.Token{}, r.problem
	case r.parting.ID != e.ID:
		return r.parting, nil
	case slices.ContainsFunc(r.queue, func(a *aged) bool { return a.entry.Nonce != e.Nonce && a.entry.Host.MaySame(e.Host) }):
		return pat.Token{}, errOthersFirst
	}
	return r.parting, nil
}

var errOthersFirst = errors.New("the others are revoked with it first")

// oldOf returns the newest token in the queue that is of e's user and whose
// value is at hand, zero if there is none. The caller holds r.mu.
func (r *Rotator) oldOf(e ledger.Entry) (pat.Token, error) {
	others := false
	var newest *aged
	for _, a := range r.queue {
		if a.entry.User != e.User || !a.entry.Host.MaySame(e.Host) {
			continue
		}
		others = others || a.entry.Nonce != e.Nonce
		if !a.token.IsZero() && (newest == nil || !a.entry.Created.Before(newest.entry.Created)) {
			newest = a
		}
	}
	switch {
	case newest == nil:
		return pat.Token{}, nil
	case newest.entry.Nonce == e.Nonce && others:
		return pat.Token{}, errOthersFirst
	}
	return newest.token, nil
}

// barred reports whether a token isn't to be used unless a person brings it:
// the user has logged out, and patrol knew it then.
func (r *Rotator) barred(f found) bool {
	if f.brought || !r.isOut() {
		return false
	}
	if f.known {
		return f.entry.Stage.Ended() || f.entry.Stage == ledger.Retiring
	}
	_, seen := r.cfg.Ledger.LoggedOut()
	return slices.Contains(seen, f.token.Hash())
}

func (r *Rotator) isOut() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out
}

// loggedOut says that the user has logged out, and what to do.
func (r *Rotator) loggedOut() error {
	return fmt.Errorf("%w: patrol was logged out of %s; run `patrol login`, or put a new token into the profile", ErrNeedsLogin, r.host())
}

// recordOut says so if it couldn't be recorded whether the user has logged out.
func (r *Rotator) recordOut(err error) {
	if err != nil {
		r.log.Error("the ledger can't be written: will be tried again", "err", err)
	}
}
