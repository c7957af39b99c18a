package main

import (
	"github.com/spf13/cobra"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/service"
)

func newServe(p cli.Process) *cobra.Command {
	return cli.AddFlags(&cobra.Command{
		Use: "serve", GroupID: groupService, Short: "Run the service: rotate on a schedule, and serve the proxy",
		Example: `  patrol serve
  patrol serve --profile work --schedule '0 */2 * * *' --lifetime 3h
  patrol serve --host https://dbc-1234.cloud.databricks.com --listen 127.0.0.1:4001
  PATROL_LOG_FORMAT=json patrol serve`,
		Args: noArgs, RunE: p.Run(service.Run),
	}, "host", "profile", "mint-profile", "keep-bootstrap", "listen", "upstream", "anthropic-upstream",
		"openai-upstream", "gemini-upstream", "gateway", "upstream-ca", "allow-api", "filter", "wait", "replay-limit", "replay-memory",
		"allow-user", "allow-host", "client-key-file", "old-tokens", "harden", "schedule", "lifetime", "grace",
		"write", "instance", "state-dir", "log-level", "log-format")
}
