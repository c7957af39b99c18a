package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"patrol/credwriter"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
)

const tokenLong = `Print the current token, and nothing else, for programs that take one from a
command. It is the running service's; if none runs, the profile's, unless patrol
knows that it has expired or was revoked.

Whoever keeps what this prints for longer than a request will hold a dead token
one day: agents belong on the proxy ("patrol exec", "patrol env").`

func newToken(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "token",
		GroupID: groupUse,
		Short:   "Print the current token",
		Long:    tokenLong,
		Example: `  curl -H "Authorization: Bearer $(patrol token)" https://dbc-1234.cloud.databricks.com/api/2.0/clusters/list`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := a.options(cmd)
			if err != nil {
				return err
			}
			t, err := a.currentToken(cmd.Context(), o)
			if err != nil {
				return err
			}
			a.printf("%s\n", t.Expose())
			return nil
		},
	}
	addFlags(cmd, "profile", "state-dir")
	return cmd
}

// currentToken asks the service, or reads the profile if none runs.
func (a *app) currentToken(ctx context.Context, o options) (pat.Token, error) {
	p, dir, err := a.locateKnown(o)
	if err != nil {
		return pat.Token{}, err
	}
	running, err := dialProfile(ctx, p, dir, dialPatience)
	if err == nil {
		var secret secretReply
		if err := running.do(ctx, http.MethodGet, "/token", nil, &secret); err != nil {
			return pat.Token{}, err
		}
		return pat.New(secret.Token, ""), nil
	}
	if !errors.Is(err, errNoService) {
		return pat.Token{}, err
	}
	read, err := credwriter.ReadProfile(p.file, p.name)
	if err != nil {
		return pat.Token{}, fmt.Errorf("reading the profile: %w", err)
	}
	if read.Token.IsZero() {
		return pat.Token{}, needsLogin(fmt.Errorf("there is no token in %s, and no patrol runs for it", p), "run patrol login, or put a token into the profile")
	}
	return read.Token, dead(p, dir, read.Token)
}

// dead says so if the ledger knows that a token no longer works.
func dead(p selection, dir string, t pat.Token) error {
	_, entries, err := ledger.Read(dir)
	if err != nil {
		return fmt.Errorf("reading the ledger: %w", err)
	}
	for _, e := range entries {
		if e.Hash != t.Hash() {
			continue
		}
		expired := !e.LocalExpiry.IsZero() && !time.Now().Before(e.LocalExpiry)
		if expired || e.Stage == ledger.Revoked || e.Stage == ledger.Expired {
			return needsLogin(fmt.Errorf("the token in %s has expired or was revoked, and no patrol runs for it", p), "run patrol login")
		}
	}
	return nil
}
