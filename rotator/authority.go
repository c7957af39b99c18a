package rotator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// principal is somebody who mints, lists and revokes.
type principal struct {
	*workspace.Session
	id   string // of the token that it acts with; "" if it isn't known, or it is no token
	user string // as in ledger.Entry; unknownUser: the workspace may be asked
}

// unknownUser begins an Entry.User where the user's name couldn't be read. A nonce
// follows, the same for tokens that were minted with one another: they have one user.
const unknownUser = "?"

// unknownMinter is the mint profile's user where that name couldn't be read.
const unknownMinter = unknownUser + "mint-profile"

// userName is whose the token is, for people; "" where that isn't known.
func userName(e ledger.Entry) string {
	if strings.HasPrefix(e.User, unknownUser) {
		return ""
	}
	return e.User
}

// errNotShown says that the workspace doesn't know a token, and that this proves
// nothing: it hides the tokens of other users, and of other workspaces.
var errNotShown = errors.New("a workspace shows and revokes only its own tokens and the user's own, and it may be another's: left to expire, unless somebody revokes it by hand")

// authority asks the workspace which tokens there are, and revokes them. It knows
// whose tokens a principal may judge.
type authority struct {
	workspace *workspace.Client
	ledger    *ledger.Ledger
	pauses    *pauses
	log       *slog.Logger

	canList atomic.Bool // the workspace has listed its tokens for us once

	// twins has a nonce of each other patrol that has this one's name, by the digits of
	// its state folder.
	twins      sync.Map
	toldOfTwin sync.Once
}

// actingWith returns the principal that acts with t.
func (a *authority) actingWith(t pat.Token) principal {
	by := principal{Session: a.workspace.As(t), id: t.ID, user: unknownUser}
	if e, known := a.ledger.ByHash(t.Hash()); known {
		by.user = e.User
	}
	return by
}

// Alive reports whether the workspace takes t; an error says that it isn't known. That
// the workspace answers is proof enough: a new token may be missing in its list for a
// while.
func (a *authority) Alive(ctx context.Context, t pat.Token) (bool, error) {
	_, alive, err := a.ListAlive(ctx, t)
	return alive, err
}

// confirmDead reports whether the workspace calls a token invalid. It is asked only where
// the error or the clock suggests that, and not where it has just failed to answer.
func (r *Rotator) confirmDead(ctx context.Context, c credential, err error) bool {
	silent := errors.Is(err, workspace.ErrUncertain) || errors.Is(err, workspace.ErrUnreachable)
	suspect := errors.Is(err, workspace.ErrInvalidToken) || r.now().After(c.Expiry(r.skew())) && !silent && r.schedule.WhyNotAsked() == nil
	if !suspect || c.IsZero() {
		return false
	}
	alive, doubt := r.authority.Alive(ctx, c.Token)
	return !alive && doubt == nil
}

// ListAlive is Alive. It also returns the list that the workspace answered with, if it did.
func (a *authority) ListAlive(ctx context.Context, t pat.Token) (list []pat.Info, alive bool, err error) {
	list, err = a.List(ctx, a.workspace.As(t))
	switch {
	case errors.Is(err, workspace.ErrInvalidToken):
		return nil, false, nil
	case errors.Is(err, workspace.ErrPermission):
		return nil, true, nil // a narrowly scoped token may not list
	}
	return list, err == nil, err
}

// List returns the tokens that the workspace lists. One that was minted a moment ago may be
// missing.
func (a *authority) List(ctx context.Context, by *workspace.Session) ([]pat.Info, error) {
	all, err := by.List(ctx)
	if ctx.Err() == nil { // else nobody has waited for the answer
		a.pauses.Listed(err)
	}
	for _, t := range all {
		a.noteTwin(t.Comment)
	}
	return all, err
}

// noteTwin says so, once, if a token's comment shows that there is a twin. It takes two
// nonces of one folder: version 1 made nonces without a folder's digits, so that a single
// one shows nothing.
func (a *authority) noteTwin(comment string) {
	nonce, ours := a.ledger.MintedHere(comment)
	instance, _, minted := pat.ParseComment(comment)
	if ours || !minted || instance != a.ledger.Instance() {
		return
	}
	if before, seen := a.twins.Swap(ledger.FolderOf(nonce), nonce); seen && before != nonce {
		a.toldOfTwin.Do(func() {
			a.log.Warn("another patrol has the same name as this one, so people can't tell their tokens apart: give one of them another with --instance", "instance", instance)
		})
	}
}

