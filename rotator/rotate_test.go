package rotator_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator"
	"patrol/rotator/workspacetest"
)

func TestRotateReplacesTheBootstrapToken(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(90 * 24 * time.Hour)
		h.write(h.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+h.host()+`", "ANTHROPIC_AUTH_TOKEN": "`+boot.Value+`"}}`)
		h.write(h.openCodePath(), `{"databricks": {"type": "api", "key": "`+boot.Value+`"}, "openai": {"type": "api", "key": "sk-real"}}`)
		h.serve()
		if len(h.live()) != 2 {
			h.Fatalf("live: %v, want the bootstrap token and ours", h.live())
		}
		h.pass(h.grace - time.Second)
		if !h.isLive(boot.ID) {
			h.Error("revoked before the grace was over")
		}
		h.pass(2 * time.Second)
		tok := h.wantOne()
		if tok.ID == boot.ID || !strings.HasPrefix(tok.Comment, "patrol/"+h.ledger.Instance()+"/") {
			h.Errorf("the token that lives is %s, %q", tok.ID, tok.Comment)
		}
		if got, want := h.read(h.claudePath()), `{"env": {"ANTHROPIC_BASE_URL": "`+h.host()+`", "ANTHROPIC_AUTH_TOKEN": "`+tok.Value+`"}}`; got != want {
			h.Errorf("claude: %s", got)
		}
		if got, want := h.read(h.openCodePath()), `{"databricks": {"type": "api", "key": "`+tok.Value+`"}, "openai": {"type": "api", "key": "sk-real"}}`; got != want {
			h.Errorf("opencode: %s", got)
		}
	})
}

func TestRotateKeepsScopesAndLifetime(t *testing.T) {
	inHouse(t, func(h *house) {
		h.lifetime = 90 * time.Minute
		boot := h.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour, Scopes: []string{"model-serving", "authentication"}})
		h.writeProfile(boot.Value)
		h.serve()
		tok := h.ws.Tokens()[1]
		if strings.Join(tok.Scopes, " ") != strings.Join(boot.Scopes, " ") || tok.Expiry.Sub(tok.Created) != h.lifetime {
			h.Errorf("scopes %v, lifetime %v", tok.Scopes, tok.Expiry.Sub(tok.Created))
		}
	})
}

func TestRotateJoins(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(time.Hour)
		h.serve()
		minted := len(h.ws.Tokens())
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Slow, Delay: time.Second, Times: workspacetest.Always})
		var all sync.WaitGroup
		results := make([]rotator.Rotation, 10)
		for i := range results {
			all.Go(func() {
				var err error
				if results[i], err = h.r.Rotate(h.Context(), "asked"); err != nil {
					h.Error(err)
				}
			})
		}
		all.Wait()
		began := 0
		for _, r := range results {
			if !r.Joined {
				began++
			}
			if !r.Token.Same(results[0].Token) {
				h.Error("two who joined got two tokens")
			}
		}
		if got := len(h.ws.Tokens()) - minted; got != 1 || began != 1 {
			h.Errorf("%d tokens minted, %d rotations begun, for ten who asked at once", got, began)
		}
		if _, err := h.r.Rotate(h.Context(), "asked"); err != nil || len(h.ws.Tokens())-minted != 2 {
			h.Errorf("one who asks later: %v, %d tokens", err, len(h.ws.Tokens())-minted)
		}
	})
}

func TestRotateGoesOnWithoutItsAsker(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(time.Hour)
		h.serve()
		h.ws.Inject(workspacetest.Fault{Path: "/api/2.0/token/create", Effect: workspacetest.Slow, Delay: time.Second})
		before := h.proxy.token()
		ctx, cancel := context.WithTimeout(h.Context(), time.Millisecond)
		defer cancel()
		if _, err := h.r.Rotate(ctx, "asked"); !errors.Is(err, context.DeadlineExceeded) {
			h.Errorf("Rotate = %v", err)
		}
		h.pass(time.Minute)
		if h.proxy.token().Same(before) {
			h.Error("the rotation ended with the one who had asked for it")
		}
	})
}

