package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspace"
)

// ConflictError says that this machine holds two tokens that work, and that
// nothing tells which of them to use.
type ConflictError struct {
	Host          string
	First, Second string // where they were found
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("%s and %s hold two different tokens for %s, and both work: "+
		"unset the variable to use the file's, or take the token out of the file to use the variable's, or name another profile with --profile",
		e.First, e.Second, e.Host)
}

// inUse is where the token in use was found: in memory.
const inUse = "patrol's memory"

// fromLogin is where a token was found that a person brought.
const fromLogin = "login"

// found is a token that stands on this machine, at one place or more.
type found struct {
	token   pat.Token
	sources []string
	pinned  bool // one of the places can't be rewritten
	inFile  bool // one of the places is the profile
	brought bool // by a person, to be used
	entry   ledger.Entry
	known   bool   // the ledger has it
	user    string // whose it is; "" where that isn't known
}

// Start finds the token to start with, hands it to the proxy, and puts what
// an earlier run has left over into the queue. In this order it tries: the
// profile's, if the ledger knows it; the environment's; the profile's.
//
// The error wraps ErrNeedsLogin if there is no token or the workspace takes
// none of them; it is a *ConflictError if nothing tells which to use. Any
// other error (no network, a file that can't be read) may pass by itself: Run
// goes on trying.
func (r *Rotator) Start(ctx context.Context) error {
	return r.adopt(ctx, false)
}

// adopt looks for a token and makes it the current one. With ask set, the
// workspace is asked even about a token that the ledger says is fresh.
func (r *Rotator) adopt(ctx context.Context, ask bool) error {
	held := r.held()
	all, err := r.look()
	if err == nil {
		all = slices.DeleteFunc(all, r.barred)
		var choice found
		if choice, err = r.choose(ctx, all, ask); err == nil {
			return r.take(ctx, choice)
		}
	}
	return r.stuck(held, err)
}

// stuck records why there is no token, unless another than old was found
// meanwhile or the user has logged out, and returns what is recorded.
func (r *Rotator) stuck(old holding, why error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding.entry.Nonce == old.entry.Nonce {
		r.problem = why
	}
	return r.problem
}

// look returns the tokens on this machine, each value once. The one in use
// is among them even if no file holds it.
func (r *Rotator) look() ([]found, error) {
	candidates, err := r.cfg.Candidates()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	if t := r.holding.token; !t.IsZero() {
		candidates = append(candidates, Candidate{Source: inUse, Rewritten: true, Token: t})
	}
	r.mu.Unlock()
	var all []found
	for _, c := range candidates {
		i := slices.IndexFunc(all, func(f found) bool { return f.token.Same(c.Token) })
		if i < 0 {
			f := found{token: c.Token}
			f.entry, f.known = r.cfg.Ledger.ByHash(c.Token.Hash())
			i, all = len(all), append(all, f)
		}
		all[i].sources = append(all[i].sources, c.Source)
		all[i].pinned = all[i].pinned || !c.Rewritten
		all[i].inFile = all[i].inFile || c.Rewritten
	}
	return all, nil
}

// choose returns the token to start with.
func (r *Rotator) choose(ctx context.Context, all []found, ask bool) (found, error) {
	slices.SortStableFunc(all, func(a, b found) int { return a.rank() - b.rank() })
	var works []found
	var doubt error
	for _, f := range all {
		if f.ours() && !ask && f.entry.Host.Same(r.host()) && f.entry.Until.After(r.now()) {
			return f, nil
		}
		alive, err := r.inspect(ctx, &f)
		switch {
		case err != nil:
			doubt = fmt.Errorf("asking %s whether the token from %s works: %w", r.host(), strings.Join(f.sources, " and "), err)
		case alive && f.ours():
			return f, nil
		case alive:
			works = append(works, f)
		}
	}
	switch {
	case len(works) == 1 && doubt == nil, len(works) > 0 && !works[0].pinned:
		return works[0], nil
	case len(works) > 1:
		return found{}, &ConflictError{Host: r.host().String(), First: works[0].sources[0], Second: works[1].sources[0]}
	case doubt != nil:
		return found{}, doubt
	}
	return found{}, r.needsLogin(all)
}

// ours reports whether it is the token that patrol itself put in the profile.
func (f found) ours() bool { return f.known && f.inFile && !f.entry.Stage.Ended() }

