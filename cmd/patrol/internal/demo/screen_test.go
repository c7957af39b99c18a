package demo

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator/workspacetest"
)

// No line is longer than the usual 80 columns, also late in a demo and with all failed.
func TestDemoFitsTheTerminal(t *testing.T) {
	var out strings.Builder
	d := &demo{ws: &workspacetest.Server{Workspace: workspacetest.New(workspacetest.Config{})}}
	d.first = d.ws.Issue(workspacetest.IssueOptions{})
	v := &screen{Streams: cli.Streams{Out: &out}, clients: d.clients(), began: time.Now().Add(-14 * time.Second)}
	for _, c := range v.clients {
		c.sent.Store(140)
		c.failed.Store(139)
		c.lastErr.Store("403 Invalid access token.")
	}
	v.begin()
	v.event("minted  " + strings.Repeat("f", 8))
	v.event("revoked " + d.shortName(d.first))
	if err := v.end(8); err == nil {
		t.Error("all clients have failed, and the demo is content")
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n >= 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
