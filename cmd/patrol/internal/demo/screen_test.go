package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"patrol/rotator/workspacetest"
)

// A line that a terminal wraps can't be brought up to date: none is longer than
// the usual 80 columns, also late in a demo and with all failed.
func TestDemoFitsTheTerminal(t *testing.T) {
	var out strings.Builder
	d := &demo{ws: &workspacetest.Server{Workspace: workspacetest.New(workspacetest.Config{})}}
	d.first = d.ws.Issue(workspacetest.IssueOptions{})
	v := &screen{w: &out, clients: d.clients(), began: time.Now().Add(-14 * time.Second)}
	for _, c := range v.clients {
		c.counts = counts{sent: 140, failed: 139, last: fmt.Errorf("403 %s", "Invalid access token.")}
	}
	v.begin()
	v.event("minted  "+strings.Repeat("f", 8), true)
	v.event("revoked "+d.shortName(d.first), false)
	if err := v.end(8); err == nil {
		t.Error("all clients have failed, and the demo is content")
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n >= columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
