package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/control"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

func newRotate(p cli.Process) *cobra.Command {
	// What happened is printed anyway, so the log says little.
	return cli.AddFlags(&cobra.Command{
		Use: "rotate", GroupID: groupService, Short: "Rotate the token now",
		Example: `  patrol rotate
  patrol rotate --profile work --wait-revoke`,
		Args: noArgs, RunE: p.Run(inSession(session.Open, rotate)),
	}, "wait-revoke", "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "lifetime", "grace", "write", "instance", "state-dir", "log-level=warn", "log-format")
}

// rotate has the service rotate, or does it alone.
func rotate(ctx context.Context, o cli.Options, s *session.Session) error {
	r, err := s.Rotate(ctx)
	if err != nil {
		return err
	}
	err = view.Rotation(o.Streams, r)
	switch {
	case r.Another:
	case o.WaitRevoke:
		err = errors.Join(err, awaitRevoked(ctx, o, s, r))
	case s.Service != nil:
		o.Printf("the service revokes the old token once nobody uses it and its grace is over\n")
	default:
		o.Printf("the old token is left to the next start of patrol to revoke; --wait-revoke would have waited\n")
	}
	return err
}

// awaitRevoked waits until the old token is revoked, and prints how it ended.
func awaitRevoked(ctx context.Context, o cli.Options, s *session.Session, r control.Rotation) error {
	left, err := s.AwaitRevoked(ctx, r)
	switch {
	case err != nil:
		return err
	case left != "":
		o.Printf("the old token is left alone, and lives on: %s\n", left)
	default:
		o.Printf("the old token has ended\n")
	}
	return nil
}