// rank is the order in which tokens are tried.
func (f found) rank() int {
	switch {
	case f.ours():
		return 0
	case f.pinned:
		return 1
	}
	return 2
}

// inspect asks the workspace whether the token works, and what it is.
func (r *Rotator) inspect(ctx context.Context, f *found) (alive bool, err error) {
	list, err := r.list(ctx, actor{Session: r.cfg.Workspace.As(f.token), id: f.entry.ID})
	switch {
	case errors.Is(err, workspace.ErrInvalidToken):
		return false, nil
	case errors.Is(err, workspace.ErrPermission):
		return true, nil // a narrowly scoped token may not list
	case err != nil:
		return false, err
	}
	for _, t := range list {
		if t.ID != "" && t.ID == f.token.Hash() || f.known && t.ID == f.entry.ID {
			f.token.ID, f.token.Comment, f.token.Scopes = t.ID, t.Comment, t.Scopes
			f.token.Created, f.token.Expiry = t.Created, t.Expiry
		}
	}
	return true, nil
}

// needsLogin says what was tried and what to do.
func (r *Rotator) needsLogin(all []found) error {
	if len(all) == 0 && r.isOut() {
		return r.loggedOut()
	}
	if len(all) == 0 {
		return fmt.Errorf("%w for %s: there is none in the environment or the profile; run `patrol login`, or put a token into the profile", ErrNeedsLogin, r.host())
	}
	var sources []string
	for _, f := range all {
		for _, source := range f.sources {
			if source != inUse || len(all) == 1 && len(f.sources) == 1 {
				sources = append(sources, source)
			}
		}
	}
	return fmt.Errorf("%w: %s refuses the one from %s as invalid, revoked or expired; run `patrol login`, or put a new token into the profile",
		ErrNeedsLogin, r.host(), strings.Join(sources, " and the one from "))
}

// refusedError says that the workspace doesn't take a token that was brought.
type refusedError string

func (e refusedError) Error() string { return string(e) }
func (e refusedError) Unwrap() error { return ErrNeedsLogin }

// take makes a token that was found the current one.
func (r *Rotator) take(ctx context.Context, f found) error {
	r.taking.Lock()
	defer r.taking.Unlock()
	f.entry, f.known = r.cfg.Ledger.ByHash(f.token.Hash()) // a Logout may have come between
	if r.barred(f) {
		return r.loggedOut()
	}
	e := f.entry
	if begun, ours := r.begun(f.token); ours && !f.known {
		e = begun
	} else if !f.known {
		e = ledger.Entry{Nonce: ledger.NewNonce(), Hash: f.token.Hash(), Found: f.sources}
	}
	if f.token.ID != "" {
		e.ID, e.Comment, e.Scopes, e.Created, e.Expiry = f.token.ID, f.token.Comment, f.token.Scopes, f.token.Created, f.token.Expiry
	} else {
		f.token.ID, f.token.Comment, f.token.Scopes, f.token.Created, f.token.Expiry = e.ID, e.Comment, e.Scopes, e.Created, e.Expiry
	}
	e.User = cmp.Or(f.user, e.User)
	if e.User == "" && !f.known && !e.Ours() {
		e.User = cmp.Or(r.userOf(ctx, r.as(f.token)), nobody+e.Nonce)
	}
	if e.Until.After(e.Expiry) {
		e.Until = e.Expiry // the clock may have been set since it was noted
	}
	e.Pinned = e.Pinned || f.pinned
	e.Stage, e.Host = ledger.Current, r.host() // which has taken it
	if err := r.cfg.Ledger.Put(e); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	fresh := holding{token: f.token, entry: e, since: time.Now()}
	r.log.Info("using a token", "token", f.token, "from", f.sources, "ours", e.Ours(), "expires", r.expiry(fresh))
	r.unqueue(e.Nonce)
	if e.Ours() {
		_, err := r.install(ctx, fresh)
		r.settle()
		return err
	}
	old, drained, err := r.use(fresh)
	if err != nil {
		return err
	}
	if !old.token.IsZero() && !old.token.Same(fresh.token) {
		r.enqueue(old, drained)
	}
	r.settle()
	return nil
}

// begun returns the entry of the mint that made t, where the ledger knows of no
// answer to it: the disk failed then, and patrol ended before it worked again.
func (r *Rotator) begun(t pat.Token) (ledger.Entry, bool) {
	for _, e := range r.cfg.Ledger.Pending() {
		if e.Stage == ledger.Intended && t.Comment != "" && e.Comment == t.Comment {
			e.Hash = t.Hash()
			return e, true
		}
	}
	return ledger.Entry{}, false
}

