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

// rotation is one rotation: who asked for it, what its steps hand on to one another,
// and how it ended.
type rotation struct {
	*Rotator
	request
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it has ended: result and err don't change after that
	result Rotation
	err    error

	old     credential // the token to be replaced
	minter  principal
	byOther bool       // the minter isn't the old token
	fresh   credential // the new token
}

// steps are what a rotation does, in this order, each recorded in the ledger
// before the next. A step that fails ends the rotation; then the old token stays
// in use, and what was minted is in the queue. The last one publishes, writes and retires.
var steps = []func(*rotation, context.Context) error{
	(*rotation).chooseMinter,
	(*rotation).preflight,
	(*rotation).mint,
	(*rotation).probe,
	(*rotation).putIntoUse,
}

func (o *rotation) takeSteps(ctx context.Context) error {
	for _, step := range steps {
		if err := step(o, ctx); err != nil {
			return err
		}
	}
	return nil
}

// chooseMinter sets who mints: the token in use, or, if that is dead, whoever else
// can.
func (o *rotation) chooseMinter(ctx context.Context) error {
	s := o.chain.State()
	if s.Phase == phaseReady && !s.Current.Is(o.old) {
		return errReplaced
	}
	o.byOther = s.Phase != phaseReady || o.dead != nil
	if !o.byOther {
		o.minter = o.authority.actingWith(o.old.Token)
		return nil
	}
	if by, ok := o.otherMinter(ctx); ok {
		o.minter = by
		return nil
	}
	if o.dead != nil {
		return o.chain.MarkDead(o.old, o.dead)
	}
	return s.Err
}

// otherMinter returns who mints when the token in use is dead: an old one that lives
// still, or the mint profile.
func (o *rotation) otherMinter(ctx context.Context) (principal, bool) {
	if t := o.livingOld(ctx); !t.IsZero() {
		return o.authority.actingWith(t), true
	}
	if o.cfg.MintAs == nil {
		return principal{}, false
	}
	by := principal{Session: o.cfg.MintAs}
	by.user = cmp.Or(o.authority.User(context.WithoutCancel(ctx), by), unknownMinter)
	return by, true
}

