package rotator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"patrol/rotator/pat"
)

// refusedError says that the workspace doesn't take a token that was brought.
type refusedError string

func (e refusedError) Error() string { return string(e) }
func (e refusedError) Unwrap() error { return ErrNeedsLogin }

// Login makes t, which a person has brought, the token in use, and rotates at
// once, so that the token that was typed somewhere needn't live on. A rotation
// that is under way is ended first: it may hang on a token that is dead.
//
// The error wraps ErrNeedsLogin if the workspace doesn't take t; then nothing
// has changed. If t is taken and the rotation fails, t is in use and written
// to the files, and the rotation is tried again while the Rotator runs.
func (r *Rotator) Login(ctx context.Context, t pat.Token) (Rotation, error) {
	f := candidate{token: t, sources: []string{fromLogin}, inFile: true, brought: true}
	f.entry, f.known = r.cfg.Ledger.ByHash(t.Hash())
	// What stands in the profile now is what the login replaces, and not what somebody
	// puts there later.
	standing, _, _ := r.observeProfile()
	alive, err := r.inspect(ctx, &f)
	switch {
	case err != nil:
		return Rotation{}, fmt.Errorf("asking %s whether the token works: %w", r.host(), err)
	case !alive:
		return Rotation{}, refusedError(r.host().String() + " refuses this token as invalid, revoked or expired; make one there under Settings, Developer, Access tokens")
	}
	f.user = r.authority.User(ctx, r.authority.actingWith(t))
	userBefore := r.userInUse(ctx)
	if userBefore != "" && f.user != "" && f.user != userBefore {
		r.cfg.Log.Warn("the new token is another user's", "user", f.user, "before", userBefore)
	}
	r.rotations.Cancel(errors.New("a new token was brought by patrol login"))
	const enough = 5 * time.Minute // to write the profile in
	r.discovery.profile.permit(standing.token.Hash(), enough)
	defer r.discovery.profile.permit("", 0)
	adopted, err := r.adopt(ctx, f)
	if err != nil {
		return Rotation{}, err
	}
	r.schedule.EndPauses()
	rotation, err := r.rotate(ctx, request{reason: "login", replaces: &adopted})
	rotation.User, rotation.UserBefore = f.user, userBefore
	if err != nil {
		rotation.Files = r.writeFiles()
	}
	return rotation, err
}

// userInUse is whose the token in use is; "" where that isn't known.
func (r *Rotator) userInUse(ctx context.Context) string {
	c := r.chain.State().Current
	if user := userName(c.Entry); user != "" || c.IsZero() {
		return user
	}
	return r.authority.User(ctx, r.authority.actingWith(c.Token))
}
