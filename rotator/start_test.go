package rotator_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"patrol/rotator"
	"patrol/rotator/ledger"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

func invalid() workspacetest.Fault {
	return workspacetest.Fault{Effect: workspacetest.Answer, Status: 403, Body: `{"error_code":403,"message":"Invalid access token."}`}
}

// TestStartTokens: which token is taken at start.
func TestStartTokens(t *testing.T) {
	tests := []struct {
		name      string
		env, file string // "works", "dead" or "": none
		want      string // "env", "file", "login" or "conflict"
	}{
		{"none", "", "", "login"},
		{"file", "", "works", "file"},
		{"environment", "works", "", "env"},
		{"dead file", "", "dead", "login"},
		{"dead environment", "dead", "", "login"},
		{"both dead", "dead", "dead", "login"},
		{"stale environment", "dead", "works", "file"},
		{"stale file", "works", "dead", "env"},
		{"two that work", "works", "works", "conflict"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				value := func(kind string) string {
					switch kind {
					case "works":
						return h.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour}).Value
					case "dead":
						tok := h.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
						h.ws.Revoke(tok.ID)
						return tok.Value
					}
					return ""
				}
				h.env = value(test.env)
				file := value(test.file)
				h.writeProfile(file)
				h.open()
				err := h.r.Start(h.Context())
				conflict := errors.Is(err, rotator.ErrConflict)
				switch got := h.r.Current().Expose(); {
				case test.want == "env" && (err != nil || got != h.env),
					test.want == "file" && (err != nil || got != file),
					test.want == "login" && (!errors.Is(err, rotator.ErrNeedsLogin) || got != ""),
					test.want == "conflict" && (!conflict || got != ""):
					t.Errorf("Start = %v", err)
				}
				if err != nil && test.want == "login" && !strings.Contains(err.Error(), "patrol login") {
					t.Errorf("the error doesn't say what to do: %v", err)
				}
				if conflict && (!strings.Contains(err.Error(), "DATABRICKS_TOKEN") || !strings.Contains(err.Error(), "profile DEFAULT")) {
					t.Errorf("the error doesn't name the choices: %v", err)
				}
				if (err == nil) != (h.r.Ready() == nil) {
					t.Errorf("Start = %v, Ready = %v", err, h.r.Ready())
				}
			})
		})
	}
}

// TestRestartWithAStaleEnvironment: the environment's token was revoked long
// ago, and doesn't matter.
func TestRestartWithAStaleEnvironment(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.ws.Issue(workspacetest.IssueOptions{Lifetime: 24 * time.Hour})
		h.env = boot.Value
		h.serve()
		h.pass(time.Hour)
		if !h.isLive(boot.ID) {
			h.Error("a token that came from the environment was revoked: a restart would find it there, dead")
		}
		h.ws.Revoke(boot.ID)
		tok := h.wantOne()
		requests := len(h.ws.Requests())
		h.restart()
		if got := h.wantOne(); got.ID != tok.ID {
			h.Errorf("a restart minted")
		}
		if n := len(h.ws.Requests()) - requests; n > 2 {
			h.Errorf("a start with a fresh token asked the workspace %d times, want 2 at most: what time it is", n)
		}
	})
}

// TestComesToLife: the service waits for a token to be put into the profile.
func TestComesToLife(t *testing.T) {
	inHouse(t, func(h *house) {
		h.serve()
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) {
			h.Fatalf("Ready = %v", err)
		}
		h.pass(time.Hour)
		boot := h.issue(24 * time.Hour)
		h.pass(3 * time.Second)
		if err := h.r.Ready(); err != nil {
			h.Fatalf("Ready = %v", err)
		}
		h.pass(h.grace + time.Minute)
		if tok := h.wantOne(); tok.ID == boot.ID {
			h.Error("the token wasn't rotated")
		}
	})
}

// TestStartWithoutNetwork: what can't be found out now is found out later.
func TestStartWithoutNetwork(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.ws.Inject(workspacetest.Fault{Effect: workspacetest.Reset, Times: 20})
		h.serve()
		if err := h.r.Ready(); err == nil || errors.Is(err, rotator.ErrNeedsLogin) {
			h.Fatalf("Ready = %v", err)
		}
		h.pass(2 * time.Hour)
		h.wantOne()
	})
}

// TestPastedToken: a token that a person puts into the profile is used.
func TestPastedToken(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		first := h.wantOne()
		pasted := h.ws.Issue(workspacetest.IssueOptions{User: "other@example.com", Lifetime: 24 * time.Hour})
		h.writeProfile(pasted.Value)
		h.pass(time.Minute)
		tok := h.ws.Live("other@example.com")
		if got := h.proxy.token().Expose(); len(tok) == 0 || got != tok[len(tok)-1].Value {
			h.Errorf("the proxy doesn't have a token of the other user")
		}
		_ = first
	})
}

