package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

const rotateLong = `Rotate the token now. A running service is asked to do it; the flags that say how
then count for nothing, it has its own. If no service runs, patrol does it
alone, with the same lock, and leaves the old token to the next start of patrol
to revoke, or with --wait-revoke stays until that is done.

It answers once the new token is in the files. Asked several times at once, it
rotates once. It fails, with exit code 1, also if there is a new token but one
of the files could not be written.`

func newRotate(a *app) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:     "rotate",
		GroupID: groupService,
		Short:   "Rotate the token now",
		Long:    rotateLong,
		Example: `  patrol rotate
  patrol rotate --profile work --wait-revoke`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.rotate(cmd.Context(), o, wait)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait-revoke", false, "stay until the old token is revoked, which takes as long as the grace")
	addFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "lifetime", "grace", "write", "instance", "state-dir", "log-level", "log-format")
	setDefault(cmd, "log-level", "warn") // what happened is printed anyway
	return cmd
}

// rotate has the service rotate, or does it alone.
func (a *app) rotate(ctx context.Context, o options, wait bool) error {
	p, dir, err := a.locate(o)
	if err != nil {
		return err
	}
	before := settled(dir)
	running, err := dialProfile(ctx, p, dir, dialPatience)
	if err == nil {
		return a.rotateService(ctx, o, running, wait)
	}
	if !errors.Is(err, errNoService) {
		return err
	}
	t, err := a.resolveTarget(o)
	if err != nil {
		return err
	}
	log := newLog(a.stderr, o.logFormat, o.level)
	if t.ignored != "" {
		log.Warn("DATABRICKS_TOKEN is set and not used", "why", t.ignored)
	}
	command := "rotate"
	if wait {
		command += " --wait-revoke"
	}
	led, running, err := a.acquire(ctx, command, p, dir, o.instance, lockPatience, log)
	if err != nil {
		return err
	}
	if running != nil {
		return a.rotateService(ctx, o, running, wait)
	}
	return a.rotateAlone(ctx, o, t, led, before, wait, log)
}

// rotateService asks a running service.
func (a *app) rotateService(ctx context.Context, o options, running *controlClient, wait bool) error {
	if err := checkHost(o, running); err != nil {
		return err
	}
	var r rotateReply
	if err := running.do(ctx, http.MethodPost, "/rotate", nil, &r); err != nil {
		return err
	}
	err := a.printRotation(r)
	if !wait {
		a.printf("the service revokes the old token once nobody uses it and its grace is over\n")
		return err
	}
	return errors.Join(err, a.awaitRevoked(ctx, running, r.Old.ID))
}

// checkHost refuses --host if the service is for another workspace.
func checkHost(o options, running *controlClient) error {
	if !o.host.given() {
		return nil
	}
	want, err := hostFlag(o.host)
	if err != nil {
		return err
	}
	p := running.info
	if have, err := variableHost("the service's host", p.Host); err != nil || !have.MaySame(want) {
		return usageError("leave --host out, or name the profile that belongs to it",
			"the service that runs for profile %s is for %s, not %s", p.Profile, p.Host, want)
	}
	return nil
}

// awaitRevoked waits until the service's queue no longer has the token with this
// id, or any if that isn't known.
func (a *app) awaitRevoked(ctx context.Context, running *controlClient, id string) error {
	const pause = 200 * time.Millisecond
	for {
		var s statusReport
		if err := running.do(ctx, http.MethodGet, "/status", nil, &s); err != nil {
			return fmt.Errorf("waiting for the old token to be revoked: %w", err)
		}
		if !slices.ContainsFunc(s.Retiring, func(old retiring) bool { return old.ID == id || id == "" }) {
			a.printEnd(running.info.State, id)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the old token to be revoked, which the service goes on with: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// rotateAlone rotates in this process. It takes the ledger over.
func (a *app) rotateAlone(ctx context.Context, o options, t target, led *ledger.Ledger, before map[string]bool, wait bool, log *slog.Logger) error {
	if e, ok := newest(led, before); ok {
		_ = led.Close()
		a.printf("another patrol has just rotated: token %s is current\n", pat.ShortID(e.ID))
		return nil
	}
	c, err := a.newCore(ctx, o, t, led, proxyURL(o.listen[0].addr), nil, log)
	if err != nil {
		return err
	}
	defer c.close()
	err = c.rotator.Start(ctx)
	if mints := o.mintProfile != "" && errors.Is(err, rotator.ErrNeedsLogin); err != nil && !mints {
		return atEdge(err)
	}
	rotation, err := c.rotator.Rotate(ctx, "patrol rotate")
	if err != nil {
		return c.rotationFailed(err)
	}
	err = a.printRotation(newRotateReply(rotation))
	if !wait {
		a.printf("the old token is left to the next start of patrol to revoke; --wait-revoke would have waited\n")
		return err
	}
	if retire := c.rotator.Retire(ctx, rotation.Old); retire != nil {
		return errors.Join(err, retire)
	}
	dir, dirErr := a.stateDir(o, t.profile.name)
	a.printEnd(dir, rotation.Old.ID)
	return errors.Join(err, dirErr)
}

// printEnd says what has become of an old token, as the ledger knows it.
func (a *app) printEnd(dir, id string) {
	_, entries, _ := ledger.Read(dir) // nothing is to be learned from a broken one
	i := slices.IndexFunc(entries, func(e ledger.Entry) bool { return id != "" && e.ID == id && e.Stage == ledger.Left })
	if i >= 0 {
		a.printf("the old token is left alone, and lives on: %s\n", entries[i].Reason)
		return
	}
	a.printf("the old token has ended\n")
}

// settled returns the nonces of the tokens that are or were current, nil if the
// ledger can't be read. One that another patrol is only just minting isn't among
// them.
func settled(dir string) map[string]bool {
	_, entries, err := ledger.Read(dir)
	if err != nil {
		return nil
	}
	nonces := map[string]bool{}
	for _, e := range entries {
		if e.Stage == ledger.Current || e.Stage == ledger.Retiring || e.Stage.Ended() {
			nonces[e.Nonce] = true
		}
	}
	return nonces
}

// newest returns the token that another patrol has made current since before was
// read: whoever waited for the lock since then has what it wanted. Its time
// doesn't tell, because each start records the current token again.
func newest(led *ledger.Ledger, before map[string]bool) (ledger.Entry, bool) {
	if before == nil {
		return ledger.Entry{}, false
	}
	for _, e := range led.Pending() {
		if e.Stage == ledger.Current && e.Ours() && !before[e.Nonce] {
			return e, true
		}
	}
	return ledger.Entry{}, false
}

// printRotation prints what a rotation did. A file that wasn't written is an
// error.
func (a *app) printRotation(r rotateReply) error {
	what := "rotated"
	if r.Joined {
		what = "joined a rotation that was under way"
	}
	a.printf("%s: token %s", what, pat.ShortID(r.Token.ID))
	if r.Old.ID != "" {
		a.printf(" replaces %s", pat.ShortID(r.Old.ID))
	}
	if !r.Token.Expires.IsZero() {
		a.printf(", expires %s", when(r.Token.Expires, time.Now()))
	}
	a.printf("\n")
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	written := slices.DeleteFunc(r.Files, func(f fileStatus) bool { return f.Error == "" && !exists(f.Path) })
	failed := printFiles(tw, "  ", written)
	_ = tw.Flush() // run reports it
	if failed > 0 {
		return hinted(fmt.Errorf("%d of %d files could not be written", failed, len(written)),
			"the old token stays alive while a file holds it; a running service tries again")
	}
	return nil
}
