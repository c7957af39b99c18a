package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/view"
)

func newRotate(p cli.Process) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "rotate", GroupID: groupService, Short: "Rotate the token now", Long: rotateLong,
		Example: `  patrol rotate
  patrol rotate --profile work --wait-revoke`,
		Args: noArgs, RunE: p.Run(func(ctx context.Context, o cli.Options) error { return rotate(ctx, o, wait) }),
	}
	cmd.Flags().BoolVar(&wait, "wait-revoke", false, "stay until the old token is revoked, which takes as long as the grace")
	// What happened is printed anyway, so the log says little.
	cli.AddFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "upstream-ca", "listen", "lifetime", "grace", "write", "instance", "state-dir", "log-level=warn", "log-format")
	return cmd
}

// rotate has the service rotate, or does it alone.
func rotate(ctx context.Context, o cli.Options, wait bool) error {
	command := "rotate"
	if wait {
		command += " --wait-revoke"
	}
	s, err := session.Open(ctx, o, command)
	if err != nil {
		return err
	}
	defer s.Close()
	r, err := s.Rotate(ctx)
	if err != nil {
		return err
	}
	err = view.Rotation(o.Streams, r)
	switch {
	case r.Another:
	case wait:
		left, awaitErr := s.AwaitRevoked(ctx, r)
		if awaitErr != nil {
			return errors.Join(err, awaitErr)
		}
		if left != "" {
			o.Printf("the old token is left alone, and lives on: %s\n", left)
		} else {
			o.Printf("the old token has ended\n")
		}
	case s.Service != nil:
		o.Printf("the service revokes the old token once nobody uses it and its grace is over\n")
	default:
		o.Printf("the old token is left to the next start of patrol to revoke; --wait-revoke would have waited\n")
	}
	return err
}