// TestLook: who is told that the profile has changed needn't wait.
func TestLook(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Second)
		pasted := h.issue(24 * time.Hour)
		h.r.CheckProfile()
		h.pass(time.Second)
		tokens := h.ws.Tokens()
		if last := tokens[len(tokens)-1]; last.ID == pasted.ID || h.proxy.token().Expose() != last.Value {
			h.Error("the token in the profile was not taken over")
		}
	})
}

// TestBootstrapIsLeftAlone: a token that isn't certainly ours is never
// revoked.
func TestBootstrapIsLeftAlone(t *testing.T) {
	tests := map[string]struct {
		cfg     workspacetest.Config
		comment string
		env     bool
		want    bool // revoked
	}{
		"plain":                {want: true},
		"from the environment": {env: true},
		"its id is unknown":    {cfg: workspacetest.Config{RandomIDs: true}},
		"another patrol's":     {comment: "patrol/other-12345678/0123456789abcdef"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			inHouseWith(t, test.cfg, func(h *house) {
				// A newer token, as a CI job has: it must never be taken for ours.
				boot := h.ws.Issue(workspacetest.IssueOptions{Comment: test.comment, Lifetime: 24 * time.Hour})
				ci := h.ws.Issue(workspacetest.IssueOptions{Comment: "CI"})
				h.writeProfile(boot.Value)
				if test.env {
					h.env = boot.Value
				}
				h.serve()
				h.pass(9 * time.Hour) // several rotations
				if h.isLive(boot.ID) == test.want || !h.isLive(ci.ID) {
					h.Errorf("the bootstrap token lives: %v; the CI job's: %v\n%s", h.isLive(boot.ID), h.isLive(ci.ID), h.story())
				}
				ours := 0
				for _, tok := range h.ws.Live() {
					if strings.HasPrefix(tok.Comment, "patrol/"+h.ledger.Instance()) {
						ours++
					}
				}
				if ours != 1 {
					h.Errorf("%d of our tokens live", ours)
				}
			})
		})
	}
}

// TestChainDies: a token that is revoked behind our back ends the chain, which
// everyone is told, and a new one begins it anew.
func TestChainDies(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		tok := h.wantOne()
		h.ws.Revoke(tok.ID)
		_, err := h.r.Rotate(h.Context(), "asked")
		if !errors.Is(err, rotator.ErrNeedsLogin) || !strings.Contains(err.Error(), "patrol login") {
			h.Errorf("Rotate = %v", err)
		}
		if err := h.r.Ready(); !errors.Is(err, rotator.ErrNeedsLogin) || !h.proxy.token().IsZero() {
			h.Errorf("Ready = %v, the proxy has %v", err, h.proxy.token())
		}
		h.pass(time.Hour)
		h.issue(24 * time.Hour)
		h.pass(10 * time.Minute)
		h.wantOne()
		if err := h.r.Ready(); err != nil {
			h.Errorf("Ready = %v", err)
		}
	})
}

// TestPassingRefusal: a workspace that calls a good token invalid for a while
// doesn't end the chain for good.
func TestPassingRefusal(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.wantOne()
		f := invalid()
		f.Times = 6
		h.ws.Inject(f)
		if _, err := h.r.Rotate(h.Context(), "asked"); err == nil {
			h.Error("Rotate worked")
		}
		h.pass(15 * time.Minute)
		h.wantOne()
		if err := h.r.Ready(); err != nil {
			h.Errorf("Ready = %v", err)
		}
	})
}

// TestRestartMidway: a ledger as a crash leaves it is brought to its end.
func TestRestartMidway(t *testing.T) {
	for _, stage := range []ledger.Stage{ledger.Intended, ledger.Minted, ledger.Probed, ledger.Published, ledger.Current, ledger.Retiring} {
		t.Run(string(stage), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.issue(24 * time.Hour)
				h.serve()
				h.pass(10 * time.Minute)
				tok := h.wantOne()
				h.close()

				// The mint went through; the process died at the stage.
				l, err := ledger.Open(ledger.Config{Dir: h.stateDir(), Now: h.now})
				if err != nil {
					h.Fatal(err)
				}
				e := ledger.Entry{Nonce: ledger.RandomNonce(), Stage: ledger.Intended, Host: pat.New("", host).Host}
				e.Comment = "patrol/" + l.Instance() + "/" + e.Nonce
				lost := h.ws.Issue(workspacetest.IssueOptions{Comment: e.Comment, Lifetime: 4 * time.Hour})
				if err := l.Put(e); err != nil {
					h.Fatal(err)
				}
				if stage != ledger.Intended {
					e.Stage, e.ID, e.Hash, e.Created, e.Expiry = stage, lost.ID, lost.ID, lost.Created, lost.Expiry
					if err := l.Put(e); err != nil {
						h.Fatal(err)
					}
				}
				if err := l.Close(); err != nil {
					h.Fatal(err)
				}

				h.serve()
				h.pass(h.grace + 5*time.Minute)
				if got := h.wantOne(); got.ID != tok.ID {
					h.Errorf("a restart minted")
				}
			})
		})
	}
}

