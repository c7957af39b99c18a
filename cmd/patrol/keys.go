package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/session"
	"patrol/cmd/patrol/internal/state"
	"patrol/proxy/guard"
)

func newKeys(p cli.Process) *cobra.Command {
	cmd := cli.AddFlags(&cobra.Command{
		Use: "keys", GroupID: groupUse, Short: "Who may use the proxy: list, make, replace and revoke client keys",
		Example: `  patrol keys
  patrol keys new laptop
  patrol keys replace laptop
  patrol keys revoke laptop`,
		Args: noArgs, RunE: p.Run(inSession(session.OpenKnown, listKeys)),
	}, "json", "profile", "state-dir")
	cmd.AddCommand(
		newKeyCommand(p, "new", "Make a client key, and print it", (*state.Keys).New),
		newKeyCommand(p, "replace", "Revoke a client key, and print a new one of its name", (*state.Keys).Replace),
		newKeyCommand(p, "revoke", "Revoke a client key: who shows it is refused", func(k *state.Keys, name string) (string, error) {
			return "", k.Revoke(name)
		}),
	)
	return cmd
}

// newKeyCommand is a command that changes the key of one name. The key that change
// returns, if any, is printed alone.
func newKeyCommand(p cli.Process, use, short string, change func(*state.Keys, string) (string, error)) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: use + " NAME", Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 { // which aren't repeated: one may be a key
				return cli.Usage("for example: patrol keys "+use+" laptop", "%s takes one name, but got %d", cmd.CommandPath(), len(args))
			}
			return p.Run(inSession(session.OpenKnown, func(ctx context.Context, o cli.Options, s *session.Session) error {
				var key string
				err := s.ChangeKeys(ctx, func(k *state.Keys) (err error) {
					key, err = change(k, args[0])
					return err
				})
				if key != "" {
					o.Printf("%s\n", key)
				}
				return err
			}))(cmd, nil)
		},
	}, "profile", "state-dir")
}

// A keyInfo is a key as "patrol keys --json" shows it.
type keyInfo struct {
	guard.ClientUse
	Created time.Time `json:"created,omitzero"` // zero for clients without a key
}

// listKeys shows the keys in force, and what a running service has counted.
func listKeys(ctx context.Context, o cli.Options, s *session.Session) error {
	all, err := keyInfos(ctx, s)
	switch {
	case err != nil:
		return err
	case o.JSON:
		o.PrintJSON(all)
		return nil
	case len(all) == 0:
		o.Printf("%s\n", o.Advise("there are no client keys yet: the first start of patrol serve makes one, and so does patrol keys new NAME"))
		return nil
	}
	t := cli.NewTable(o.Out)
	t.Line("NAME\tCREATED\tLAST USED\tREQUESTS")
	for _, k := range all {
		created, used, requests := "-", "-", "-"
		if !k.Created.IsZero() {
			created = k.Created.UTC().Format(time.DateOnly)
		}
		if !k.LastUsed.IsZero() {
			used = time.Since(k.LastUsed).Round(time.Second).String() + " ago"
		}
		if s.Service != nil {
			requests = fmt.Sprint(k.Requests)
		}
		t.Line("%s\t%s\t%s\t%s", k.Name, created, used, requests)
	}
	err = t.Flush()
	if s.Service == nil {
		o.Printf("%s\n", o.Advise("no service runs, which would count their requests: patrol serve"))
	}
	return err
}

// keyInfos returns the keys, and those who have asked without one. What was asked is
// counted from the service's start on.
func keyInfos(ctx context.Context, s *session.Session) ([]keyInfo, error) {
	keys, err := state.ReadKeys(s.Dir)
	if err != nil {
		return nil, err
	}
	uses := make(map[string]guard.ClientUse)
	var others []keyInfo
	if s.Service != nil {
		status, err := s.Status(ctx)
		if err != nil {
			return nil, err
		}
		if status.Proxy != nil {
			for _, use := range status.Proxy.Clients {
				uses[use.Name] = use
			}
		}
	}
	all := []keyInfo{}
	for _, k := range keys.List() {
		use := uses[k.Name]
		use.Name = k.Name
		all = append(all, keyInfo{use, k.Created})
	}
	for _, name := range []string{guard.FromKeyFile, guard.Unknown, guard.None} {
		if uses[name].Requests > 0 {
			others = append(others, keyInfo{ClientUse: uses[name]})
		}
	}
	return append(all, others...), nil
}
