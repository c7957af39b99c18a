package rotator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"patrol/rotator/pat"
)

const (
	// profileQuiet is how long a profile must have stood as it is before patrol writes
	// over what may be half of a person's typing.
	profileQuiet = 30 * time.Second

	// verdictHolds is how long the workspace's word that a token is invalid lets patrol
	// write over it in the profile.
	verdictHolds = time.Minute

	// otherPatrolAsk is how often the workspace is asked whether another patrol's token
	// in the profile still works.
	otherPatrolAsk = 5 * time.Minute
)

// profileWatch is what is known of the token that stands in the profile.
type profileWatch struct {
	mu     sync.Mutex // guards all below; held over nothing that blocks
	hash   string     // pat.Hash of the token there; "": there is none
	since  time.Time  // since when that has been so
	hadOne bool       // a token has stood there since the start
	asked  int        // how often the workspace was asked about it
	askAt  time.Time  // when to ask again
	doubt  error      // why it isn't known whether it works; nil if it is

	permitted      string // pat.Hash of one that may be replaced although it isn't patrol's
	permittedUntil time.Time
}

// see notes what stands in the profile now.
func (w *profileWatch) see(hash string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hash == hash && !w.since.IsZero() {
		return
	}
	since := time.Now()
	if w.since.IsZero() { // it stood there before patrol started
		since = since.Add(-profileQuiet)
	}
	w.hash, w.since, w.hadOne = hash, since, w.hadOne || w.hash != ""
	w.asked, w.askAt, w.doubt = 0, time.Time{}, nil
}

// quiet reports whether nobody has changed the profile's token for a while.
func (w *profileWatch) quiet() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.since) >= profileQuiet
}

// dueToAsk reports whether the workspace is to be asked about the token there.
func (w *profileWatch) dueToAsk() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !time.Now().Before(w.askAt)
}

// askAgain notes when to ask again, and why it isn't known whether the token works.
func (w *profileWatch) askAgain(after time.Duration, doubt error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.askAt, w.doubt = time.Now().Add(after), doubt
	w.asked++
}

// askNow has the workspace asked at the next look.
func (w *profileWatch) askNow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.askAt = time.Time{}
}

func (w *profileWatch) timesAsked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// unknown returns why it isn't known whether the token there works; nil if it is.
func (w *profileWatch) unknown() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.doubt
}

// permit lets the token with this hash be replaced for a while.
func (w *profileWatch) permit(hash string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.permitted, w.permittedUntil = hash, time.Now().Add(d)
}

// permits reports whether the token with this hash may be replaced.
func (w *profileWatch) permits(hash string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return hash == w.permitted && time.Now().Before(w.permittedUntil)
}

// beingTyped returns an error as long as the profile has lost its token a moment ago: a
// person may be putting another there.
func (w *profileWatch) beingTyped() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hash != "" || !w.hadOne || time.Since(w.since) >= profileQuiet || w.permitted == "" && time.Now().Before(w.permittedUntil) {
		return nil
	}
	return fmt.Errorf("its token was taken out a moment ago: patrol's is written once nobody has put one there for %v", profileQuiet)
}

// mayReplace reports whether patrol may write over a token in the profile: the ledger
// knows it, the workspace has just called it invalid, or a login replaces it.
func (r *Rotator) mayReplace(hash string) bool {
	return r.cfg.Ledger.Knows(hash) || r.discovery.profile.permits(hash)
}

// observeProfile returns the token that stands in the profile, and notes it; false if there
// is none.
func (r *Rotator) observeProfile() (candidate, bool, error) {
	all, err := r.candidates()
	if err != nil {
		return candidate{}, false, err
	}
	i := slices.IndexFunc(all, func(f candidate) bool {
		return slices.ContainsFunc(f.sources, func(s string) bool { return s != inUse && !f.pinned })
	})
	if i < 0 {
		r.discovery.profile.see("")
		return candidate{}, false, nil
	}
	r.discovery.profile.see(all[i].token.Hash())
	return all[i], true, nil
}

// reconcileProfile looks at what stands in the profile. An old token of patrol's there is
// replaced; a token that patrol has never seen, and that works, was put there by somebody
// who wants it used.
func (r *Rotator) reconcileProfile(ctx context.Context) {
	f, there, err := r.observeProfile()
	current := r.chain.State().InUse()
	switch {
	case err != nil: // the rotation's preflight will say so
	case !there:
		if current.Entry.Ours() && r.discovery.profile.beingTyped() == nil {
			r.repairFiles() // the profile is gone, or its token is
		}
	case f.token.Same(current.Token):
	case current.IsZero():
	case f.known:
		r.cfg.Log.Info("an old token stands in the profile: writing the current one", "from", f.sources)
		r.repairFiles()
	case r.discovery.profile.dueToAsk():
		_ = r.cfg.Ledger.Save() // what another ledger in the place of ours knows is known after it
		if f.entry, f.known = r.cfg.Ledger.ByHash(f.token.Hash()); f.known {
			r.repairFiles()
			return
		}
		r.judgePasted(ctx, f)
	}
}

// judgePasted asks the workspace about a token that was put into the profile. One that
// works comes into use; one that another patrol has minted is left to it: two that took
// each other's tokens over would never rest. One that is invalid is replaced once it is
// certain that nobody is still typing it. While nobody can say, it is left.
func (r *Rotator) judgePasted(ctx context.Context, f candidate) {
	w := &r.discovery.profile
	alive, err := r.inspect(ctx, &f)
	switch {
	case err != nil:
		pauses := pauseBefore
		if current := r.chain.State().Current; !current.NeverExpires() && r.now().After(current.Expiry(r.skew())) {
			pauses = pauseAfter
		}
		w.askAgain(withJitter(pauses.After(w.timesAsked()+1)), fmt.Errorf("asking %s about the token in the profile: %w", r.host(), err))
		r.files.NoteProfile(fmt.Errorf("it holds %w, and it isn't known yet whether that works, so it is left there: %w", pat.ErrForeign, err))
	case !alive && !w.quiet():
		w.askAgain(profileQuiet, errors.New("the profile holds a token that doesn't work, and may be half typed"))
	case !alive:
		r.cfg.Log.Info("the token in the profile is invalid: writing the current one", "from", f.sources)
		w.askAgain(profileQuiet, nil)
		w.permit(f.token.Hash(), verdictHolds)
		if r.chain.State().InUse().Entry.Ours() {
			r.repairFiles()
		} // else the rotation that is due writes the next one
	case r.isOtherPatrols(f.info.Comment):
		w.askAgain(otherPatrolAsk, nil)
		r.warnOnce("another patrol writes this profile too: give each a profile of its own", f.info.Comment)
	case f.info.ID == "" && !r.discovery.beginUntrackedAdopt():
		w.askAgain(otherPatrolAsk, nil)
		r.warnOnce("tokens that can't be told apart appear in the profile: does another patrol write it too?", f.token.Hash())
	default:
		w.askAgain(0, nil)
		r.cfg.Log.Info("a new token stands in the profile", "from", f.sources)
		if _, err := r.adopt(ctx, f); err != nil {
			r.cfg.Log.Error("the new token can't be used", "err", err)
		}
	}
}