// Login makes t, which a person has brought, the current token, and rotates at
// once, so that the token that was typed somewhere needn't live on. A rotation
// that is under way is ended first: it may hang on a token that is dead.
//
// The error wraps ErrNeedsLogin if the workspace doesn't take t; then nothing
// has changed. If t is taken and the rotation fails, t is in use and written
// to the files, and the rotation is tried again while the Rotator runs.
func (r *Rotator) Login(ctx context.Context, t pat.Token) (Rotation, error) {
	f := found{token: t, sources: []string{fromLogin}, inFile: true, brought: true}
	f.entry, f.known = r.cfg.Ledger.ByHash(t.Hash())
	alive, err := r.inspect(ctx, &f)
	switch {
	case err != nil:
		return Rotation{}, fmt.Errorf("asking %s whether the token works: %w", r.host(), err)
	case !alive:
		return Rotation{}, refusedError(r.host().String() + " refuses this token as invalid, revoked or expired; make one there under Settings, Developer, Access tokens")
	}
	f.user = r.userOf(ctx, r.as(t))
	r.mu.Lock()
	flight, before := r.flight, r.holding
	r.mu.Unlock()
	userBefore := userName(before.entry)
	if userBefore == "" && !before.token.IsZero() {
		userBefore = r.userOf(ctx, r.as(before.token))
	}
	if userBefore != "" && f.user != "" && f.user != userBefore {
		r.log.Warn("the new token is another user's", "user", f.user, "before", userBefore)
	}
	if flight != nil {
		flight.cancel(errors.New("a new token was brought by patrol login"))
		<-flight.done
	}
	if err := r.take(ctx, f); err != nil {
		return Rotation{}, err
	}
	rotation, err := r.begin(ctx, need{reason: "login"})
	rotation.User, rotation.UserBefore = f.user, userBefore
	if err != nil {
		rotation.Files = r.files.put(r.Current)
		r.written(rotation.Files)
	}
	return rotation, err
}

// userOf asks for whom as acts; "" if that can't be had now.
func (r *Rotator) userOf(ctx context.Context, as actor) string {
	const patience = 5 * time.Second // it is good to know, and no more
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	user, err := as.Me(ctx)
	if err != nil {
		r.log.Debug("whose a token is can't be had", "token", pat.ShortID(as.id), "err", err)
	}
	return user
}

// settle puts into the queue what the ledger has from earlier runs, and what it
// has taken over: tokens that were replaced and not yet revoked, tokens whose
// rotation was cut off, and mints whose answer never came. The caller holds
// r.taking.
func (r *Rotator) settle() {
	here, _ := r.look() // without it: they are revoked with the token in use
	for _, e := range r.cfg.Ledger.Pending() {
		if r.inHand(e.Nonce) {
			continue
		}
		h := holding{entry: e}
		if i := slices.IndexFunc(here, func(f found) bool { return f.token.Hash() == e.Hash }); i >= 0 {
			h.token = here[i].token
			h.token.ID = e.ID
		}
		r.enqueue(h, nil)
	}
}

// lost records that the workspace refuses the token in use: nothing that it
// could do works any more. The proxy is told to send nothing with it.
func (r *Rotator) lost(ctx context.Context, old holding, why error) error {
	err := fmt.Errorf("%w: %s refuses the one in use (%v) as invalid, revoked or expired, so it can't mint the next one; run `patrol login`, or put a new token into the profile: %w",
		ErrNeedsLogin, r.host(), old.token, why)
	r.turn.Lock()
	defer r.turn.Unlock()
	if held := r.held(); !held.token.Same(old.token) {
		return err // another has taken its place meanwhile
	}
	// The proxy first: who is told that there is a problem may rely on it that
	// no request is sent with the dead token any more.
	if _, perr := r.publish(ctx, pat.Token{Host: r.host()}); perr != nil {
		r.log.Error("the proxy could not be told that there is no token", "err", perr)
	}
	r.mu.Lock()
	first := r.problem == nil
	r.problem = err
	r.mu.Unlock()
	if first {
		r.log.Error("the token in use is dead", "token", old.token, "err", err)
	}
	wake(r.kick)
	return err
}
