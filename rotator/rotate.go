package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// Rotation is what one rotation did.
type Rotation struct {
	Reason string
	Began  time.Time
	Took   time.Duration
	Old    pat.Token   // the token that was replaced
	Token  pat.Token   // the one that replaced it; zero if the rotation failed
	Files  []FileState // how each credential file fared
	Joined bool        // it was under way already when it was asked for

	// Of Login only: whose the token is, and whose the one before it was;
	// "" where that isn't known.
	User, UserBefore string
}

// flight is a rotation under way.
type flight struct {
	done     chan struct{}
	cancel   context.CancelCauseFunc
	rotation Rotation
	err      error
}

// Rotate mints a new token, puts it in the place of the current one, and
// returns after the credential files were written; the old token is then in
// the queue. If a rotation is under way it waits for that one. If ctx is done
// it returns, and the rotation goes on.
//
// A nil error means that there is a new token; a file that could not be
// written stands in Rotation.Files, and is tried again while the Rotator
// runs. After an error the old token is still the current one.
func (r *Rotator) Rotate(ctx context.Context, reason string) (Rotation, error) {
	return r.begin(ctx, need{reason: reason, told: true})
}

// need is why to rotate.
type need struct {
	reason string
	told   bool     // by the user; patrol itself leaves one alone who has logged out
	of     *holding // what is to be replaced; nil is whatever is in use
}

// begin rotates, or joins the rotation that is under way. A need that another
// rotation has met already is met.
func (r *Rotator) begin(ctx context.Context, n need) (Rotation, error) {
	r.mu.Lock()
	f, joined := r.flight, r.flight != nil
	switch {
	case r.closed:
		r.mu.Unlock()
		return Rotation{}, errClosed
	case r.leaving, r.out && !n.told:
		r.mu.Unlock()
		return Rotation{}, r.loggedOut()
	case !joined && n.of != nil && n.of.entry.Nonce != r.holding.entry.Nonce && r.problem == nil:
		defer r.mu.Unlock()
		return Rotation{Token: r.holding.token, Joined: true}, nil
	case !joined:
		ctx, cancel := context.WithCancelCause(r.ctx)
		f = &flight{done: make(chan struct{}), cancel: cancel}
		r.flight = f
		r.work.Go(func() { r.fly(ctx, f, n.reason) })
	}
	r.mu.Unlock()
	select {
	case <-f.done:
		rotation := f.rotation
		rotation.Joined = joined
		return rotation, f.err
	case <-ctx.Done():
		return Rotation{}, fmt.Errorf("waiting for the rotation, which goes on: %w", context.Cause(ctx))
	}
}

// fly runs one rotation and tells everyone who waits for it.
func (r *Rotator) fly(ctx context.Context, f *flight, reason string) {
	defer f.cancel(nil)
	began := r.now()
	r.mu.Lock()
	old := r.holding
	r.mu.Unlock()
	f.rotation, f.err = r.rotate(ctx, old)
	f.rotation.Reason, f.rotation.Began, f.rotation.Took = reason, began, r.now().Sub(began)
	if f.err != nil {
		f.err = fmt.Errorf("rotating the token of %s: %w", r.host(), f.err)
	}
	r.mu.Lock()
	again := text(r.lastErr) == text(f.err)
	r.flight, r.last, r.lastErr = nil, f.rotation, f.err
	r.mu.Unlock()
	switch {
	case f.err == nil:
		r.log.Info("rotated", "reason", reason, "old", f.rotation.Old, "new", f.rotation.Token, "took", f.rotation.Took)
	case again || !r.running.Load(): // who asked is told
		r.log.Debug("the rotation failed", "reason", reason, "err", f.err)
	default:
		r.log.Error("the rotation failed", "reason", reason, "token", old.token, "err", f.err)
	}
	close(f.done)
	wake(r.kick)
	wake(r.tend)
}

// rotate takes the steps of one rotation.
func (r *Rotator) rotate(ctx context.Context, old holding) (Rotation, error) {
	rotation := Rotation{Old: old.token}
	minter, err := r.minter(ctx, old)
	if err != nil {
		return rotation, err
	}
	if err := r.preflight(old); err != nil {
		return rotation, r.judge(ctx, old, err)
	}
	fresh, err := r.mint(ctx, minter, old)
	if errors.Is(err, ErrNeedsLogin) && r.cfg.MintAs != nil && minter.Session != r.cfg.MintAs {
		// The token was found dead. Who rotates once has no later try.
		if minter, err = r.minter(ctx, old); err == nil {
			fresh, err = r.mint(ctx, minter, old)
		}
	}
	if err != nil {
		return rotation, err
	}
	if err := r.probe(ctx, minter, fresh); err != nil {
		return rotation, err
	}
	rotation.Token = fresh.token
	rotation.Files, err = r.install(ctx, fresh)
	if minter.Session == r.cfg.MintAs {
		r.mu.Lock()
		r.minted = r.now()
		r.mu.Unlock()
	}
	return rotation, err
}

