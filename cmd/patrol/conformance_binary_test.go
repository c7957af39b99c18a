//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patrol/cmd/patrol/internal/state"
	"patrol/rotator/workspacetest"
)

// realBinary is patrol serve on a machine of its own. It is asked as a person asks it.
type realBinary struct{ *testService }

func startBinary(t *testing.T, f *fixture, s settings) patrol {
	t.Helper()
	svc := newTestServiceOf(t, &workspacetest.Server{Workspace: f.ws, URL: f.upstream.url, CA: f.ca})
	b := &realBinary{svc}
	svc.environ = append([]string{"GORACE=atexit_sleep_ms=0"}, s.environ...) // or each end costs a second under -race
	if s.noOwners {
		svc.environ = append(svc.environ, noOwnersVariable+"=1")
	}
	if s.signedOut {
		svc.signIn(t, "")
	}
	// What Python's requests puts in place of a bearer.
	b.write(t, ".netrc", "machine 127.0.0.1 login someone password else\n")
	if s.conns > 0 { // of as many files, a quarter may be connections
		svc.within = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, 4*s.conns)}
	}
	svc.start(t, b.flags(t, s)...)
	return b
}

func (b *realBinary) flags(t *testing.T, s settings) (flags []string) {
	t.Helper()
	for _, address := range s.listen {
		flags = append(flags, "--listen", address)
	}
	for flag, value := range map[string]string{
		"--allow-host": s.allowHost, "--gateway": s.gateway, "--upstream": s.chat,
		"--openai-upstream": s.openAI, "--anthropic-upstream": s.anthropic, "--gemini-upstream": s.gemini,
	} {
		if value != "" {
			flags = append(flags, flag, value)
		}
	}
	if s.allowAPI {
		flags = append(flags, "--allow-api")
	}
	if s.replayLimit > 0 {
		flags = append(flags, "--replay-limit", fmt.Sprint(s.replayLimit))
	}
	if s.oldTokens != 0 {
		flags = append(flags, "--grace", "0s", "--old-tokens", s.oldTokens.String())
	}
	if s.wait != 0 {
		flags = append(flags, "--wait", max(0, s.wait).String())
	}
	if s.noFilter {
		flags = append(flags, "--filter", "off")
	}
	if s.keys {
		flags = append(flags, "--client-key-file", b.write(t, "keys", "# agents elsewhere\n"+clientKey+"\n"))
	}
	if b.ws.CA != nil && !s.stranger {
		flags = append(flags, "--upstream-ca", b.write(t, "ca.pem", string(b.ws.CA)))
	}
	if s.minter {
		b.ws.AddClient("robot", clientKey, "")
		b.write(t, ".databrickscfg", fmt.Sprintf("[DEFAULT]\nhost = %s\ntoken = %s\n[minter]\nhost = %[1]s\nclient_id = robot\nclient_secret = %[3]s\n",
			b.ws.URL, b.first.Value, clientKey))
		flags = append(flags, "--mint-profile", "minter", "--grace", "0s")
	}
	return flags
}

// write makes a file in the home folder.
func (b *realBinary) write(t *testing.T, name, content string) (path string) {
	t.Helper()
	path = filepath.Join(b.home, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// addresses leaves out the other loopback address that goes with one: it has its port.
func (b *realBinary) addresses() (all []string) {
	for _, address := range b.listen {
		_, port, _ := net.SplitHostPort(address)
		if !slices.ContainsFunc(all, func(a string) bool { return strings.HasSuffix(a, ":"+port) }) {
			all = append(all, address)
		}
	}
	return all
}
func (b *realBinary) log() string { return b.testService.log.String() }

// do runs one of patrol's commands and returns what it printed.
func (b *realBinary) do(t *testing.T, input, command string, flags ...string) string {
	t.Helper()
	cmd := b.command(command, flags...)
	cmd.Stdin = strings.NewReader(input)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	const noToken = 3
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != noToken {
		t.Errorf("patrol %s: %v", command, err)
	}
	return string(out)
}

func (b *realBinary) token(t *testing.T) string { return strings.TrimSpace(b.do(t, "", "token")) }

func (b *realBinary) defaultKey(t *testing.T) string {
	t.Helper()
	keys, err := state.ReadKeys(b.state())
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Key(state.DefaultKey)
	return key
}

func (b *realBinary) revoke(t *testing.T) string {
	t.Helper()
	out, err := b.command("keys", "new", "lost").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.command("keys", "revoke", "lost").Run(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (b *realBinary) rotate(t *testing.T) { b.do(t, "", "rotate") }

func (b *realBinary) login(t *testing.T) {
	b.do(t, b.ws.Issue(workspacetest.IssueOptions{}).Value+"\n", "login")
}

// counters are what "patrol status --json" says of the proxy.
type counters struct {
	Requests uint64            `json:"requests"`
	Waited   uint64            `json:"waited"`
	Refused  map[string]uint64 `json:"refused"`
}

func (b *realBinary) counters(t *testing.T) counters {
	t.Helper()
	out := b.do(t, "", "status", "--json")
	for _, tok := range b.ws.Tokens() {
		if strings.Contains(out, tok.Value) {
			t.Error("a token's value is in the status")
		}
	}
	var report struct{ Proxy counters }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return report.Proxy
}

func (b *realBinary) waited(t *testing.T) uint64             { return b.counters(t).Waited }
func (b *realBinary) refused(t *testing.T) map[string]uint64 { return b.counters(t).Refused }
