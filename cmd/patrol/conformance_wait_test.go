//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/control"
	"patrol/rotator/workspacetest"
)

func waitRows() []row {
	return []row{
		{name: "a request waits while there is no token", run: showWaiting},
		{name: "after --wait it gets 503 with Retry-After, in its agent's form", run: showWaitedInVain},
	}
}

func showWaiting(t *testing.T, r *rig) {
	own := newRig(t, r.wire)
	own.signIn(t, "")
	own.start(t, own.flags(t)...)
	answered := make(chan outcome, 3)
	for range cap(answered) {
		go func() { answered <- own.ask(t, http.MethodPost, "/v1/messages", question) }()
	}
	await(t, func() bool { return own.status(t).Proxy.Waited == uint64(cap(answered)) })
	select {
	case got := <-answered:
		t.Fatalf("answered without a token: %d %s", got.StatusCode, got.body)
	default:
	}
	if _, err := own.control.Login(t.Context(), own.ws.Issue(workspacetest.IssueOptions{}).Value); err != nil {
		t.Fatal(err)
	}
	for range cap(answered) {
		if got := <-answered; got.StatusCode != http.StatusOK {
			t.Errorf("%d %s", got.StatusCode, got.body)
		}
	}
}

// status asks the service as "patrol status --json" does.
func (m *machine) status(t *testing.T) control.Status {
	t.Helper()
	status, err := m.control.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func showWaitedInVain(t *testing.T, r *rig) {
	const wait = 150 * time.Millisecond
	own := newRig(t, r.wire)
	own.signIn(t, "")
	own.start(t, own.flags(t, "--wait", wait.String(), "--allow-api")...)
	for path, message := range map[string]func(answer) string{
		"/v1/chat/completions":              openAIMessage,
		"/v1/responses":                     openAIMessage,
		"/v1/messages":                      anthropicMessage,
		"/v1/messages/count_tokens":         anthropicMessage,
		"/v1beta/models/m:generateContent":  geminiMessage,
		"/serving-endpoints/m/invocations":  databricksMessage,
		"/api/2.0/clusters/list":            databricksMessage,
		"/ai-gateway/anthropic/v1/messages": anthropicMessage,
	} {
		before := time.Now()
		got := own.ask(t, http.MethodPost, path, question)
		took := time.Since(before)
		var a answer
		if err := json.Unmarshal([]byte(got.body), &a); err != nil || got.StatusCode != http.StatusServiceUnavailable || took < wait {
			t.Errorf("%s: %d %s after %v, %v", path, got.StatusCode, got.body, took, err)
		}
		if seconds, err := strconv.Atoi(got.Header.Get("Retry-After")); err != nil || seconds < 1 {
			t.Errorf("%s: Retry-After %q", path, got.Header.Get("Retry-After"))
		}
		if text := message(a); !strings.Contains(text, "patrol login") {
			t.Errorf("%s: its agent reads %q of %s", path, text, got.body)
		}
	}
	own.arrived(t, 0)
}

// An answer is an error of any API.
type answer struct {
	Type      string `json:"type"`
	ErrorCode string `json:"error_code"`
	Message   string `json:"message"`
	Error     struct {
		Type    string `json:"type"`
		Message string `json:"message"`
		Status  string `json:"status"`
		Code    any    `json:"code"`
	} `json:"error"`
}

// Each of these returns the message as an agent of that API finds it, "" if the
// answer isn't in its form.

func openAIMessage(a answer) string {
	if a.Type != "" || a.Error.Type != "server_error" || a.Error.Code == nil {
		return ""
	}
	return a.Error.Message
}

func anthropicMessage(a answer) string {
	if a.Type != "error" || a.Error.Type != "api_error" {
		return ""
	}
	return a.Error.Message
}

func geminiMessage(a answer) string {
	if a.Error.Code != float64(http.StatusServiceUnavailable) || a.Error.Status != "UNAVAILABLE" {
		return ""
	}
	return a.Error.Message
}

func databricksMessage(a answer) string {
	if a.ErrorCode == "" {
		return ""
	}
	return a.Message
}
