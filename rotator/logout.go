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

// LogoutResult is what Logout did. There is no token's value in it.
type LogoutResult struct {
	Files  []ClearedFile `json:"files"` // the profile's first
	Tokens []LogoutToken `json:"tokens"`
}

// ClearedFile is how taking the tokens out of one credential file went.
type ClearedFile struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"`
	Cleared bool     `json:"cleared"` // there was one
	Left    []string `json:"left_alone,omitempty"`
	Error   string   `json:"error,omitempty"` // it may hold one still
}

// The ends of a LogoutToken.
const (
	EndRevoked = "revoked"
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
	if err := r.rotations.setLoggingOut(true); err != nil {
		return LogoutResult{}, err
	}
	defer r.wakeAll()
	defer func() { _ = r.rotations.setLoggingOut(false) }()
	r.rotations.Cancel(errors.New("patrol logout"))
	if r.cfg.Ledger.Incomplete() && r.Ready() == nil {
		if err := r.rebuild(ctx); err != nil {
			r.cfg.Log.Warn("the ledger has gaps still", "err", err)
		}
	}
	here, err := r.candidates()
	if err != nil {
		r.cfg.Log.Warn("the profile can't be read", "err", err)
	}
	o := &logout{Rotator: r, last: r.giveUp(here)}
	var values []pat.Token // of the old tokens
	for _, old := range r.queue.Clear() {
		if !old.Token.IsZero() {
			values = append(values, old.Token)
		}
	}
	revoke, left := r.splitForLogout(here)
	o.result = LogoutResult{Files: r.files.Clear(r.isGone), Tokens: left}
	o.principals = r.logoutPrincipals(here, o.last, values)
	o.revokeAll(ctx, revoke)
	return o.result, nil
}

// giveUp gives the token in use up, and records which tokens were on the machine
// then. It returns the last token that there was.
func (r *Rotator) giveUp(here []candidate) (last pat.Token) {
	var seen []string
	for _, f := range here {
		if !f.known {
			seen = append(seen, f.token.Hash())
		}
	}
	return r.chain.LogOut(r.loggedOutError(), func() { r.logUnsaved(r.cfg.Ledger.LogOut(seen)) })
}

// splitForLogout says of each token what becomes of it, and records that: those
// that are to be revoked, and those that are left.
func (r *Rotator) splitForLogout(here []candidate) (revoke []ledger.Entry, left []LogoutToken) {
	left = []LogoutToken{}
	for _, e := range r.cfg.Ledger.Pending() {
		switch reason := r.keepReason(e); {
		case reason != "":
			r.record(withEnd(e, ledger.Left, reason))
			left = append(left, LogoutToken{ID: e.ID, Found: e.Found, Expires: e.Expiry, End: EndLeft, Why: reason})
			continue
		case e.Stage != ledger.Intended && e.Stage != ledger.Retiring:
			e.Stage = ledger.Retiring
			r.record(e)
		}
		revoke = append(revoke, e)
	}
	for _, f := range here {
		switch {
		case !f.known:
			left = append(left, LogoutToken{Found: f.sources, End: EndLeft, Why: "patrol did not mint it"})
		case f.entry.Stage == ledger.Left:
			left = append(left, LogoutToken{ID: f.entry.ID, Found: f.sources, Expires: f.entry.Expiry, End: EndLeft, Why: f.entry.Reason})
		}
	}
	return revoke, left
}

// keepReason says why a token isn't to be revoked by Logout, "" if it is.
func (r *Rotator) keepReason(e ledger.Entry) string {
	if e.Stage == ledger.Intended {
		return ""
	}
	login := len(e.Found) == 1 && e.Found[0] == fromLogin
	if reason := r.notOurs(e); reason != "" || e.Ours() || login || e.Stage == ledger.Retiring {
		return reason
	}
	return "patrol did not mint it, and has not replaced it"
}

// isGone reports whether Logout takes the token with this hash out of files.
func (r *Rotator) isGone(hash string) bool {
	e, known := r.cfg.Ledger.ByHash(hash)
	return known && e.Stage != ledger.Left && e.Stage != ledger.Current
}

// logout is a Logout that revokes tokens.
type logout struct {
	*Rotator
	result     LogoutResult
	last       pat.Token // the token that was in use, which revokes the others first; zero if there was none
	principals []*logoutPrincipal
}

// logoutPrincipal is one who may revoke tokens.
type logoutPrincipal struct {
	principal
	token pat.Token // that it acts with; zero: it is no token
	dead  bool      // the workspace doesn't take it
}

// logoutPrincipals returns who may revoke tokens, best first.
func (r *Rotator) logoutPrincipals(here []candidate, last pat.Token, queued []pat.Token) (all []*logoutPrincipal) {
	var seen []pat.Token
	add := func(t pat.Token) {
		if !t.IsZero() && !slices.ContainsFunc(seen, t.Same) {
			seen = append(seen, t)
			all = append(all, &logoutPrincipal{principal: r.authority.actingWith(t), token: t})
		}
	}
	add(last)
	slices.SortStableFunc(here, func(a, b candidate) int { return a.rank() - b.rank() })
	for _, f := range here {
		f.token.ID = f.entry.ID
		add(f.token)
	}
	for _, t := range queued {
		add(t)
	}
	if r.cfg.MintAs != nil {
		all = append(all, &logoutPrincipal{principal: principal{Session: r.cfg.MintAs}})
	}
	return all
}