// ListWhole returns the tokens that the workspace lists. A list without the principal's
// own is an error: an answer that is empty by mistake must not pass for the news
// that nothing is left to be revoked.
func (a *authority) ListWhole(ctx context.Context, by principal) ([]pat.Info, error) {
	all, err := a.List(ctx, by.Session)
	if err != nil {
		return nil, err
	}
	if by.id != "" && !contains(all, by.id) {
		return nil, fmt.Errorf("the list that %s gave is not whole: it lacks the token that asked for it", a.workspace.Host())
	}
	a.canList.Store(true)
	return all, nil
}

func contains(all []pat.Info, id string) bool {
	return slices.ContainsFunc(all, func(t pat.Info) bool { return t.ID == id })
}

// Revoke revokes e's token and makes sure of it. A token that the workspace doesn't
// know is revoked, if by is its user: see trustNotFound.
func (a *authority) Revoke(ctx context.Context, by principal, e ledger.Entry) error {
	self := by.id == e.ID
	err := by.Revoke(ctx, e.ID)
	switch {
	case errors.Is(err, workspace.ErrNotFound), self && errors.Is(err, workspace.ErrInvalidToken):
		return a.trustNotFound(ctx, by, e)
	case err != nil:
		return err
	}
	if self {
		by.id = "" // a list without it is what is wanted
	}
	all, err := a.ListWhole(ctx, by)
	switch {
	case self && errors.Is(err, workspace.ErrInvalidToken):
		return nil
	case errors.Is(err, workspace.ErrPermission) && (self || !a.canList.Load()):
		return nil // a narrowly scoped token may not list
	case err != nil:
		return fmt.Errorf("making sure that token %s is revoked: %w", pat.ShortID(e.ID), err)
	case contains(all, e.ID):
		return fmt.Errorf("token %s was revoked, and %s still lists it", pat.ShortID(e.ID), a.workspace.Host())
	}
	return nil
}

// checkMaybeSameHost returns nil if e's token may be one of this workspace.
func (a *authority) checkMaybeSameHost(e ledger.Entry) error {
	if e.Host.MaySame(a.workspace.Host()) {
		return nil
	}
	return fmt.Errorf("it came with another workspace, %s: %w", e.Host, errNotShown)
}

// trustNotFound returns nil if by acts for the user whose token e is, and in what is
// certainly the same workspace. The workspace hides the tokens of all others, so that "not
// found" proves nothing about those.
func (a *authority) trustNotFound(ctx context.Context, by principal, e ledger.Entry) error {
	if host := a.workspace.Host(); !e.Host.Same(host) {
		return fmt.Errorf("it came with %s, and this is %s: %w", e.Host, host, errNotShown)
	}
	user := by.user
	if user == unknownUser && userName(e) != "" {
		user = a.User(ctx, by)
	}
	switch {
	case user == e.User:
		return nil
	case userName(e) != "":
		return fmt.Errorf("it is %s's: %w", e.User, errNotShown)
	}
	return errNotShown
}

// User asks the workspace for the user that by acts for; "" if that can't be had now.
func (a *authority) User(ctx context.Context, by principal) string {
	const patience = 5 * time.Second // it is good to know, and no more
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	user, err := by.Me(ctx)
	if err != nil {
		a.log.Debug("whose a token is can't be had", "token", pat.ShortID(by.id), "err", err)
	}
	return user
}

// errCreateMayArrive says that a create without an answer may still take effect.
var errCreateMayArrive = errors.New("a create without an answer may still take effect")

// settleTime is how long a create whose answer was lost may still take effect.
const settleTime = 2 * time.Minute

// RevokeUnanswered revokes the token of a mint whose answer never came, if the workspace
// made one. list is what the workspace lists now.
func (a *authority) RevokeUnanswered(ctx context.Context, by principal, e ledger.Entry, list []pat.Info, now time.Time) (ledger.Entry, error) {
	if i := slices.IndexFunc(list, func(t pat.Info) bool { return t.Comment == e.Comment }); i >= 0 {
		e.ID = list[i].ID
		if err := a.Revoke(ctx, by, e); err != nil {
			return e, fmt.Errorf("revoking a token whose mint was cut off: %w", err)
		}
		return withEnd(e, ledger.Revoked, "its mint was cut off"), nil
	}
	if since := now.Sub(e.At); since >= 0 && since < settleTime {
		return e, errCreateMayArrive
	}
	if err := a.trustNotFound(ctx, by, e); err != nil {
		return e, fmt.Errorf("it may have been minted: %w", err)
	}
	return asNeverMinted(e), nil
}

func asNeverMinted(e ledger.Entry) ledger.Entry {
	return withEnd(e, ledger.Revoked, "it was never minted")
}

func withEnd(e ledger.Entry, stage ledger.Stage, why string) ledger.Entry {
	e.Stage, e.Reason = stage, why
	return e
}
