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

// profileWatch owns what is known of the token that stands in the profile.
type profileWatch struct {
	mu    sync.Mutex // guards known; held over nothing that blocks
	known profileToken
}

// profileToken is a token that stands in the profile.
type profileToken struct {
	hash   string    // its pat.Hash; "": there is none
	since  time.Time // since when that has been so
	hadOne bool      // a token has stood there since the start
	doubt  error     // why it isn't known whether it works; nil if it is

	permitted      string // pat.Hash of one that may be replaced although it isn't patrol's
	permittedUntil time.Time
}

func (w *profileWatch) get() profileToken {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known
}

// see notes what stands in the profile now, and reports whether somebody has changed it.
func (w *profileWatch) see(hash string) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := &w.known
	changed = !k.since.IsZero() && k.hash != hash
	switch {
	case k.since.IsZero(): // it stood there before patrol started
		k.since = time.Now().Add(-profileQuiet)
	case changed:
		k.since, k.doubt = time.Now(), nil
	}
	k.hash, k.hadOne = hash, k.hadOne || hash != ""
	return changed
}

// setDoubt notes why it isn't known whether the token there works; nil if it is.
func (w *profileWatch) setDoubt(doubt error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.doubt = doubt
}

// permit lets the token with this hash be replaced for a while.
func (w *profileWatch) permit(hash string, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.permitted, w.known.permittedUntil = hash, time.Now().Add(d)
}

// permits reports whether the token with this hash may be replaced.
func (k profileToken) permits(hash string) bool {
	return hash == k.permitted && time.Now().Before(k.permittedUntil)
}

// quiet reports whether nobody has changed the profile's token for a while.
func (k profileToken) quiet() bool { return time.Since(k.since) >= profileQuiet }

// beingTyped returns an error as long as the profile has lost its token a moment ago: a
// person may be putting another there.
func (k profileToken) beingTyped() error {
	if k.hash != "" || !k.hadOne || k.quiet() || k.permits("") {
		return nil
	}
	return fmt.Errorf("its token was taken out a moment ago: patrol's is written once nobody has put one there for %v", profileQuiet)
}

// mayReplace reports whether patrol may write over a token in the profile: the ledger
// knows it, the workspace has just called it invalid, or a login replaces it.
func (r *Rotator) mayReplace(hash string) bool {
	return r.cfg.Ledger.Knows(hash) || r.discovery.profile.get().permits(hash)
}

// profileDoubt returns why it isn't known whether the token in the profile works; nil if it
// is, or if the user has logged out.
func (r *Rotator) profileDoubt() error {
	if r.chain.State().Phase == phaseLoggedOut {
		return nil
	}
	return r.discovery.profile.get().doubt
}

// observeProfile returns the token that stands in the profile, and notes it; false if there
// is none. If a person has just put it there, all pauses end.
func (r *Rotator) observeProfile() (f candidate, there bool, err error) {
	all, err := r.candidates()
	if err != nil {
		return candidate{}, false, err
	}
	i := slices.IndexFunc(all, func(f candidate) bool {
		return slices.ContainsFunc(f.sources, func(s string) bool { return s != inUse && !f.pinned })
	})
	if there = i >= 0; there {
		f = all[i]
	}
	if r.discovery.profile.see(f.token.Hash()) {
		r.schedule.Forget(pasted, lookAtProfile)
		if there && !f.known {
			r.schedule.EndPauses()
			r.wakeAll()
		}
	}
	return f, there, nil
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
		if current.Entry.Ours() && r.discovery.profile.get().beingTyped() == nil {
			r.repairFiles() // the profile is gone, or its token is
		}
	case current.IsZero(), f.token.Same(current.Token):
	case f.known:
		r.cfg.Log.Info("an old token stands in the profile: writing the current one", "from", f.sources)
		r.repairFiles()
	case r.schedule.IsNew(pasted), r.schedule.WaitForList(pasted) == 0:
		_ = r.cfg.Ledger.Save() // what another ledger in the place of ours knows is known after it
		if f.entry, f.known = r.cfg.Ledger.ByHash(f.token.Hash()); f.known {
			r.repairFiles()
			return
		}
		r.discovery.profile.setDoubt(r.judgePasted(ctx, f))
	}
}

// judgePasted asks the workspace about a token that was put into the profile. One that
// works comes into use; one that another patrol has minted is left to it: two that took
// each other's tokens over would never rest. One that is invalid is replaced once it is
// certain that nobody is still typing it. While nobody can say, it is left, and the error
// is why.
func (r *Rotator) judgePasted(ctx context.Context, f candidate) error {
	alive, err := r.inspect(ctx, &f)
	switch {
	case err != nil:
		r.schedule.Failed(pasted, err)
		r.files.NoteProfile(fmt.Errorf("it holds %w, and it isn't known yet whether that works, so it is left there: %w", pat.ErrForeign, err))
		return fmt.Errorf("asking %s about the token in the profile: %w", r.host(), err)
	case !alive:
		r.schedule.Postpone(pasted, profileQuiet)
		if !r.discovery.profile.get().quiet() {
			return errors.New("the profile holds a token that doesn't work, and may be half typed")
		}
		r.cfg.Log.Info("the token in the profile is invalid: writing the current one", "from", f.sources)
		r.discovery.profile.permit(f.token.Hash(), verdictHolds)
		if r.chain.State().InUse().Entry.Ours() {
			r.repairFiles()
		} // else the rotation that is due writes the next one
	case r.isOtherPatrols(f.info.Comment):
		r.schedule.Postpone(pasted, otherPatrolAsk)
		r.warnOnce("another patrol writes this profile too: give each a profile of its own", f.info.Comment)
	case f.info.ID == "" && !r.discovery.beginUntrackedAdopt():
		r.schedule.Postpone(pasted, otherPatrolAsk)
		r.warnOnce("tokens that can't be told apart appear in the profile: does another patrol write it too?", f.token.Hash())
	default:
		r.cfg.Log.Info("a new token stands in the profile", "from", f.sources)
		if _, err := r.adopt(ctx, f); err != nil {
			r.cfg.Log.Error("the new token can't be used", "err", err)
		}
	}
	return nil
}
