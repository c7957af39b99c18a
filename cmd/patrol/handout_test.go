//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"patrol/rotator/workspacetest"
)

// TestKeysHandedOut: where the owner of a client's socket can't be looked up, what patrol
// puts into agents' files, and hands to commands, lets them in; and what it puts there
// after the key is replaced.
func TestKeysHandedOut(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	s.app.environ = append(s.app.environ, noOwnersVariable+"=1", "OPENAI_API_KEY=sk-real")
	p, proxy := s.serve(t, "--write", "databrickscfg,claude,opencode")
	s.app.write(t, ".config/opencode/opencode.json", fmt.Sprintf(`{"provider":{"databricks":{"options":{"baseURL":"%s/v1",},},}, /* mine */}`, proxy))
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	var claude struct{ Env map[string]string }
	var openCode map[string]struct{ Key string }
	read := func(name string, v any) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(s.app.getenv("HOME"), name))
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is written after the profile
			t.Fatal(err)
		}
	}
	keys := func() map[string]string {
		read(".claude/settings.json", &claude)
		read(".local/share/opencode/auth.json", &openCode)
		cmd := exec.CommandContext(t.Context(), "patrol", "exec", "--", "sh", "-c", "echo $OPENAI_API_KEY")
		cmd.Env = s.app.environ
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || !strings.Contains(stderr.String(), "can't look up here") {
			t.Errorf("exec: %v, %s", err, stderr.String())
		}
		return map[string]string{"exec": strings.TrimSpace(string(out)), "Claude Code": claude.Env["ANTHROPIC_AUTH_TOKEN"], "OpenCode": openCode["databricks"].Key}
	}
	var before string
	for _, replaced := range []bool{false, true} {
		if replaced {
			before = keys()["exec"]
			cmd := exec.CommandContext(t.Context(), "patrol", "keys", "replace", "default")
			cmd.Env = s.app.environ
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		await(t, func() bool {
			all := keys()
			return all["exec"] != before && all["exec"] == all["Claude Code"] && all["exec"] == all["OpenCode"]
		})
		for who, key := range keys() {
			if status, body, err := chatWith(t, proxy, key); status != http.StatusOK || err != nil || !strings.HasPrefix(key, "patrol-") {
				t.Errorf("replaced %v: %s: %d %s %v", replaced, who, status, body, err)
			}
		}
	}
	if base := claude.Env["ANTHROPIC_BASE_URL"]; base != proxy {
		t.Errorf("Claude Code asks %q", base)
	}
	for _, key := range []string{"", "patrol", before} {
		if status, _, err := chatWith(t, proxy, key); status == http.StatusOK || err != nil {
			t.Errorf("with the key %q: %d, %v", key, status, err)
		}
	}
}

// chatWith is chat with a bearer.
func chatWith(t *testing.T, proxy, key string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy+"/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
