package rotator

import (
	"cmp"
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

// Rotation is what one rotation did.
type Rotation struct {
	Reason string
	Began  time.Time
	Took   time.Duration
	Old    pat.Token  // the token that was replaced
	Token  pat.Token  // the one that replaced it; zero if the rotation failed
	Files  []FileInfo // how each credential file fared
	Joined bool       // it was under way already when it was asked for

	// Of Login only: whose the token is, and whose the one before it was;
	// "" where that isn't known.
	User, UserBefore string
}

// rotation is a rotation under way: what its steps hand on to one another.
type rotation struct {
	*Rotator
	old     Credential // the token to be replaced
	dead    error      // why it is dead; nil if it may live
	minter  principal
	byOther bool       // the minter isn't the old token
	byUser  bool       // who has reason to think that it works now
	fresh   Credential // the new token
	files   []FileInfo

	replaced Credential      // what was in use until fresh was published
	drained  <-chan struct{} // when its requests have drained
}

// steps are what a rotation does, in this order, each recorded in the ledger
// before the next. A step that fails ends the rotation; then the old token stays
// in use, and what was minted is in the queue.
var steps = []func(*rotation, context.Context) error{
	(*rotation).preflight,
	(*rotation).mint,
	(*rotation).probe,
	(*rotation).publish,
	(*rotation).write,
	(*rotation).retire,
}

// run takes the steps.
func (o *rotation) run(ctx context.Context) (err error) {
	if o.minter, err = o.chooseMinter(ctx); err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(o, ctx); err != nil {
			return err
		}
	}
	return nil
}

// chooseMinter returns who mints: the token in use, or, if that is dead, whoever else
// can.
func (o *rotation) chooseMinter(ctx context.Context) (principal, error) {
	s := o.chain.State()
	if s.Phase == Ready && !s.Current.Is(o.old) {
		return principal{}, errReplaced
	}
	if s.Phase == Ready && o.dead == nil {
		return o.authority.actingWith(o.old.Token), nil
	}
	if by, ok := o.otherMinter(ctx); ok {
		return by, nil
	}
	if o.dead != nil {
		return principal{}, o.chain.Die(o.old, o.dead)
	}
	return principal{}, s.Err
}

// otherMinter returns who mints when the token in use is dead: an old one that lives
// still, or the mint profile.
func (o *rotation) otherMinter(ctx context.Context) (principal, bool) {
	o.byOther = true
	if t := o.livingOld(ctx); !t.IsZero() {
		return o.authority.actingWith(t), true
	}
	if o.cfg.MintAs == nil {
		return principal{}, false
	}
	by := principal{Session: o.cfg.MintAs, userKnown: true}
	by.user = cmp.Or(o.authority.User(context.WithoutCancel(ctx), by), unknownMinter)
	return by, true
}

// livingOld returns the newest token in the queue that is of the user of the token in use
// and that the workspace takes, zero if there is none.
func (r *Rotator) livingOld(ctx context.Context) pat.Token {
	s := r.chain.State()
	if s.Phase == LoggedOut { // the user has given all of them up
		return pat.Token{}
	}
	user := s.Current.Entry.User
	for _, old := range slices.Backward(r.queue.Items()) {
		if old.Token.IsZero() || old.Entry.User != user || !old.Entry.Host.Same(r.host()) {
			continue
		}
		if alive, err := r.authority.Alive(ctx, old.Token); alive && err == nil {
			return old.Token
		}
	}
	return pat.Token{}
}

// preflight makes sure, before anything is minted, that the new token can be
// written. A broken agent file delays a mint until a quarter of the old token's
// life is left; then it is left out.
func (o *rotation) preflight(ctx context.Context) error {
	profile, agents := o.Rotator.files.Check()
	agents = errors.Join(agents, o.refuseForeignProfile())
	switch {
	case profile != nil:
		return o.dieIfDead(ctx, o.old, &preflightError{fmt.Errorf("nothing was minted: %w", profile)})
	case agents == nil:
		return nil
	case !o.timeIsShort():
		return o.dieIfDead(ctx, o.old, &preflightError{fmt.Errorf("nothing was minted, and there is time to mend it: %w", agents)})
	}
	o.cfg.Log.Warn("a credential file can't be written and time is short: rotating without it", "err", agents)
	return nil
}

