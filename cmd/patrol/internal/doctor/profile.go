package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/credwriter"
)

// checkProfile: can the profile hold a token that tools use?
func checkProfile(_ context.Context, in *input, f *findings) {
	read := in.profile.read
	switch {
	case in.profile.err != nil:
		f.err("", in.profile.err)
	case read.OtherAuth != "":
		f.fail("give patrol a profile of its own: --profile patrol --host "+cmp.Or(read.Host, "https://…"),
			"%s signs in by %s: a token in it is not used, or makes every tool fail", in.profile, read.OtherAuth)
	case in.targetErr != nil:
		f.err("", in.targetErr)
	case !read.Exists:
		f.warn("patrol makes it, once it has a token: "+in.login(), "there is no %s", in.profile)
	default:
		f.ok("%s, for %s", in.profile, in.target.Host)
	}
}

// checkDefaultProfile: do tools that aren't told a profile use this one?
func checkDefaultProfile(_ context.Context, in *input, f *findings) {
	read, err := credwriter.ReadProfile(in.profile.File, "")
	if err != nil {
		return // checkProfile says so
	}
	if in.isWrongDefault() {
		other := in.service.others[0].Profile
		f.fail(fmt.Sprintf("take that setting out, if %s is meant; else run a patrol for this profile too: %s", other, in.serveBeside()),
			"[__settings__] default_profile = %s in %s has tools that aren't told a profile use that one, and not %s, which a patrol keeps fresh",
			read.Name, in.profile.File, other)
		return
	}
	used := cmp.Or(strings.TrimSpace(in.o.Get("DATABRICKS_CONFIG_PROFILE")), read.Name)
	if used != in.profile.Name {
		f.warn(signInAgain+"; or set default_profile = "+in.profile.Name+" under [__settings__] in "+in.profile.File,
			"tools that aren't told a profile use %s, and not %s, which patrol keeps fresh", used, in.profile.Name)
		return
	}
	f.ok("tools that aren't told a profile use %s", used)
}

// checkToken: is the profile's token the one that it should be?
func checkToken(ctx context.Context, in *input, f *findings) {
	token, running := in.profile.read.Token, in.service.client != nil
	switch {
	case in.profile.err != nil: // checkProfile says so
	case token.IsZero() && in.token.IsZero():
		f.fail(in.login(), "there is none in %s", in.profile)
	case running && in.token.IsZero(): // checkService says so
	case running && token.Same(in.token):
		f.ok("%s holds the current token", in.profile)
	case running:
		f.fail("patrol rotate", "%s doesn't hold the current token", in.profile)
	case token.IsZero():
		f.warn("patrol serve puts one of its own there", "there is none in %s, but in the environment", in.profile)
	case in.ledger.err != nil: // checkState says so
	default:
		in.checkIdleToken(ctx, f)
	}
}

// checkIdleToken looks at the profile's token where no service runs.
func (in *input) checkIdleToken(ctx context.Context, f *findings) {
	token := in.profile.read.Token
	if err := session.CheckAlive(ctx, in.o, in.profile.Profile, in.dir, token); err != nil {
		f.err("patrol login", err)
		return
	}
	for _, e := range in.ledger.list {
		if e.Hash == token.Hash() && e.Ours() {
			f.ok("%s holds patrol's last token, %s", in.profile, cli.TokenName(e.ID))
			return
		}
	}
	f.ok("%s holds one that patrol didn't mint: its first", in.profile)
}
