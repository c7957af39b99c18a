package doctor

import (
	"context"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/target"
)

// checkProfile: can the profile hold a token that tools use?
func checkProfile(_ context.Context, in *input, f *findings) {
	switch {
	case in.targetErr != nil:
		f.err(in.targetErr)
	case !in.profile.read.Exists:
		f.warn("patrol makes it, once it has a token: "+in.login(), "there is no %s", in.profile)
	default:
		f.ok("%s, for %s", in.profile, in.client.Host())
	}
}

// checkDefaultProfile: do tools that aren't told a profile use this one?
func checkDefaultProfile(_ context.Context, in *input, f *findings) {
	untold := in.o
	untold.Profile = cli.Setting{}
	used, err := target.SelectProfile(untold)
	switch {
	case err != nil: // checkProfile says so
	case used.Name != in.profile.Name:
		f.warn(signInAgain+"; or set default_profile = "+in.profile.Name+" under [__settings__] in "+in.profile.File,
			"tools that aren't told a profile use %s, and not %s, which patrol keeps fresh", used.Name, in.profile.Name)
	default:
		f.ok("tools that aren't told a profile use %s", used.Name)
	}
}

// checkToken: is the profile's token the one that it should be?
func checkToken(ctx context.Context, in *input, f *findings) {
	held, running := in.profile.read.Token, in.service.status.Running
	switch {
	case in.profile.err != nil, running && in.token.IsZero(), !running && in.ledgerErr != nil:
		// checkProfile, checkService and checkState say so.
	case in.token.IsZero() && held.IsZero():
		f.fail(in.login(), "there is none in %s", in.profile)
	case running && held.Same(in.token):
		f.ok("%s holds the current token", in.profile)
	case running:
		f.fail("patrol rotate", "%s doesn't hold the current token", in.profile)
	case held.IsZero():
		f.warn("patrol serve puts one of its own there", "there is none in %s, but in the environment", in.profile)
	default: // and no service runs
		if err := session.CheckAlive(ctx, in.o, in.profile.Profile, in.dir, held); err != nil {
			f.err(err)
			return
		}
		f.ok("%s holds one that patrol can go on from", in.profile)
	}
}
