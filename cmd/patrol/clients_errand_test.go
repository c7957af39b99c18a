//go:build clients && linux

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/state"
	"patrol/rotator/workspacetest"
)

// An errand is what an agent is asked to do: to read a word in one file and to
// write it into another. Each time that the model is asked for a turn, the token
// is rotated, and the one that asked is revoked while the answer is on its way,
// unless the test has something worse in mind.
type errand struct {
	*testService
	word    string
	project string // the agent's folder
	strays  *strays
	tap     *tap

	script []workspacetest.ModelReply // the model's turns
	strike func(turn int) error       // what happens to the token at each turn

	mu     sync.Mutex
	tools  []string // that the agent offers
	turns  int
	faults []string
}

// The errand's files, and what the agent says in the end.
func (e *errand) source() string { return filepath.Join(e.project, "order.txt") }
func (e *errand) target() string { return filepath.Join(e.project, "done.txt") }
func (e *errand) report() string { return "The word was " + e.word + "." }

const errandPrompt = "Read order.txt, and write the word that stands in it into done.txt."

func newErrand(t *testing.T) *errand {
	t.Helper()
	e := &errand{word: rand.Text(), strays: newStrays(t)}
	e.strike = func(int) error { _, err := e.control.Rotate(t.Context()); return err }
	// So long does an answer take that its token is revoked before its end.
	const pause = 40 * time.Millisecond
	e.testService = newTestService(t, workspacetest.Config{Model: e.model, EventDelay: pause, Events: 10})
	e.project = filepath.Join(e.home, "project")
	e.write(t, "project/order.txt", e.word+"\n")
	return e
}

// write makes a file below home.
func (e *errand) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(e.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// model answers for the workspace.
func (e *errand) model(c workspacetest.ModelCall) workspacetest.ModelReply {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(c.Tools) == 0 {
		return workspacetest.ModelReply{Text: "Hello"} // to a title, perhaps
	}
	if c.Results > 0 && !bytes.Contains(c.Body, []byte(e.word)) {
		e.faults = append(e.faults, fmt.Sprintf("turn %d: the model doesn't learn the word", c.Results))
	}
	if err := e.strike(e.turns); err != nil {
		e.faults = append(e.faults, fmt.Sprintf("turn %d: %v", c.Results, err))
	}
	e.tools = c.Tools
	e.turns++
	return e.turn(c.Results)
}

// turn returns the turn of a conversation with so many tool results: a call that
// is repeated is answered alike.
func (e *errand) turn(results int) workspacetest.ModelReply {
	calls := 0
	for _, turn := range e.script {
		if calls += len(turn.Calls); results < calls {
			return turn
		}
	}
	return e.script[len(e.script)-1]
}

// serve starts patrol, and the tap before it. It returns the token with which an
// agent starts now.
func (e *errand) serve(t *testing.T, flags ...string) (token string) {
	t.Helper()
	e.testService.serve(t, append([]string{"--grace", "0s"}, flags...)...)
	e.tap = newTap(t, "127.0.0.1:0", e.proxy)
	return e.minted(t)
}

// serveByKey serves as where nobody can tell who owns a socket, and returns the default
// client key.
func (e *errand) serveByKey(t *testing.T) (key string) {
	t.Helper()
	e.environ = append(e.environ, noOwnersVariable+"=1")
	e.serve(t)
	keys, err := state.ReadKeys(e.state())
	if err != nil {
		t.Fatal(err)
	}
	key, _ = keys.Key(state.DefaultKey)
	return key
}

// send sends the agent on the errand and returns what it printed.
func (e *errand) send(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	out, err := e.try(t, environ, args...)
	if err != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		t.Fatalf("%v\nit printed: %s\nit offers the tools %q\npatrol logged:\n%s", err, out, e.tools, e.log.String())
	}
	return out
}

// try is send for an errand that needn't succeed.
func (e *errand) try(t *testing.T, environ []string, args ...string) (string, error) {
	t.Helper()
	const patience = 2 * time.Minute // a machine may be busy
	environ = slices.Concat(machineEnviron(e.home), e.strays.environ(), environ)
	began := time.Now()
	out, err := program{args: args, dir: e.project, env: environ, patience: patience}.do(beforeDeadline(t))
	t.Logf("the agent ended after %v (%v); it sent:%s", time.Since(began).Round(100*time.Millisecond), err, e.wire())
	if asked := e.strays.hosts(); len(asked) > 0 {
		t.Logf("it tried to reach %q", asked)
	}
	return out, err
}

// wire describes what the agent sent and got.
func (e *errand) wire() string {
	var b strings.Builder
	for _, r := range e.tap.requests() {
		fmt.Fprintf(&b, "\n\t%s %s (%d credentials, accepts %q): %d %s", r.method, r.path, len(r.credentials), r.header.Get("Accept-Encoding"), r.status, r.answer)
	}
	return b.String()
}

// wantDone checks that the errand is done in three turns, and that the agent,
// which holds credential, saw nothing of what happened to the token.
func (e *errand) wantDone(t *testing.T, out, credential string) {
	t.Helper()
	if done, err := os.ReadFile(e.target()); err != nil || strings.TrimSpace(string(done)) != e.word {
		t.Errorf("the agent wrote %q (%v), want %q", done, err, e.word)
	}
	if !strings.Contains(out, e.report()) {
		t.Errorf("the agent doesn't say %q:\n%s", e.report(), out)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, fault := range e.faults {
		t.Error(fault)
	}
	if e.turns != errandTurns {
		t.Errorf("the model had %d turns, want %d", e.turns, errandTurns)
	}
	held := 0
	for _, r := range e.tap.requests() {
		for _, c := range r.credentials {
			held++
			if c != credential {
				t.Errorf("%s %s: the agent no longer sends the credential that it was started with", r.method, r.path)
			}
		}
		if r.status != http.StatusOK {
			t.Errorf("%s %s: the agent got %d", r.method, r.path, r.status)
		}
	}
	if held < errandTurns {
		t.Errorf("the agent sent its credential %d times", held)
	}
}

// errandTurns is how often a model is asked: to read, to write, to report.
const errandTurns = 3

// wantRotated checks that each turn came with a token of its own, after the one
// before had been revoked, and that nothing ever came with a token that wasn't
// valid.
func (e *errand) wantRotated(t *testing.T) {
	t.Helper()
	revoked := make(map[string]time.Time)
	for _, token := range e.ws.Tokens() {
		revoked[token.ID] = token.RevokedAt
	}
	turns := e.turnRequests()
	for i, r := range turns[1:] {
		if at := revoked[turns[i].TokenID]; at.IsZero() || !at.Before(r.Time) {
			t.Errorf("turn %d came at %v, the token of the one before was revoked at %v", i+1, r.Time, at)
		}
	}
	if len(turns) != errandTurns {
		t.Errorf("%d turns reached the workspace, want %d", len(turns), errandTurns)
	}
	e.wantSettled(t, errandTurns+1) // the first at the start: the profile's isn't patrol's own
	e.wantValid(t)
}

// turnRequests returns the requests for a turn that reached the workspace.
func (e *errand) turnRequests() []workspacetest.Request {
	return slices.DeleteFunc(e.ws.Requests(), func(r workspacetest.Request) bool {
		return !bytes.Contains(r.Body, []byte(`"tools":[{`))
	})
}

// call is a tool call in the usual form.
func call(name string, args map[string]any) workspacetest.ToolCall {
	return workspacetest.ToolCall{Name: name, Arguments: jsonText(args)}
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}