// refuseForeignProfile returns an error if the profile holds a token that isn't patrol's to
// replace.
func (o *rotation) refuseForeignProfile() error {
	f, there, err := o.noteProfileToken()
	switch {
	case err != nil:
		return fmt.Errorf("reading the profile: %w", err)
	case !there, f.known, o.mayReplace(f.token.Hash()):
		return nil
	}
	return fmt.Errorf("%s holds %w: it is used once the workspace takes it, and replaced once the workspace calls it invalid; or take it out", f.sources[0], pat.ErrForeign)
}

// preflightError says why nothing was minted before the workspace was asked.
type preflightError struct{ error }

func (e *preflightError) Unwrap() error { return e.error }

// timeIsShort reports whether less than a quarter of the old token's life is left.
// A token that was found may live for months: nobody waits that long.
func (o *rotation) timeIsShort() bool {
	const part = 4
	life := min(o.old.Lifetime, o.cfg.Lifetime)
	left := o.old.Expiry(o.skew()).Sub(o.now())
	if !o.old.Entry.Ours() {
		left = min(left, life-time.Since(o.old.Since))
	}
	return left <= life/part
}

// mint makes a new token and records it. If the old token is found dead, another
// mints: whoever rotates once has no later try.
func (o *rotation) mint(ctx context.Context) error {
	err := o.mintBy(ctx)
	if err != nil && !o.byOther && o.provenDead(ctx, o.old, err) {
		o.dead = err
		if o.minter, err = o.chooseMinter(ctx); err != nil {
			return err
		}
		err = o.mintBy(ctx)
	}
	if err != nil && o.dead != nil && !errors.Is(err, errReplaced) {
		_ = o.chain.Die(o.old, o.dead)
	}
	return err
}

// mintBy makes a new token by the minter. What may have been minted and can't be
// used is left in the queue, to be revoked.
func (o *rotation) mintBy(ctx context.Context) error {
	if err := o.limitUncertain(ctx); err != nil {
		return err
	}
	e, err := o.intend()
	if err != nil {
		return err
	}
	before := o.now()
	t, info, err := o.create(ctx, e)
	if err != nil {
		if errors.Is(err, workspace.ErrUncertain) {
			o.queue.Add(Credential{Entry: e}, nil)
		} else {
			o.record(asNeverMinted(e))
		}
		return fmt.Errorf("minting: %w", err)
	}
	if info.Created.IsZero() {
		info.Created = info.Expiry.Add(-o.lifeFrom(before, info.Expiry))
	}
	info.Scopes = e.Scopes
	e.Stage, e.Hash, e.Info = ledger.Minted, t.Hash(), info
	o.fresh = newCredential(t, e, o.cfg.Lifetime)
	o.fresh.Entry.LocalExpiry, o.fresh.Minted = before.Add(o.fresh.Lifetime), o.fresh.Since
	o.record(o.fresh.Entry)
	return nil
}

// intend records that a token is about to be minted.
func (o *rotation) intend() (ledger.Entry, error) {
	e := ledger.Entry{Nonce: o.cfg.Ledger.NewNonce(), Stage: ledger.Intended, Host: o.host(), User: o.minter.user}
	e.Comment, e.Scopes = pat.Comment(o.cfg.Ledger.Instance(), e.Nonce), o.old.Entry.Scopes
	e.At = o.now() // Put sets that of its own copy, and this one may go into the queue
	o.rotations.setMinting(e.Nonce)
	if err := o.cfg.Ledger.Locked(); err != nil {
		return e, fmt.Errorf("nothing was minted, since another patrol may be using the state folder: %w", err)
	}
	err := o.cfg.Ledger.Put(e)
	switch {
	case err == nil:
		return e, nil
	case o.timeIsShort():
		// The comment says whose the token is, and the ledger writes the entry later.
		o.cfg.Log.Warn("the ledger can't be written and time is short: rotating without it", "err", err)
		return e, nil
	}
	_ = o.cfg.Ledger.Put(asNeverMinted(e))
	return e, fmt.Errorf("nothing was minted, and there is time to mend it: %w", err)
}

// create asks for the token that e intends. If the workspace has no room for it,
// what is used by nobody is revoked without waiting for its grace.
func (o *rotation) create(ctx context.Context, e ledger.Entry) (pat.Token, pat.Info, error) {
	req := workspace.MintRequest{Lifetime: o.cfg.Lifetime, Comment: e.Comment, Scopes: e.Scopes}
	t, info, err := o.minter.Mint(ctx, req)
	if errors.Is(err, workspace.ErrQuota) && o.revokeForQuota(ctx, o.minter) {
		t, info, err = o.minter.Mint(ctx, req)
	}
	if errors.Is(err, workspace.ErrLifetime) {
		err = fmt.Errorf("asking for %v: %w; ask for less with --lifetime", o.cfg.Lifetime, err)
	}
	return t, info, err
}