// minter returns who mints: the current token, or the mint profile if the
// current token is dead.
func (r *Rotator) minter(ctx context.Context, old holding) (actor, error) {
	problem := r.Ready()
	switch {
	case problem == nil && !old.token.IsZero():
		return r.as(old.token), nil
	case r.cfg.MintAs != nil:
		by := actor{Session: r.cfg.MintAs, known: true}
		by.user = cmp.Or(r.userOf(context.WithoutCancel(ctx), by), nobody+ledger.NewNonce())
		return by, nil
	}
	return actor{}, problem
}

// preflight makes sure, before anything is minted, that the new token can be
// written. A broken agent file delays a mint until a quarter of the old
// token's life is left; then it is left out.
func (r *Rotator) preflight(old holding) error {
	profile, agents := r.files.check()
	if profile != nil {
		return fmt.Errorf("nothing was minted: %w", profile)
	}
	if agents == nil {
		return nil
	}
	// A bootstrap token may live for months: nobody waits that long.
	const part = 4
	life := min(r.life(old), r.cfg.Lifetime)
	left := min(r.expiry(old).Sub(r.now()), life-time.Since(old.since))
	if old.entry.Ours() {
		left = r.expiry(old).Sub(r.now())
	}
	if left > life/part {
		return fmt.Errorf("nothing was minted, and there is time to mend it: %w", agents)
	}
	r.log.Warn("a credential file is broken and time is short: rotating without it", "err", agents)
	return nil
}

// mint makes a new token and records it. What may have been minted and can't
// be used is left in the queue, to be revoked.
func (r *Rotator) mint(ctx context.Context, by actor, old holding) (holding, error) {
	e := ledger.Entry{Nonce: ledger.NewNonce(), Stage: ledger.Intended, Host: r.host(), Scopes: old.token.Scopes}
	e.Comment = r.comment(e.Nonce)
	e.At = r.now() // Put sets that of its own copy, and this one may go into the queue
	e.User = by.user
	r.mu.Lock()
	r.minting = e.Nonce
	r.mu.Unlock()
	if err := r.cfg.Ledger.Put(e); err != nil {
		// The ledger remembers the intent, and may write it later.
		_ = r.cfg.Ledger.Put(unminted(e))
		return holding{}, fmt.Errorf("nothing was minted: %w", err)
	}
	req := workspace.MintRequest{Lifetime: r.cfg.Lifetime, Comment: e.Comment, Scopes: e.Scopes}
	before := r.now()
	tok, err := by.Mint(ctx, req)
	if errors.Is(err, workspace.ErrQuota) && r.makeRoom(ctx, by) {
		tok, err = by.Mint(ctx, req)
	}
	if err != nil {
		if errors.Is(err, workspace.ErrUncertain) {
			r.enqueue(holding{entry: e}, nil)
		} else {
			r.record(unminted(e))
		}
		if errors.Is(err, workspace.ErrLifetime) {
			err = fmt.Errorf("asking for %v: %w; ask for less with --lifetime", r.cfg.Lifetime, err)
		}
		return holding{}, r.judge(ctx, old, fmt.Errorf("minting: %w", err))
	}
	e.Stage, e.ID, e.Hash, e.Created, e.Expiry = ledger.Minted, tok.ID, tok.Hash(), tok.Created, tok.Expiry
	e.Until = before.Add(r.lifeOf(tok))
	r.record(e)
	return holding{token: tok, entry: e, since: time.Now()}, nil
}

func unminted(e ledger.Entry) ledger.Entry { return ended(e, ledger.Revoked, "it was never minted") }

// comment is what a token bears in the workspace's list.
func (r *Rotator) comment(nonce string) string { return r.prefix() + nonce }

func (r *Rotator) prefix() string { return "patrol/" + r.cfg.Ledger.Instance() + "/" }

