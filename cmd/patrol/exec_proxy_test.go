//go:build unix

package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/cli"
	"patrol/cmd/patrol/internal/environ"
	"patrol/rotator/workspacetest"
)

// The default address is no profile's own: agents of one aren't sent to the proxy
// of another, which may be for another workspace.
func TestProxyOfAnotherProfile(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	_, proxy := s.serve(t)
	s.app.write(t, "cfg", fmt.Sprintf("[work]\nhost = %s\n", s.url))
	addr := netip.MustParseAddrPort(strings.TrimPrefix(proxy, "http://"))
	o := cli.Options{
		Process: cli.Process{Env: append(s.app.environ, "DATABRICKS_CONFIG_FILE="+s.app.getenv("HOME")+"/cfg")},
		Profile: cli.Setting{Flag: "profile", Values: []string{"work"}, From: "--profile"},
		Listen:  []cli.ListenAddr{{AddrPort: addr}},
	}
	_, _, err := environ.SignIn(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "no patrol runs for profile work, and ") || !strings.Contains(cli.HintOf(err), "patrol serve --profile work --listen ") {
		t.Errorf("with the other's address as the default: %v", err)
	}
	o.ListenGiven = true
	if _, got, err := environ.SignIn(t.Context(), o); err != nil || got != addr {
		t.Errorf("asked for by name: %v, %v", got, err)
	}
}