// TestRestartAfterTheFileWasWritten: the ledger had no time to hear of it.
func TestRestartAfterTheFileWasWritten(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.close()
		l, err := ledger.Open(ledger.Config{Dir: h.stateDir(), Now: h.now})
		if err != nil {
			h.Fatal(err)
		}
		e := ledger.Entry{Nonce: ledger.RandomNonce(), Stage: ledger.Published, Host: pat.New("", host).Host}
		e.Comment = "patrol/" + l.Instance() + "/" + e.Nonce
		fresh := h.ws.Issue(workspacetest.IssueOptions{Comment: e.Comment, Lifetime: 4 * time.Hour})
		e.ID, e.Hash, e.Created, e.Expiry, e.LocalExpiry = fresh.ID, fresh.ID, fresh.Created, fresh.Expiry, fresh.Expiry
		if err := l.Put(e); err != nil {
			h.Fatal(err)
		}
		if err := l.Close(); err != nil {
			h.Fatal(err)
		}
		h.writeProfile(fresh.Value)
		h.serve()
		h.pass(h.grace + time.Minute)
		if got := h.wantOne(); got.ID != fresh.ID {
			h.Errorf("the token in the file isn't the one in use")
		}
	})
}

// TestTwoPatrolsOnOneProfile: neither takes the other's tokens over, or they
// would mint without end.
func TestTwoPatrolsOnOneProfile(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		other := h.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/other-01234567/0123456789abcdef", Lifetime: 4 * time.Hour})
		h.writeProfile(other.Value)
		before := len(h.ws.Tokens())
		h.pass(time.Hour)
		if got := len(h.ws.Tokens()) - before; got != 0 {
			h.Errorf("%d tokens were minted", got)
		}
		if !h.isLive(other.ID) {
			h.Error("the other's token was revoked")
		}
	})
}

// TestFilesAreMended: a file that appears later, or that somebody puts an old
// token back into, gets the current one without waiting for a rotation.
func TestFilesAreMended(t *testing.T) {
	inHouse(t, func(h *house) {
		boot := h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		h.write(h.openCodePath(), `{"databricks": {"type": "api", "key": "`+boot.Value+`"}}`)
		h.pass(6 * time.Minute)
		if tok := h.wantOne(); !strings.Contains(h.read(h.openCodePath()), tok.Value) {
			h.Error("OpenCode's file holds a token that was revoked")
		}
	})
}

// TestTwoPatrolsThatCannotTell: where the workspace doesn't say which token is
// whose, two patrols on one profile still don't mint without end.
func TestTwoPatrolsThatCannotTell(t *testing.T) {
	inHouseWith(t, workspacetest.Config{RandomIDs: true}, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		before := len(h.ws.Tokens())
		const minutes = 60
		for range minutes {
			h.writeProfile(h.ws.Issue(workspacetest.IssueOptions{Lifetime: time.Hour}).Value) // as the other one does
			h.pass(time.Minute)
		}
		if got := len(h.ws.Tokens()) - before - minutes; got > minutes/5+1 {
			h.Errorf("%d tokens minted in an hour", got)
		}
	})
}

// TestProfileIsRestored: a profile that is deleted comes back.
func TestProfileIsRestored(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		if err := os.Remove(h.cfgPath()); err != nil {
			h.Fatal(err)
		}
		h.pass(time.Minute + time.Second)
		h.wantOne()
	})
}

// TestNoExpiry: a workspace that gives tokens without an expiry gets them back.
func TestNoExpiry(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.ws.Inject(workspacetest.Fault{
			Path: "/api/2.0/token/create", Effect: workspacetest.Answer, Status: 200, Times: workspacetest.Always,
			Body: `{"token_value":"dapi-without-expiry","token_info":{"token_id":"x","creation_time":1,"expiry_time":-1}}`,
		})
		h.serve()
		before := len(h.ws.Requests())
		h.pass(time.Hour)
		if got := len(h.ws.Requests()) - before; got > 200 {
			h.Errorf("%d requests in an hour", got)
		}
		if h.r.Status().Last.Error == "" {
			h.Error("the rotation worked")
		}
	})
}

// TestStraysAreLeft: with an empty ledger, tokens that bear our instance may be
// another machine's, and are left alone.
func TestStraysAreLeft(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.close()
		stray := h.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/" + h.ledger.Instance() + "/0123456789abcdef", Lifetime: 4 * time.Hour})
		instance := h.ledger.Instance()
		if err := os.RemoveAll(h.stateDir()); err != nil {
			h.Fatal(err)
		}
		l, err := ledger.Open(ledger.Config{Dir: h.stateDir(), Instance: instance, Now: h.now})
		if err != nil {
			h.Fatal(err)
		}
		if err := l.Close(); err != nil {
			h.Fatal(err)
		}
		h.serve()
		h.pass(10 * time.Minute)
		if !h.isLive(stray.ID) {
			h.Errorf("it was revoked:\n%s", h.story())
		}
	})
}