// lifeOf is how long the workspace gave the token, whatever was asked for.
func (r *Rotator) lifeOf(t pat.Token) time.Duration {
	if t.Expiry.IsZero() || t.Created.IsZero() {
		return r.cfg.Lifetime
	}
	return t.Expiry.Sub(t.Created)
}

// judge finds out whether the token that should have been replaced is dead, if
// the error or the clock suggests it, and says so if it is.
func (r *Rotator) judge(ctx context.Context, old holding, err error) error {
	suspect := errors.Is(err, workspace.ErrInvalidToken) || r.now().After(r.expiry(old))
	if !suspect || old.token.IsZero() {
		return err
	}
	if alive, doubt := r.alive(ctx, old.token); doubt != nil || alive {
		return err
	}
	return r.lost(ctx, old, err)
}

// alive reports whether the workspace takes t; an error says that it isn't
// known.
func (r *Rotator) alive(ctx context.Context, t pat.Token) (bool, error) {
	_, err := r.list(ctx, r.as(t))
	switch {
	case err == nil, errors.Is(err, workspace.ErrPermission):
		return true, nil // a narrowly scoped token may not list
	case errors.Is(err, workspace.ErrInvalidToken):
		return false, nil
	}
	return false, err
}

// actor is somebody who may mint, list and revoke.
type actor struct {
	*workspace.Session
	id    string // of the token that it acts with; "" if it isn't known, or it is no token
	user  string // as in ledger.Entry
	known bool   // user is as the ledger has it; else the workspace may be asked
	dead  bool   // the workspace doesn't take it
}

func (r *Rotator) as(t pat.Token) actor {
	e, known := r.cfg.Ledger.ByHash(t.Hash())
	return actor{Session: r.cfg.Workspace.As(t), id: t.ID, user: e.User, known: known}
}

// nobody begins an Entry.User of whom it isn't known who it is. The rest tells
// one such user from another: tokens that were minted with it are the same
// user's.
const nobody = "?"

// userName is whose the token is, for people; "" where that isn't known.
func userName(e ledger.Entry) string {
	if strings.HasPrefix(e.User, nobody) {
		return ""
	}
	return e.User
}

// errAnothers says that the workspace doesn't know a token, and that this
// proves nothing.
var errAnothers = errors.New("a workspace shows and revokes only its own tokens and the user's own, and it may be another's: left to expire, unless somebody revokes it by hand")

// knownHere returns nil if e's token is certainly one of this workspace: only
// then is it news that the workspace doesn't know it.
func (r *Rotator) knownHere(e ledger.Entry) error {
	if e.Host.Same(r.host()) {
		return nil
	}
	return fmt.Errorf("it came with %s, and this is %s: %w", e.Host, r.host(), errAnothers)
}

// mayTell returns nil if as acts for the user whose token e is, and in the same
// workspace. The workspace hides everybody else's: that it doesn't know a token
// is no news then.
func (r *Rotator) mayTell(ctx context.Context, as actor, e ledger.Entry) error {
	if err := r.knownHere(e); err != nil {
		return err
	}
	user := as.user
	if !as.known && userName(e) != "" {
		user = r.userOf(ctx, as)
	}
	switch {
	case user == e.User && (as.known || user != ""):
		return nil
	case userName(e) != "":
		return fmt.Errorf("it is %s's: %w", e.User, errAnothers)
	}
	return errAnothers
}

// list returns the tokens that the workspace lists. A list without the actor's
// own is an error: an answer that is empty by mistake must not pass for the
// news that nothing is left to be revoked.
func (r *Rotator) list(ctx context.Context, as actor) ([]pat.Token, error) {
	all, err := as.List(ctx)
	if err != nil {
		return nil, err
	}
	if as.id != "" && !slices.ContainsFunc(all, func(t pat.Token) bool { return t.ID == as.id }) {
		return nil, fmt.Errorf("the list that %s gave is not whole: it lacks the token that asked for it", r.host())
	}
	r.mayList.Store(true)
	return all, nil
}

