//go:build unix

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
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
	if _, got, err := environ.SignIn(t.Context(), o); err != nil || got.Addr != addr || got.Closed != "" {
		t.Errorf("asked for by name: %v, %v", got, err)
	}
}

// Whoever listens on a port isn't patrol for that: only a control socket says so. No
// real key is handed to a command that would send it there, and the port isn't asked.
func TestExecTrustsNoListener(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	thief, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 1)
	go func() {
		if conn, err := thief.Accept(); err == nil {
			asked <- struct{}{}
			conn.Close()
		}
	}()
	signIn := func(env ...string) (changes map[string]string, said string) {
		t.Helper()
		var stderr bytes.Buffer
		o := cli.Options{
			Process:     cli.Process{Env: append(slices.Clone(s.app.environ), env...), Streams: cli.Streams{Err: &stderr}},
			Listen:      []cli.ListenAddr{{AddrPort: netip.MustParseAddrPort(thief.Addr().String())}},
			ListenGiven: true,
		}
		all, proxy, err := environ.SignIn(t.Context(), o)
		if err != nil || proxy.Closed == "" {
			t.Errorf("%+v, %v", proxy, err)
		}
		changes = map[string]string{}
		for _, c := range all {
			changes[c.Name] = c.Value
		}
		return changes, stderr.String() + proxy.Closed
	}
	for _, running := range []bool{false, true} {
		if running {
			s.serve(t)
		}
		changes, said := signIn("OPENAI_API_KEY=sk-real", "ANTHROPIC_API_KEY=sk-ant-real")
		for _, name := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY"} {
			if !strings.HasPrefix(changes[name], "patrol") {
				t.Errorf("running %v: %s is passed on to the command", running, name)
			}
		}
		if !strings.Contains(said, "OPENAI_API_KEY and ANTHROPIC_API_KEY: the value that was set is not used") || !strings.Contains(said, "no patrol of yours") {
			t.Errorf("running %v: said %q", running, said)
		}
	}
	thief.Close()
	select {
	case <-asked:
		t.Error("the port was asked")
	default:
	}
}

// TestExecHandsOutTheKey: the service's client key, and the keys that were set where the
// proxy knows its user without.
func TestExecHandsOutTheKey(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.serve(t)
	cmd := exec.CommandContext(t.Context(), "patrol", "exec", "--", "sh", "-c", "echo $OPENAI_API_KEY $ANTHROPIC_AUTH_TOKEN")
	cmd.Env = append(slices.Clone(s.app.environ), "OPENAI_API_KEY=sk-real")
	out, err := cmd.Output()
	want := regexp.MustCompile(`^sk-real patrol-[a-z2-7]{26}\n$`)
	if runtime.GOOS != "linux" {
		want = regexp.MustCompile(`^(patrol-[a-z2-7]{26}) (patrol-[a-z2-7]{26})\n$`)
	}
	if err != nil || !want.Match(out) {
		t.Errorf("%q, %v", out, err)
	}
}
