package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/service"
)

const serveLong = `Keep the token of one profile fresh, and every local tool signed in with it,
until SIGINT or SIGTERM. SIGHUP ends it too where stdin or stderr is a terminal;
elsewhere it has the profile, the agents' files and --upstream-ca read again, and
no flag or variable.

patrol starts with the token that it finds: in the profile, or in
DATABRICKS_TOKEN if that came with this workspace's DATABRICKS_HOST. With
--profile that pair is ignored, unless --host names its workspace and the profile
has no token yet. patrol mints the next ones itself, writes them to the files,
puts them on the requests that pass its proxy, and revokes the old ones once
nobody uses them any more.

A token that is missing or dead doesn't end the service: it says so, in its log,
in "patrol status" and to every agent that asks, and goes on as soon as there is
one that works.

Its log goes to stderr and waits for nobody: lines that aren't read in time are
dropped, and counted in the log; a reader that ends doesn't end the service.

At SIGTERM requests that are under way have 10 seconds to finish; a second
signal ends them at once. What is still to be revoked is left to the next start.`

func newServe(p cli.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", GroupID: groupService, Short: "Run the service: rotate on a schedule, and serve the proxy", Long: serveLong,
		Example: `  patrol serve
  patrol serve --profile work --schedule '0 */2 * * *' --lifetime 3h
  patrol serve --host https://dbc-1234.cloud.databricks.com --listen 127.0.0.1:4001
  PATROL_LOG_FORMAT=json patrol serve`,
		Args: noArgs, RunE: p.Run(service.Run),
	}
	cli.AddFlags(cmd, "host", "profile", "mint-profile", "keep-bootstrap", "listen", "upstream", "anthropic-upstream",
		"openai-upstream", "gemini-upstream", "gateway", "upstream-ca", "allow-api", "filter", "wait", "replay-limit",
		"allow-user", "allow-host", "client-key-file", "schedule", "lifetime", "grace",
		"write", "instance", "state-dir", "log-level", "log-format")
	return cmd
}