// livingOld returns the newest token in the queue that is of the user of the token in use
// and that the workspace takes, zero if there is none.
func (r *Rotator) livingOld(ctx context.Context) pat.Token {
	s := r.chain.State()
	if s.Phase == phaseLoggedOut { // the user has given all of them up
		return pat.Token{}
	}
	user := s.Current.Entry.User
	for _, old := range slices.Backward(r.queue.Items()) {
		if old.Token.IsZero() || old.Entry.User != user || !old.Entry.Host.Same(r.host()) || r.schedule.WhyNotAsked() != nil {
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
	profile, agents := o.files.Check()
	err := errors.Join(agents, o.checkProfileOurs())
	if profile != nil {
		err = fmt.Errorf("%w: %w", errPreflight, profile)
	} else {
		err = o.unlessTimeIsShort(err)
	}
	if err != nil && (o.dead != nil || o.confirmDead(ctx, o.old, err)) {
		return o.chain.MarkDead(o.old, err)
	}
	return err
}

// errPreflight is what a rotation ends with that has minted nothing since something on
// this machine has to be mended first.
var errPreflight = errors.New("nothing was minted")

// unlessTimeIsShort returns why nothing is minted although err could be borne, nil once
// time is short.
func (o *rotation) unlessTimeIsShort(err error) error {
	switch {
	case err == nil:
		return nil
	case !o.timeIsShort():
		return fmt.Errorf("%w, and there is time to mend it: %w", errPreflight, err)
	}
	o.cfg.Log.Warn("something can't be written and time is short: rotating without it", "err", err)
	return nil
}

// checkProfileOurs returns an error if the profile holds a token that isn't patrol's to
// replace.
func (o *rotation) checkProfileOurs() error {
	f, there, err := o.observeProfile()
	switch {
	case err != nil:
		return fmt.Errorf("reading the profile: %w", err)
	case !there, f.known, o.mayReplace(f.token.Hash()):
		return nil
	}
	return fmt.Errorf("%s holds %w: it is used once the workspace takes it, and replaced once the workspace calls it invalid; or take it out", f.sources[0], pat.ErrForeign)
}

// timeIsShort reports whether less than a quarter of the old token's life is left.
// A token that was found may live for months: nobody waits that long.
func (o *rotation) timeIsShort() bool {
	const part = 4
	if o.byOther {
		return true // that token is dead
	}
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
	if err != nil && !o.byOther && o.confirmDead(ctx, o.old, err) {
		o.dead = err
		if err = o.chooseMinter(ctx); err == nil {
			err = o.mintBy(ctx)
		}
	}
	if err != nil && o.dead != nil && !errors.Is(err, errReplaced) {
		_ = o.chain.MarkDead(o.old, o.dead)
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
			o.queue.Add(credential{Entry: e}, nil)
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
	o.rotations.minting.Store(e.Nonce)
	if err := o.cfg.Ledger.Locked(); err != nil {
		return e, fmt.Errorf("nothing was minted, since another patrol may be using the state folder: %w", err)
	}
	// If it can't be written the comment says whose the token is, and the ledger writes
	// the entry later.
	err := o.unlessTimeIsShort(o.cfg.Ledger.Put(e))
	if err != nil {
		_ = o.cfg.Ledger.Put(asNeverMinted(e))
	}
	return e, err
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
	unlock, err := r.queue.LockEnding(ctx)
	if err != nil {
		return false
	}
	defer unlock()
	for _, old := range r.queue.Items() {
		e := old.Entry
		if old.Drained.IsZero() || e.ID == "" || e.ID == by.id || !e.Host.MaySame(r.host()) || r.reasonToLeave(e) != "" || r.purgeFromFiles(e) != nil {
			continue
		}
		if r.authority.Revoke(ctx, by, e) == nil {
			room = true
		}
	}
	return room
}

// probe makes sure that the new token works before anyone gets it. One that doesn't is
// put into the queue. A token may take a moment to be known everywhere, so it has a
// few tries; but if the workspace gives no answer, it is asked once more only.
func (o *rotation) probe(ctx context.Context) error {
	const tries, silentTries = 5, 2
	silent := 0
	_, err := backoff.Retry(ctx, func() (alive bool, err error) {
		switch alive, err = o.authority.Alive(ctx, o.fresh.Token); {
		case err != nil:
			if silent++; silent == silentTries {
				err = backoff.Permanent(err)
			}
		case !alive:
			err = errors.New("the workspace doesn't take it")
		}
		return alive, err
	}, backoff.WithBackOff(retries(4*time.Second)), backoff.WithMaxTries(tries))
	if err != nil {
		o.queue.Add(o.fresh, nil)
		return fmt.Errorf("the new token was given up: %w", err)
	}
	o.recordStage(ledger.Probed)
	return nil
}

// recordStage records how far the new token has come.
func (o *rotation) recordStage(stage ledger.Stage) {
	o.fresh.Entry.Stage = stage
	o.record(o.fresh.Entry)
}

// putIntoUse puts the new token into use.
func (o *rotation) putIntoUse(context.Context) (err error) {
	o.recordStage(ledger.Published)
	if o.byOther {
		o.schedule.Postpone(otherMint, forcedEvery)
	}
	o.result.Files, err = o.use(o.fresh, &o.old)
	return err
}

// use makes a token the one in use: it is published, written into the files if patrol
// minted it (else the next one is, in a moment), and what was in use is put into the
// queue. A file that can't be written is tried again while the Rotator runs. replaces is
// as for chain.Use; after an error it is next that is in the queue.
func (r *Rotator) use(next credential, replaces *credential) (written []FileInfo, err error) {
	old, drained, err := r.chain.Use(next, replaces)
	r.schedule.Forget(rotating, openMints, ledgerGaps) // the new token may be allowed more
	if err != nil {
		if next.Entry.Ours() {
			r.queue.Add(next, nil)
		}
		return nil, err
	}
	if old.Phase == phaseLoggedOut {
		_ = r.cfg.Ledger.LogIn()
	}
	if next.Entry.Ours() {
		written = r.writeFiles()
	}
	if replaced := old.Current; !replaced.IsZero() && !replaced.Token.Same(next.Token) {
		r.queue.Add(replaced, drained)
	}
	return written, nil
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