// TestPreflight: what can't be written stops the mint, and a broken agent's
// file only while there is time.
func TestPreflight(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(4 * time.Hour)
		h.write(h.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+h.host()+`"`)
		h.serve()
		if n := len(h.ws.Tokens()); n != 1 {
			h.Fatalf("%d tokens minted while a file was broken and there was time", n-1)
		}
		_, err := h.r.Rotate(h.Context(), "asked")
		if err == nil || !strings.Contains(err.Error(), h.claudePath()) || !strings.Contains(err.Error(), "nothing was minted") {
			h.Errorf("Rotate = %v", err)
		}
		h.pass(3*time.Hour + 10*time.Minute)
		if n := len(h.ws.Tokens()); n < 2 {
			h.Fatalf("a quarter of the life was left and nothing was minted:\n%s", h.story())
		}
		h.write(h.claudePath(), `{"env": {"ANTHROPIC_BASE_URL": "`+h.host()+`"}}`)
		h.pass(6 * time.Minute)
		if tok := h.wantOne(); !strings.Contains(h.read(h.claudePath()), tok.Value) {
			h.Error("the file was mended and not written")
		}
	})
}

// TestPreflightBootstrap: a broken agent's file doesn't keep a token of months
// in use for months.
func TestPreflightBootstrap(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(90 * 24 * time.Hour)
		h.write(h.claudePath(), `[]`)
		h.serve()
		h.pass(h.lifetime)
		if h.proxy.token().Expose() == boot.Value {
			h.Errorf("after %v the bootstrap token is still in use:\n%s", h.lifetime, h.story())
		}
	})
}

func TestPreflightProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(4 * time.Hour)
		h.env = boot.Value
		h.write(h.cfgPath(), "[DEFAULT]\nhost = "+host+"\nclient_id = x\nclient_secret = y\n")
		h.open()
		if err := h.r.Start(h.Context()); err != nil {
			h.Fatal(err)
		}
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil || len(h.ws.Tokens()) != 1 {
			h.Errorf("Rotate = %v, %d tokens", err, len(h.ws.Tokens()))
		}
	})
}

// TestMintFaults: whatever a create does, the old token goes on, a later try
// works, and no token of ours is left over.
func TestMintFaults(t *testing.T) {
	faults := map[string]workspacetest.Fault{
		"500":             {Effect: workspacetest.Answer, Status: 500, Body: `{"error_code":"INTERNAL_ERROR","message":"x"}`},
		"503":             {Effect: workspacetest.Answer, Status: 503, Body: `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"x"}`, Times: 5},
		"429":             {Effect: workspacetest.Answer, Status: 429, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"x"}`, Times: 5},
		"permission":      {Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":"PERMISSION_DENIED","message":"no"}`},
		"invalid once":    {Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":403,"message":"Invalid access token."}`},
		"empty":           {Effect: workspacetest.Empty},
		"empty, done":     {Effect: workspacetest.Empty, After: true},
		"hang":            {Effect: workspacetest.Hang},
		"hang, done":      {Effect: workspacetest.Hang, After: true},
		"reset":           {Effect: workspacetest.Reset, Times: 3},
		"reset, done":     {Effect: workspacetest.Reset, After: true, Times: 3},
		"closed, done":    {Effect: workspacetest.Close, After: true},
		"broken, done":    {Effect: workspacetest.Break},
		"html":            {Effect: workspacetest.Answer, Status: 502, Body: "<html><pre>Bad Gateway</pre>"},
		"slow":            {Effect: workspacetest.Slow, Delay: 10 * time.Second},
		"too slow, done":  {Effect: workspacetest.Slow, After: true, Delay: time.Minute},
		"redirected away": {Effect: workspacetest.Answer, Status: 302, Header: map[string][]string{"Location": {"https://evil.example/"}}},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				boot := h.issue(90 * 24 * time.Hour)
				fault.Method, fault.Path = "POST", "/api/2.0/token/create"
				h.ws.Inject(fault)
				h.serve()
				if got := h.proxy.token().Expose(); got != boot.Value && fault.Effect != workspacetest.Slow {
					h.Errorf("the proxy lost the token that works")
				}
				h.pass(h.grace + 30*time.Minute)
				if tok := h.wantOne(); tok.ID == boot.ID {
					h.Errorf("it wasn't tried again:\n%s", h.story())
				}
			})
		})
	}
}

// TestProbeFaults: a token that doesn't work is never handed on.
func TestProbeFaults(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(90 * 24 * time.Hour)
		h.serve() // rotates once
		h.pass(time.Hour)
		before := h.wantOne()
		h.ws.Inject(workspacetest.Fault{
			Method: "GET", Path: "/api/2.0/token/list", Effect: workspacetest.Answer,
			Status: 403, Body: `{"error_code":403,"message":"Invalid access token."}`, Times: 5,
		})
		_, err := h.r.Rotate(h.Context(), "asked")
		if err == nil || !strings.Contains(err.Error(), "given up") {
			h.Errorf("Rotate = %v", err)
		}
		if h.proxy.token().Expose() != before.Value || h.profileToken() != before.Value {
			h.Error("a token that failed its probe was handed on")
		}
		h.pass(h.grace + time.Minute)
		if tok := h.wantOne(); tok.ID == boot.ID {
			h.Error("the bootstrap token is back")
		}
	})
}

