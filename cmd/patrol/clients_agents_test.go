//go:build clients && linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patrol/rotator/workspacetest"
)

// dummyKey is what "patrol env" gives agents that refuse to start without a key.
const dummyKey = "patrol"

// TestClientOpenCode: it holds the token that it has found in its file, which patrol
// writes anew at each turn. One answer has its tool call in Databricks' own form,
// and one its text as a list.
func TestClientOpenCode(t *testing.T) {
	command := openCodePackage.install(t)
	t.Run("filtered", func(t *testing.T) {
		e := newErrand(t)
		token, environ := e.setUpOpenCode(t)
		out := e.send(t, environ, command, "run", errandPrompt)
		e.wantDone(t, out, token)
		e.wantRotated(t)
		if auth, err := os.ReadFile(e.openCodeAuth()); err != nil || !bytes.Contains(auth, []byte(e.ws.Live()[0].Value)) {
			t.Errorf("OpenCode's file doesn't hold the current token (%v)", err)
		}
	})
	t.Run("by a client key", func(t *testing.T) {
		e := newErrand(t)
		e.scriptOpenCode()
		key := e.serveByKey(t)
		e.write(t, ".local/share/opencode/auth.json", jsonText(map[string]any{"databricks": map[string]any{"type": "api", "key": key}}))
		e.wantDone(t, e.send(t, e.configureOpenCode(t), command, "run", errandPrompt), key)
		e.wantRotated(t)
	})
	// The same answers, as they are, are too much for it: the filter is what
	// the test above tests.
	t.Run("filter off", func(t *testing.T) {
		e := newErrand(t)
		_, environ := e.setUpOpenCode(t, "--filter", "off")
		out, err := e.try(t, environ, command, "run", errandPrompt)
		if err == nil || strings.Contains(out, e.report()) {
			t.Errorf("it managed all the same: %v\n%s", err, out)
		}
	})
}

func (e *errand) openCodeAuth() string {
	return filepath.Join(e.home, ".local", "share", "opencode", "auth.json")
}

// setUpOpenCode serves with these flags, and returns the token that OpenCode will
// find and the environment that it needs.
func (e *errand) setUpOpenCode(t *testing.T, flags ...string) (token string, environ []string) {
	t.Helper()
	e.scriptOpenCode()
	e.write(t, ".local/share/opencode/auth.json", jsonText(map[string]any{"databricks": map[string]any{"type": "api", "key": e.first.Value}}))
	token = e.serve(t, flags...)
	return token, e.configureOpenCode(t)
}

func (e *errand) scriptOpenCode() {
	write := call("write", map[string]any{"filePath": e.target(), "content": e.word})
	e.script = []workspacetest.ModelReply{
		{Calls: []workspacetest.ToolCall{call("read", map[string]any{"filePath": e.source()})}},
		{Calls: []workspacetest.ToolCall{write}, Raw: wrappedCall(write)},
		{Raw: listContent(e.report())},
	}
}

// configureOpenCode has OpenCode ask the proxy, and returns the environment that it needs.
func (e *errand) configureOpenCode(t *testing.T) (environ []string) {
	t.Helper()
	e.write(t, ".config/opencode/opencode.json", jsonText(map[string]any{
		"autoupdate": false,
		"share":      "disabled",
		"model":      "databricks/some-model",
		"permission": map[string]any{"read": "allow", "edit": "allow"},
		"provider": map[string]any{"databricks": map[string]any{
			"npm":     "@ai-sdk/openai-compatible",
			"options": map[string]any{"baseURL": e.tap.url + "/v1"},
			"models":  map[string]any{"some-model": map[string]any{}},
		}},
	}))
	return []string{
		"OPENCODE_DISABLE_AUTOUPDATE=1", "OPENCODE_DISABLE_MODELS_FETCH=1", "OPENCODE_DISABLE_LSP_DOWNLOAD=1",
		"OPENCODE_DISABLE_DEFAULT_PLUGINS=1",
	}
}

// chatStream makes a stream of these deltas, as a model sends it that says stop
// whatever it did.
func chatStream(deltas ...string) []string {
	const chunk = `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"some-model","choices":[{"index":0,"delta":%s,"finish_reason":%s}]}` + "\n\n"
	var events []string
	for _, delta := range deltas {
		events = append(events, fmt.Sprintf(chunk, delta, "null"))
	}
	return append(events, fmt.Sprintf(chunk, "{}", `"stop"`), "data: [DONE]\n\n")
}

// wrappedCall is a stream with a tool call whose name is among its arguments,
// after thoughts that come as a list.
func wrappedCall(c workspacetest.ToolCall) []string {
	deltas := []string{
		`{"role":"assistant","content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"I write it."}]}]}`,
		`{"tool_calls":[{"index":0,"id":"call_wrapped","type":"function","function":{"name":"databricks-tool-call","arguments":""}}]}`,
	}
	args := fmt.Sprintf(`{"name":%q,%s`, c.Name, strings.TrimPrefix(c.Arguments, "{"))
	for piece := range slices.Chunk([]byte(args), 7) {
		deltas = append(deltas, `{"tool_calls":[{"index":0,"function":{"arguments":`+jsonText(string(piece))+`}}]}`)
	}
	return chatStream(deltas...)
}

// listContent is a stream of text whose content is a list.
func listContent(text string) []string {
	var deltas []string
	for piece := range slices.Chunk([]byte(text), 7) {
		deltas = append(deltas, `{"content":[{"type":"text","text":`+jsonText(string(piece))+`}]}`)
	}
	return chatStream(deltas...)
}