// revokeForQuota revokes what is in the queue and used by nobody, without waiting
// for its grace. It reports whether there is room for another token now.
func (r *Rotator) revokeForQuota(ctx context.Context, by principal) (room bool) {
	if r.ledgerUnwritten() != nil {
		return false
	}
	for _, old := range r.queue.Items() {
		e := old.Entry
		if old.Drained.IsZero() || e.ID == "" || e.ID == by.id || !e.Host.MaySame(r.host()) || r.notOurs(e) != "" || r.purgeFromFiles(e) != nil {
			continue
		}
		if r.authority.Revoke(ctx, by, e) == nil {
			room = true
		}
	}
	return room
}

// probe makes sure that the new token works before anyone gets it. One that
// doesn't is revoked. A token may take a moment to be known everywhere, so it has a
// few tries.
func (o *rotation) probe(ctx context.Context) error {
	const tries = 5
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		alive, err := o.authority.Alive(ctx, o.fresh.Token)
		if err == nil && !alive {
			err = errors.New("the workspace doesn't take it")
		}
		return struct{}{}, err
	}, backoff.WithBackOff(retries(4*time.Second)), backoff.WithMaxTries(tries))
	if err == nil {
		o.recordStage(ledger.Probed)
		return nil
	}
	err = fmt.Errorf("the new token was given up: %w", err)
	if o.ledgerUnwritten() != nil || o.authority.Revoke(ctx, o.minter, o.fresh.Entry) != nil {
		o.queue.Add(o.fresh, nil)
		return err
	}
	o.record(withEnd(o.fresh.Entry, ledger.Revoked, "it did not work"))
	return err
}

// recordStage records how far the new token has come.
func (o *rotation) recordStage(stage ledger.Stage) {
	o.fresh.Entry.Stage = stage
	o.record(o.fresh.Entry)
}

// publish makes the new token the one in use.
func (o *rotation) publish(context.Context) (err error) {
	o.recordStage(ledger.Published)
	if o.byOther {
		o.refusals.setMinted(o.now())
	}
	if o.replaced, o.drained, err = o.use(o.fresh, &o.old); err != nil {
		o.queue.Add(o.fresh, nil)
	}
	return err
}

// write writes the credential files. One that can't be written is tried again
// while the Rotator runs.
func (o *rotation) write(context.Context) error {
	o.files = o.writeFiles()
	return nil
}

// retire puts the token that was in use into the queue.
func (o *rotation) retire(context.Context) error {
	o.retireReplaced(o.replaced, o.fresh, o.drained)
	return nil
}

// use makes a token the one in use, and returns the one that was, and when its
// requests have drained. replaces is as for Chain.Use.
func (r *Rotator) use(next Credential, replaces *Credential) (replaced Credential, drained <-chan struct{}, err error) {
	old, drained, err := r.chain.Use(next, replaces)
	if err == nil && old.Phase == LoggedOut {
		r.logUnsaved(r.cfg.Ledger.LogIn())
	}
	r.queue.AskAboutMints() // the new token may be allowed to ask
	return old.Current, drained, err
}

// retireReplaced puts a token into the queue that next has replaced.
func (r *Rotator) retireReplaced(old, next Credential, drained <-chan struct{}) {
	if !old.IsZero() && !old.Token.Same(next.Token) {
		r.queue.Add(old, drained)
	}
}

// provenDead reports whether the workspace calls a token invalid. It is asked only where
// the error or the clock suggests that, and not where it has just failed to answer.
func (r *Rotator) provenDead(ctx context.Context, c Credential, err error) bool {
	silent := errors.Is(err, workspace.ErrUncertain) || errors.Is(err, workspace.ErrUnreachable)
	suspect := errors.Is(err, workspace.ErrInvalidToken) || r.now().After(c.Expiry(r.skew())) && !silent
	if !suspect || c.IsZero() {
		return false
	}
	alive, doubt := r.authority.Alive(ctx, c.Token)
	return !alive && doubt == nil
}

// dieIfDead ends the chain if the token in use is dead.
func (r *Rotator) dieIfDead(ctx context.Context, c Credential, err error) error {
	if r.provenDead(ctx, c, err) {
		return r.chain.Die(c, err)
	}
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