// revoke revokes a token and makes sure of it. A token that the workspace
// doesn't know is revoked, if as is its user: see mayTell.
func (r *Rotator) revoke(ctx context.Context, as actor, e ledger.Entry) error {
	id := e.ID
	if as.id == id {
		return r.quit(ctx, as, e)
	}
	err := as.Revoke(ctx, id)
	if errors.Is(err, workspace.ErrNotFound) {
		return r.mayTell(ctx, as, e)
	}
	if err != nil {
		return err
	}
	all, err := r.list(ctx, as)
	switch {
	case errors.Is(err, workspace.ErrPermission) && !r.mayList.Load():
		return nil // a narrowly scoped token may not list
	case err != nil:
		return fmt.Errorf("making sure that token %s is revoked: %w", pat.ShortID(id), err)
	case slices.ContainsFunc(all, func(t pat.Token) bool { return t.ID == id }):
		return fmt.Errorf("token %s was revoked, and %s still lists it", pat.ShortID(id), r.host())
	}
	return nil
}

// probe makes sure that the new token works before anyone gets it. One that
// doesn't is revoked. A token may take a moment to be known everywhere, so it
// has a few tries.
func (r *Rotator) probe(ctx context.Context, by actor, fresh holding) error {
	const tries = 5
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		alive, err := r.alive(ctx, fresh.token)
		if err == nil && !alive {
			err = errors.New("the workspace doesn't take it")
		}
		return struct{}{}, err
	}, backoff.WithBackOff(retries(4*time.Second)), backoff.WithMaxTries(tries))
	if err == nil {
		fresh.entry.Stage = ledger.Probed
		r.record(fresh.entry)
		return nil
	}
	err = fmt.Errorf("the new token was given up: %w", err)
	if r.revoke(ctx, by, fresh.entry) != nil {
		r.enqueue(fresh, nil)
		return err
	}
	fresh.entry.Stage, fresh.entry.Reason = ledger.Revoked, "it did not work"
	r.record(fresh.entry)
	return err
}

// retries is a back-off that starts at a quarter of a second and is capped.
func retries(longest time.Duration) *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     250 * time.Millisecond,
		RandomizationFactor: 0.5,
		Multiplier:          2,
		MaxInterval:         longest,
	}
}

// install makes a token the current one: the proxy gets it, then the files
// do, and the token before it joins the queue.
func (r *Rotator) install(ctx context.Context, fresh holding) ([]FileState, error) {
	if fresh.entry.Stage == ledger.Probed || fresh.entry.Stage == ledger.Minted {
		fresh.entry.Stage = ledger.Published
		r.record(fresh.entry)
	}
	old, drained, err := r.use(fresh)
	if err != nil {
		r.enqueue(fresh, nil)
		return nil, err
	}
	states := r.files.put(r.Current)
	r.written(states)
	if !old.token.IsZero() && !old.token.Same(fresh.token) {
		r.enqueue(old, drained)
	}
	return states, nil
}

// publish hands t to the proxy, if there is one.
func (r *Rotator) publish(ctx context.Context, t pat.Token) (drained <-chan struct{}, err error) {
	if r.cfg.Handovers == nil {
		return nil, nil
	}
	return pat.Publish(ctx, r.cfg.Handovers, t)
}

// byOurClock returns the token with its expiry as this machine's clock will
// show it: the proxy has no other.
func (r *Rotator) byOurClock(h holding) pat.Token {
	t := h.token
	if !t.Expiry.IsZero() {
		t.Expiry = r.expiry(h)
	}
	return t
}

// use publishes a token and makes it the one in use, and returns the one that
// was.
func (r *Rotator) use(fresh holding) (old holding, drained <-chan struct{}, err error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	// Not by ctx: a token that the proxy may have must not be taken for one
	// that it hasn't.
	if drained, err = r.publish(r.ctx, r.byOurClock(fresh)); err != nil {
		return holding{}, nil, fmt.Errorf("handing the token to the proxy: %w", err)
	}
	r.mu.Lock()
	old = r.holding
	wasOut := r.out
	r.before, r.holding, r.problem = old, fresh, nil
	r.out, r.parting = false, pat.Token{}
	r.mu.Unlock()
	if wasOut {
		r.recordOut(r.cfg.Ledger.LogIn())
	}
	return old, drained, nil
}

// written records that the current token stands in the profile, once it does.
func (r *Rotator) written(states []FileState) {
	if states[0].Err != nil {
		return
	}
	r.mu.Lock()
	e := &r.holding.entry
	if r.holding.token.IsZero() { // the user has logged out meanwhile
		r.mu.Unlock()
		return
	}
	changed := e.Stage != ledger.Current
	e.Stage, e.Files = ledger.Current, nil
	for _, s := range states {
		if s.Err == nil {
			e.Files = append(e.Files, s.Name)
		}
	}
	entry := *e
	r.mu.Unlock()
	if changed {
		r.record(entry)
	}
}