// TestClientClaude: it holds a dummy, since it sends nothing without a credential.
func TestClientClaude(t *testing.T) {
	command := claudePackage.install(t)
	t.Run("rotated", func(t *testing.T) {
		e := newErrand(t)
		e.serve(t)
		e.wantDone(t, e.sendClaude(t, command, dummyKey), dummyKey)
		e.wantRotated(t)
	})
	t.Run("by a client key", func(t *testing.T) {
		e := newErrand(t)
		key := e.serveByKey(t)
		e.wantDone(t, e.sendClaude(t, command, key), key)
		e.wantRotated(t)
	})
	// Somebody else revokes the token: patrol learns of it from the refusal of
	// the next turn.
	t.Run("killed", func(t *testing.T) {
		e := newErrand(t)
		e.ws.AddClient("minter", "minter-secret", workspacetest.DefaultUser)
		const profiles = "[DEFAULT]\nhost = %s\ntoken = %s\n\n[minter]\nhost = %s\nclient_id = minter\nclient_secret = minter-secret\n"
		e.write(t, ".databrickscfg", fmt.Sprintf(profiles, e.ws.URL, e.first.Value, e.ws.URL))
		e.serve(t, "--mint-profile", "minter")
		e.strike = func(turn int) error {
			if turn == 0 {
				e.ws.Revoke(e.ws.Live()[0].ID)
			}
			return nil
		}
		e.wantDone(t, e.sendClaude(t, command, dummyKey), dummyKey)
		var valid []bool
		for _, r := range e.ws.Requests() {
			if strings.HasSuffix(r.Path, "/v1/messages") {
				valid = append(valid, r.Valid)
			}
		}
		if want := []bool{true, false, true, true}; !slices.Equal(valid, want) {
			t.Errorf("turns came with a valid token: %v, want %v", valid, want)
		}
	})
}

func (e *errand) sendClaude(t *testing.T, command, key string) string {
	t.Helper()
	e.script = []workspacetest.ModelReply{
		{Text: "I read it.", Calls: []workspacetest.ToolCall{call("Read", map[string]any{"file_path": e.source()})}},
		{Calls: []workspacetest.ToolCall{call("Write", map[string]any{"file_path": e.target(), "content": e.word})}},
		{Text: e.report()},
	}
	return e.send(t, []string{
		"ANTHROPIC_BASE_URL=" + e.tap.url, "ANTHROPIC_AUTH_TOKEN=" + key, "ANTHROPIC_MODEL=some-model",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "DISABLE_TELEMETRY=1", "DISABLE_ERROR_REPORTING=1",
	}, command, "-p", errandPrompt, "--allowedTools", "Read", "Write")
}

// TestClientCodex: it holds the token of its environment.
func TestClientCodex(t *testing.T) {
	command := codexPackage.install(t)
	t.Run("rotated", func(t *testing.T) {
		e := newErrand(t)
		token := e.serve(t)
		e.wantDone(t, e.sendCodex(t, command, token), token)
		e.wantRotated(t)
	})
	t.Run("by a client key", func(t *testing.T) {
		e := newErrand(t)
		key := e.serveByKey(t)
		e.wantDone(t, e.sendCodex(t, command, key), key)
		e.wantRotated(t)
	})
}

func (e *errand) sendCodex(t *testing.T, command, credential string) string {
	t.Helper()
	shell := func(line string) []workspacetest.ToolCall {
		return []workspacetest.ToolCall{call("exec_command", map[string]any{"cmd": line})}
	}
	e.script = []workspacetest.ModelReply{
		{Calls: shell("cat order.txt")},
		{Calls: shell("printf %s " + e.word + " > done.txt")},
		{Text: e.report()},
	}
	e.write(t, ".codex/config.toml", `
model = "some-model"
model_provider = "databricks"
check_for_update_on_startup = false
[analytics]
enabled = false
[model_providers.databricks]
name = "Databricks"
base_url = "`+e.tap.url+`/v1"
env_key = "DATABRICKS_TOKEN"
wire_api = "responses"
`)
	return e.send(t, []string{"DATABRICKS_TOKEN=" + credential},
		command, "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", errandPrompt)
}

// TestClientGemini: it holds a dummy.
func TestClientGemini(t *testing.T) {
	command := geminiPackage.install(t)
	t.Run("rotated", func(t *testing.T) {
		e := newErrand(t)
		e.serve(t)
		e.wantDone(t, e.sendGemini(t, command, dummyKey), dummyKey)
		e.wantRotated(t)
	})
	t.Run("by a client key", func(t *testing.T) {
		e := newErrand(t)
		key := e.serveByKey(t)
		e.wantDone(t, e.sendGemini(t, command, key), key)
		e.wantRotated(t)
	})
}

func (e *errand) sendGemini(t *testing.T, command, key string) string {
	t.Helper()
	e.script = []workspacetest.ModelReply{
		{Calls: []workspacetest.ToolCall{call("read_file", map[string]any{"file_path": e.source()})}},
		{Calls: []workspacetest.ToolCall{call("write_file", map[string]any{"file_path": e.target(), "content": e.word})}},
		{Text: e.report()},
	}
	e.write(t, ".gemini/settings.json", jsonText(map[string]any{
		"general":   map[string]any{"enableAutoUpdate": false, "enableAutoUpdateNotification": false},
		"privacy":   map[string]any{"usageStatisticsEnabled": false},
		"telemetry": map[string]any{"enabled": false},
		"security":  map[string]any{"auth": map[string]any{"selectedType": "gemini-api-key"}},
	}))
	return e.send(t, []string{"GOOGLE_GEMINI_BASE_URL=" + e.tap.url, "GEMINI_API_KEY=" + key},
		command, "--model", "gemini-2.5-pro", "--approval-mode", "auto_edit", "--skip-trust", "--prompt", errandPrompt)
}
