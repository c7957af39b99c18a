package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"patrol/rotator"
)

const logoutLong = `Revoke every token that this patrol has made, and take them out of the files. A
running service is asked to do it: it then stays up without a token and says so,
until "patrol login", or until a new token is put into the profile.

The files are cleared first, and the token in use is revoked last, with itself.
What can't be revoked now stays in the ledger, and is revoked when there is a
token again; none lives longer than its lifetime. Tokens that patrol didn't make
are left alone and named.

Exit codes: 0 also if there was nothing to do, 1 if a token could not be revoked
or a file not be cleared.`

func newLogout(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "logout",
		GroupID: groupService,
		Short:   "Revoke what patrol minted, and clean the files",
		Long:    logoutLong,
		Example: `  patrol logout
  patrol logout --profile work`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			return a.logout(cmd.Context(), o)
		},
	}
	addFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "write", "state-dir", "log-level", "log-format")
	setDefault(cmd, "log-level", "error") // what happened is printed anyway
	return cmd
}

// logout has the service log out, or does it alone.
func (a *app) logout(ctx context.Context, o options) error {
	p, dir, err := a.locateKnown(o)
	if err != nil {
		return err
	}
	running, err := dialProfile(ctx, p, dir, dialPatience)
	switch {
	case err == nil:
		return a.logoutService(ctx, o, running)
	case !errors.Is(err, errNoService):
		return err
	case !exists(dir):
		a.printf("there is nothing to do: patrol has made no token for %s\n", p)
		return nil
	}
	t, err := a.resolveTarget(o)
	if err != nil {
		return err
	}
	log := newLog(a.stderr, o.logFormat, o.level)
	led, running, err := a.acquire(ctx, "logout", p, dir, "", lockPatience, log)
	if err != nil {
		return err
	}
	if running != nil { // it has started meanwhile
		return a.logoutService(ctx, o, running)
	}
	c, err := a.newCore(ctx, o, t, led, proxyURL(o.listen[0].addr), nil, log)
	if err != nil {
		return err
	}
	defer c.close()
	d, err := c.rotator.Logout(ctx)
	if err != nil {
		return fmt.Errorf("logging out: %w", err)
	}
	return a.printDeparture(d, time.Now())
}

// logoutService asks a running service.
func (a *app) logoutService(ctx context.Context, o options, running *controlClient) error {
	if err := checkHost(o, running); err != nil {
		return err
	}
	var d rotator.LogoutResult
	if err := running.do(ctx, http.MethodPost, "/logout", nil, &d); err != nil {
		return err
	}
	err := a.printDeparture(d, time.Now())
	a.printf("%s\n", a.advise("the service stays up without a token, until: patrol login"))
	return err
}

// printDeparture prints what a logout did. What it could not do is an error.
func (a *app) printDeparture(d rotator.LogoutResult, now time.Time) error {
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(tw, format+"\n", args...) }
	did, failed := false, 0
	for _, f := range d.Files {
		switch {
		case f.Error != "":
			failed++
			line("NOT CLEARED\t%s\t%s", f.Path, redact(f.Error))
		case f.Cleared:
			did = true
			line("cleared\t%s", f.Path)
		}
		for _, left := range f.Left {
			line("left\t%s", redact(left))
		}
	}
	for _, t := range d.Tokens {
		name := "token " + tokenName(t.ID)
		if len(t.Found) > 0 {
			name += " from " + strings.Join(t.Found, " and ")
		}
		switch t.End {
		case rotator.EndRevoked:
			did = true
			line("revoked\t%s", name)
		case rotator.EndLeft:
			line("left\t%s: %s", name, cmp.Or(t.Why, "patrol did not mint it"))
		default:
			failed++
			line("NOT REVOKED\t%s%s: %s", name, expires(t.Expires, now), redact(t.Why))
		}
	}
	_ = tw.Flush() // run reports it
	switch {
	case failed > 0:
		return hinted(errors.New("not everything could be revoked or cleared"),
			"what is named above as not revoked stays in the ledger, and dies when it expires; to try again: patrol logout")
	case !did:
		a.printf("there is nothing to do: no token of patrol's is left\n")
	default:
		a.printf("logged out\n")
	}
	return nil
}