// revokeAll revokes the tokens, those last that revoke the others. What it can't
// revoke goes back into the queue, with its value if that is at hand, to revoke the
// rest with.
func (o *logout) revokeAll(ctx context.Context, entries []ledger.Entry) {
	rank := func(e ledger.Entry) int {
		i := slices.IndexFunc(o.principals, func(p *logoutPrincipal) bool { return p.id != "" && p.id == e.ID })
		if i < 0 {
			return 0
		}
		return len(o.principals) - i // the best one last
	}
	slices.SortStableFunc(entries, func(a, b ledger.Entry) int { return rank(a) - rank(b) })
	var revoked, pending int
	needed := false // to revoke what couldn't be revoked, and can't revoke itself
	for i, e := range entries {
		end, err := e, errOthersFirst
		if !needed || i < len(entries)-1 || rank(e) == 0 {
			end, err = o.revoke(ctx, e)
		}
		needed = needed || err != nil && !errors.Is(err, errNotShown) && o.valueOf(e).IsZero()
		t := LogoutToken{ID: end.ID, Found: e.Found, Expires: e.Expiry, End: EndRevoked, Why: end.Reason}
		if err != nil {
			pending++
			t.End, t.Why = EndPending, err.Error()
			o.requeue(e, err)
		} else {
			revoked++
			o.record(end)
		}
		if err != nil || end.ID != "" { // else it was a mint that came to nothing
			o.result.Tokens = append(o.result.Tokens, t)
		}
	}
	o.cfg.Log.Info("logged out", "revoked", revoked, "left", len(o.result.Tokens)-revoked-pending, "pending", pending)
}

// revoke revokes a token by the first principal that the workspace takes and that
// may have such a token, those of its user before others.
func (o *logout) revoke(ctx context.Context, e ledger.Entry) (ledger.Entry, error) {
	if err := o.authority.checkMaybeSameHost(e); err != nil {
		return e, err
	}
	others := func(p *logoutPrincipal) int {
		if p.userKnown && p.user == e.User {
			return 0
		}
		return 1
	}
	last := errors.New("no token works any more that it could be revoked with")
	for _, p := range slices.SortedStableFunc(slices.Values(o.principals), func(a, b *logoutPrincipal) int { return others(a) - others(b) }) {
		if p.dead && (p.id == "" || p.id != e.ID) {
			continue
		}
		end, err := o.revokeBy(ctx, p.principal, e)
		switch {
		case errors.Is(err, errNotShown):
			last = err
		case errors.Is(err, workspace.ErrInvalidToken):
			p.dead = true
		default:
			return end, err
		}
	}
	return e, last
}

// revokeBy revokes a token, with a few tries.
func (o *logout) revokeBy(ctx context.Context, by principal, e ledger.Entry) (ledger.Entry, error) {
	const tries = 3
	return backoff.Retry(ctx, func() (ledger.Entry, error) {
		end, err := withEnd(e, ledger.Revoked, ""), error(nil)
		if e.Stage == ledger.Intended {
			end, err = o.revokeMint(ctx, by, e)
		} else {
			err = o.authority.Revoke(ctx, by, e)
		}
		if errors.Is(err, workspace.ErrInvalidToken) || errors.Is(err, workspace.ErrPermission) || errors.Is(err, errNotShown) {
			err = backoff.Permanent(err)
		}
		return end, err
	}, backoff.WithBackOff(retries(time.Second)), backoff.WithMaxTries(tries))
}

// revokeMint revokes what a mint without an answer has made.
func (o *logout) revokeMint(ctx context.Context, by principal, e ledger.Entry) (ledger.Entry, error) {
	list, err := o.listForMints(ctx, by)
	if err != nil {
		return e, err
	}
	return o.authority.RevokeMint(ctx, by, e, list, o.now())
}

// requeue puts a token that couldn't be revoked back into the queue.
func (o *logout) requeue(e ledger.Entry, why error) {
	value := o.valueOf(e)
	o.queue.AddFailed(Credential{Entry: e, Token: value}, why)
	if e.ID != "" && e.ID == o.last.ID || errors.Is(why, errOthersFirst) {
		o.chain.KeepLast(value)
	}
}

// valueOf returns the token of an entry, zero if its value isn't at hand.
func (o *logout) valueOf(e ledger.Entry) pat.Token {
	for _, p := range o.principals {
		if p.id != "" && p.id == e.ID {
			return p.token
		}
	}
	return pat.Token{}
}

// blockedByLogout reports whether a token isn't to be used unless a person brings
// it: the user has logged out, and patrol knew it then.
func (r *Rotator) blockedByLogout(f candidate) bool {
	if f.brought || r.chain.State().Phase != LoggedOut {
		return false
	}
	if f.known {
		return f.entry.Stage.Ended() || f.entry.Stage == ledger.Retiring
	}
	_, seen := r.cfg.Ledger.LoggedOut()
	return slices.Contains(seen, f.token.Hash())
}

// loggedOutError says that the user has logged out, and what to do.
func (r *Rotator) loggedOutError() error {
	return fmt.Errorf("%w: patrol was logged out of %s; run `patrol login`, or put a new token into the profile", ErrNeedsLogin, r.host())
}