// TestWriteFails: the old token lives as long as a file holds it.
func TestWriteFails(t *testing.T) {
	if os.Getuid() == 0 {
		t.Log("as root a folder's mode stops nobody: a folder in the file's place does")
	}
	inHouse(t, func(h *house) {
		h.issue(90 * 24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		old := h.wantOne()
		// OpenCode's file appears after the preflight with the old token and
		// can't be replaced: its temporary file has no room.
		h.write(h.openCodePath(), `{"databricks": {"type": "api", "key": "`+old.Value+`"}}`)
		h.breakDuring("/api/2.0/token/create", func() { h.write(h.openCodePath(), `{"databricks": {"type": "api", "key": "`+old.Value+`"}`) })
		rotation, err := h.r.Rotate(h.Context(), "asked")
		if err != nil {
			h.Fatal(err)
		}
		if rotation.Files[2].Error == "" {
			h.Fatal("a broken file was written")
		}
		h.pass(h.grace + time.Hour)
		if !h.isLive(old.ID) {
			h.Fatalf("a token was revoked while a file may hold it:\n%s", h.story())
		}
		if status := h.r.Status(); status.Files[2].Error == "" || len(status.Retiring) != 1 || status.Retiring[0].Error == "" {
			h.Errorf("status doesn't say so: %+v", status)
		}
		h.write(h.openCodePath(), `{"databricks": {"type": "api", "key": "`+old.Value+`"}}`)
		h.pass(h.grace + 10*time.Minute)
		if tok := h.wantOne(); !strings.Contains(h.read(h.openCodePath()), tok.Value) {
			h.Error("the file was mended and not written")
		}
	})
}

// breakDuring calls f once, while the workspace answers a request for path.
func (h *house) breakDuring(path string, f func()) {
	var once sync.Once
	h.ws.Inject(workspacetest.Fault{Match: nil, Path: path, Effect: workspacetest.Slow, Delay: time.Second})
	go func() {
		time.Sleep(500 * time.Millisecond)
		once.Do(f)
	}()
}

// TestFileTakesTheOldTokenBack: an old token that is put back into a file is
// replaced, and revoked only after another grace. The look at the files and the
// end of the grace fall on the same instant, so which comes first is chance.
func TestFileTakesTheOldTokenBack(t *testing.T) {
	for range 50 {
		inHouse(t, func(h *house) {
			boot := h.issue(90 * 24 * time.Hour)
			h.serve()
			h.pass(h.grace - time.Second)
			h.writeProfile(boot.Value)
			h.pass(10 * time.Second)
			if !h.isLive(boot.ID) || h.profileToken() == boot.Value {
				h.Fatalf("live %v, in the file %v", h.isLive(boot.ID), h.profileToken() == boot.Value)
			}
			h.pass(h.grace)
			h.wantOne()
		})
	}
}

func TestDrain(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(90 * 24 * time.Hour)
		h.open()
		h.proxy.hold = true
		stop := h.runNow()
		h.pass(9 * time.Minute)
		if !h.isLive(boot.ID) {
			h.Error("revoked while a request carried it")
		}
		h.proxy.mu.Lock()
		for _, drained := range h.proxy.open {
			close(drained)
		}
		h.proxy.open = nil
		h.proxy.mu.Unlock()
		h.pass(h.grace - time.Second)
		if !h.isLive(boot.ID) {
			h.Error("the grace didn't wait for the drain")
		}
		h.pass(2 * time.Second)
		h.wantOne()
		stop()
	})
}

func TestDrainAtMost(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(90 * 24 * time.Hour)
		h.open()
		h.proxy.hold = true
		stop := h.runNow()
		h.pass(10*time.Minute + h.grace + time.Second)
		if h.isLive(boot.ID) {
			h.Error("a request that never ends keeps the old token alive")
		}
		stop()
	})
}

// runNow starts an opened house.
func (h *house) runNow() (stop func()) {
	h.Helper()
	ctx, cancel := context.WithCancel(h.Context())
	done := make(chan struct{})
	if err := h.r.Start(ctx); err != nil {
		h.Fatal(err)
	}
	go func() {
		defer close(done)
		_ = h.r.Run(ctx)
	}()
	synctest.Wait()
	return func() { cancel(); <-done }
}
