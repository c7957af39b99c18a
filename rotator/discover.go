package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

// ErrConflict is wrapped by Start's error if nothing tells which of two tokens to use.
var ErrConflict = errors.New("two different tokens, and both work")

// inUse is where the token in use was found: in memory.
const inUse = "patrol's memory"

// fromLogin is where a token was found that a person brought.
const fromLogin = "login"

// discovery is what is remembered of tokens that turned up on this machine.
type discovery struct {
	profile profileWatch
	warned  sync.Map // what was last warned about, by the warning

	// adoptMu has adopting a token and logging out exclude each other. It is held
	// over network calls, a minute at most; no request waits for it. It is taken
	// before every other lock. It guards all below.
	adoptMu            sync.Mutex
	lastUntrackedAdopt time.Time // when a token was last adopted whose id the workspace didn't tell
}

// candidate is a token that stands on this machine, at one place or more.
type candidate struct {
	token   pat.Token
	sources []string
	pinned  bool // one of the places can't be rewritten
	inFile  bool // one of the places is the profile
	brought bool // by a person, to be used
	entry   ledger.Entry
	known   bool     // the ledger has it
	info    pat.Info // what the workspace says of it; zero if it doesn't tell
	user    string   // whose it is; "" where that isn't known
}

// Start finds the token to start with, hands it to the proxy, and puts what
// an earlier run has left over into the queue. In this order it tries: the
// profile's, if the ledger knows it; the environment's; the profile's.
//
// The error wraps ErrNeedsLogin if there is no token or the workspace takes
// none of them; it wraps ErrConflict if nothing tells which to use. Any
// other error (no network, a file that can't be read) may pass by itself: Run
// goes on trying.
func (r *Rotator) Start(ctx context.Context) error { return r.pickToken(ctx, false) }

// pickToken looks for a token and makes it the one in use. With ask set, the
// workspace is asked even about a token that the ledger says is fresh.
func (r *Rotator) pickToken(ctx context.Context, ask bool) error {
	before := r.chain.State()
	all, err := r.candidates()
	if err != nil {
		return r.chain.Fail(before, err)
	}
	choice, err := r.choose(ctx, slices.DeleteFunc(all, r.blockedByLogout), ask)
	if err != nil {
		return r.chain.Fail(before, err)
	}
	_, err = r.adopt(ctx, choice)
	return err
}

// candidates returns the tokens on this machine, each value once. The one in use
// is among them even if no file holds it.
func (r *Rotator) candidates() ([]candidate, error) {
	found, err := r.cfg.Candidates()
	if err != nil {
		return nil, err
	}
	if t := r.chain.State().Current.Token; !t.IsZero() {
		found = append(found, Candidate{Source: inUse, Rewritten: true, Token: t})
	}
	var all []candidate
	for _, c := range found {
		i := slices.IndexFunc(all, func(f candidate) bool { return f.token.Same(c.Token) })
		if i < 0 {
			f := candidate{token: c.Token}
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
func (r *Rotator) choose(ctx context.Context, all []candidate, ask bool) (candidate, error) {
	slices.SortStableFunc(all, candidate.compare)
	var works []candidate
	var doubt error
	for _, f := range all {
		if f.ours() && !ask && f.entry.Host.Same(r.host()) && f.entry.LocalExpiry.After(r.now()) {
			return f, nil
		}
		alive, err := false, r.schedule.WhyNotAsked()
		if err == nil || !ask {
			alive, err = r.inspect(ctx, &f)
		}
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
		return candidate{}, fmt.Errorf("%s and %s hold %w on %s: unset the variable to use the file's, or take the token out of the file to use the variable's, or name another profile with --profile",
			works[0].sources[0], works[1].sources[0], ErrConflict, r.host())
	case doubt != nil:
		return candidate{}, doubt
	}
	return candidate{}, r.needsLogin(all)
}

// ours reports whether it is the token that patrol itself put in the profile.
func (f candidate) ours() bool { return f.known && f.inFile && !f.entry.Stage.Ended() }

// rank is the order in which tokens are tried.
func (f candidate) rank() int {
	switch {
	case f.ours():
		return 0
	case f.pinned:
		return 1
	}
	return 2
}

func (f candidate) compare(o candidate) int { return f.rank() - o.rank() }

// inspect asks the workspace whether the token works, and what it is.
func (r *Rotator) inspect(ctx context.Context, f *candidate) (alive bool, err error) {
	list, alive, err := r.authority.ListAlive(ctx, f.token)
	for _, t := range list {
		if t.ID != "" && t.ID == f.token.Hash() || f.known && t.ID == f.entry.ID {
			f.info, f.token.ID = t, t.ID
		}
	}
	return alive, err
}

// needsLogin says what was tried and what to do.
func (r *Rotator) needsLogin(all []candidate) error {
	if len(all) == 0 && r.chain.State().Phase == phaseLoggedOut {
		return r.loggedOutError()
	}
	if len(all) == 0 {
		return fmt.Errorf("%w for %s: there is none in the environment or the profile; run `patrol login`, or put a token into the profile", ErrNeedsLogin, r.host())
	}
	var sources []string
	for _, f := range all {
		sources = append(sources, f.sources...)
	}
	sources = slices.DeleteFunc(sources, func(source string) bool { return source == inUse })
	return fmt.Errorf("%w: %s refuses the one from %s as invalid, revoked or expired; run `patrol login`, or put a new token into the profile",
		ErrNeedsLogin, r.host(), cmp.Or(strings.Join(sources, " and the one from "), inUse))
}

// adopt makes a token that was found the one in use, and returns it.
func (r *Rotator) adopt(ctx context.Context, f candidate) (credential, error) {
	r.discovery.adoptMu.Lock()
	defer r.discovery.adoptMu.Unlock()
	if r.blockedByLogout(f) { // which may have come between
		return credential{}, r.loggedOutError()
	}
	before := f.entry.Stage
	e, _ := r.cfg.Ledger.ByHash(f.token.Hash())
	if err := r.queue.TakeBack(ctx, e.Nonce); err != nil {
		return credential{}, err
	}
	if f.entry, f.known = r.cfg.Ledger.ByHash(f.token.Hash()); f.entry.Stage == ledger.Revoked && before != ledger.Revoked {
		return credential{}, refusedError("patrol has just revoked this token on " + r.host().String() + ", as it had been replaced: bring another")
	}
	e = r.adoptedEntry(ctx, f)
	r.record(e)
	f.token.ID = e.ID
	next := newCredential(f.token, e, r.cfg.Lifetime)
	r.cfg.Log.Info("using a token", "token", f.token, "from", f.sources, "ours", e.Ours(), "expires", next.Expiry(r.skew()))
	r.queue.Remove(e.Nonce)
	if _, err := r.use(next, nil); err != nil {
		return credential{}, err
	}
	here, _ := r.candidates() // without it: they are revoked with the token in use
	r.enqueuePending(here)
	return next, nil
}

// adoptedEntry is the ledger's entry of a token that comes into use.
func (r *Rotator) adoptedEntry(ctx context.Context, f candidate) ledger.Entry {
	e := f.entry
	if !f.known {
		e = r.newEntry(f)
	}
	if f.info.ID != "" {
		created := cmp.Or(f.info.Created, e.Created)
		e.Info = f.info
		e.Created = created // a list may not tell what the mint did
	}
	e.User = cmp.Or(f.user, e.User)
	if e.User == "" && !f.known && !e.Ours() {
		e.User = cmp.Or(r.authority.User(ctx, r.authority.actingWith(f.token)), unknownUser+e.Nonce)
	}
	if e.LocalExpiry.After(e.Expiry) {
		e.LocalExpiry = e.Expiry // the clock may have been set since it was noted
	}
	e.Pinned = e.Pinned || f.pinned
	e.Stage, e.Host = ledger.Current, r.host() // which has taken it
	return e
}

// newEntry is the entry of a token that the ledger doesn't know: that of the mint that
// made it, if the ledger knows of no answer to that (the disk failed then, and patrol
// ended before it worked again), else a new one.
func (r *Rotator) newEntry(f candidate) ledger.Entry {
	for _, e := range r.cfg.Ledger.Pending() {
		if e.Stage == ledger.Intended && f.info.Comment != "" && e.Comment == f.info.Comment {
			e.Hash = f.token.Hash()
			return e
		}
	}
	return ledger.Entry{Nonce: ledger.RandomNonce(), Hash: f.token.Hash(), Found: f.sources}
}

// enqueuePending puts into the queue what the ledger has from earlier runs, and what
// it has taken over: tokens that were replaced and not yet revoked, tokens whose
// rotation was cut off, and mints whose answer never came. Those that stand on this
// machine, here, have their values. The caller holds adoptMu.
func (r *Rotator) enqueuePending(here []candidate) {
	for _, e := range r.cfg.Ledger.Pending() {
		if r.isTracked(e.Nonce) {
			continue
		}
		c := credential{Entry: e}
		if i := slices.IndexFunc(here, func(f candidate) bool { return f.token.Hash() == e.Hash }); i >= 0 {
			c.Token = here[i].token
			c.Token.ID = e.ID
		}
		r.queue.Add(c, nil)
	}
}

// isTracked reports whether this process deals with the token already: it is being
// minted, in use, about to join the queue, or in it.
func (r *Rotator) isTracked(nonce string) bool {
	s := r.chain.State()
	return nonce == s.Current.Entry.Nonce || nonce == s.Previous.Entry.Nonce || nonce == r.rotations.minting.Load() || r.queue.Has(nonce)
}

// beginUntrackedAdopt reports whether a token may be adopted now whose id the
// workspace didn't tell, and notes that it is.
func (d *discovery) beginUntrackedAdopt() bool {
	d.adoptMu.Lock()
	defer d.adoptMu.Unlock()
	if !d.lastUntrackedAdopt.IsZero() && time.Since(d.lastUntrackedAdopt) < forcedEvery {
		return false
	}
	d.lastUntrackedAdopt = time.Now()
	return true
}

// warnOnce logs a warning about something, once as long as it is the same.
func (r *Rotator) warnOnce(what, about string) {
	if before, _ := r.discovery.warned.Swap(what, about); before != about {
		r.cfg.Log.Warn(what, "about", about) //nolint:sloglint // the callers' messages are static
	}
}
