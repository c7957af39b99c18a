package rotator_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/ledger"
	"patrol/rotator/workspacetest"
)

const twin = "twin" // the instance's name of all that stand here

// ownTokens is a machine's way to the workspace that remembers what was minted on
// it, and which tokens it wanted to revoke that weren't.
type ownTokens struct {
	watched
	mu     sync.Mutex
	minted []string
}

func (o *ownTokens) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.watched.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, "/token/create") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var made struct {
		Info struct {
			ID string `json:"token_id"`
		} `json:"token_info"`
	}
	if json.Unmarshal(body, &made) == nil {
		o.mu.Lock()
		o.minted = append(o.minted, made.Info.ID)
		o.mu.Unlock()
	}
	return resp, nil
}

func (o *ownTokens) own(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.minted, id)
}

// newTwin returns a machine in the bubble whose patrol has the common name.
func newTwin(t *testing.T, ws *workspacetest.Workspace) *house {
	t.Helper()
	h := &house{T: t, dir: memoryDir(t), ws: ws, logs: new(tail), lifetime: 4 * time.Hour, grace: 5 * time.Minute, schedule: every(t, "0 */3 * * *")}
	l, err := ledger.Open(ledger.Config{Dir: h.stateDir(), Instance: twin, Now: h.now})
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	h.watch()
	return h
}

// watch notes from now on what this machine mints and revokes.
func (h *house) watch() {
	o := &ownTokens{watched: watched{RoundTripper: h.ws.Transport()}}
	o.may = func(id string) bool { // a bootstrap token's comment is empty
		return o.own(id) || slices.ContainsFunc(h.ws.Tokens(), func(t workspacetest.Token) bool { return t.ID == id && t.Comment == "" })
	}
	h.way = o
}

// wantPeace checks that a twin has a token that lives, and has revoked none but its
// own.
func (h *house) wantPeace() {
	h.Helper()
	if tok := h.proxy.token(); h.r.Ready() != nil || !h.isLive(tok.ID) {
		h.Fatalf("a twin's token %v is dead: %v\n%s", tok, h.r.Ready(), h.story())
	}
	o := h.way.(*ownTokens)
	o.watched.mu.Lock()
	defer o.watched.mu.Unlock()
	if len(o.foreign) > 0 {
		h.Fatalf("a twin has asked to revoke %v, which aren't its own\n%s", o.foreign, h.story())
	}
}

// toldOfTwin counts the warnings that another patrol has this one's name. They say
// what to do.
func (h *house) toldOfTwin() (n int) {
	for line := range strings.Lines(h.logs.String()) {
		if (strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR")) && strings.Contains(line, "--instance") {
			n++
		}
	}
	return n
}

// TestTwinMachines: two machines whose patrols have one name leave each other alone,
// and say once that there is another.
func TestTwinMachines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := workspacetest.New(workspacetest.Config{})
		a, b := newTwin(t, ws), newTwin(t, ws)
		for _, h := range []*house{a, b} {
			h.issue(24 * time.Hour)
			h.serve()
			defer h.close()
		}
		for range 24 * 6 {
			a.pass(10 * time.Minute)
			a.wantPeace()
			b.wantPeace()
		}
		a.pass(10 * time.Minute)
		if n := len(ws.Live()); n != 2 {
			t.Errorf("%d tokens live, want one of each", n)
		}
		for _, h := range []*house{a, b} {
			if n := h.toldOfTwin(); n != 1 {
				t.Errorf("the log says %d times that another patrol has this name and to choose one with --instance, want once:\n%s", n, h.story())
			}
			h.checkCanary()
		}
	})
}

// TestTwinLosesItsLedger: of two machines with one name one loses its ledger. It
// revokes what it minted itself, and nothing else.
func TestTwinLosesItsLedger(t *testing.T) {
	for name, lose := range map[string]func(h *house){
		"rotten": func(h *house) { h.write(filepath.Join(h.stateDir(), "ledger"), "rot\n") },
		"gone": func(h *house) {
			if err := os.Remove(filepath.Join(h.stateDir(), "ledger")); err != nil {
				h.Fatal(err)
			}
		},
		"with all but the name": func(h *house) {
			entries, err := os.ReadDir(h.stateDir())
			if err != nil {
				h.Fatal(err)
			}
			for _, e := range entries {
				if e.Name() != "instance" {
					if err := os.RemoveAll(filepath.Join(h.stateDir(), e.Name())); err != nil {
						h.Fatal(err)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ws := workspacetest.New(workspacetest.Config{})
				a, b := newTwin(t, ws), newTwin(t, ws)
				for _, h := range []*house{a, b} {
					h.issue(24 * time.Hour)
					h.serve()
					defer h.close()
				}
				a.pass(time.Hour)
				for _, h := range []*house{a, b} { // each has an old token in its queue
					if _, err := h.r.Rotate(h.Context(), "asked"); err != nil {
						t.Fatal(err)
					}
				}
				a.close()
				lose(a)
				a.serve()
				for range 60 {
					a.pass(time.Minute)
					a.wantPeace()
					b.wantPeace()
				}
				want := 2
				if name == "with all but the name" {
					want = 4 // nothing tells any more that the two from before were its own
				}
				if n := len(ws.Live()); n > want {
					t.Errorf("%d tokens live, want %d at most:\n%s", n, want, a.story())
				}
			})
		})
	}
}

// TestTwinsInOneHome: two patrols with one name share a home, and so a profile, and
// not their state folders. They don't mint against each other.
func TestTwinsInOneHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := workspacetest.New(workspacetest.Config{})
		a, b := newTwin(t, ws), newTwin(t, ws)
		if err := os.Symlink(a.cfgPath(), b.cfgPath()); err != nil {
			t.Fatal(err)
		}
		a.issue(24 * time.Hour)
		a.serve()
		defer a.close()
		a.pass(10 * time.Minute)
		b.serve()
		defer b.close()
		check := func(most int) {
			t.Helper()
			a.wantPeace()
			b.wantPeace()
			if n := len(ws.Tokens()); n > most {
				t.Fatalf("%d tokens so far, want %d at most:\n%s", n, most, b.story())
			}
			if value := a.profileToken(); !slices.ContainsFunc(ws.Live(), func(t workspacetest.Token) bool { return t.Value == value }) {
				t.Fatalf("the profile holds a dead token:\n%s", b.story())
			}
		}
		for range 120 { // both watch the profile
			a.r.CheckProfile()
			b.r.CheckProfile()
			a.pass(time.Second)
			check(6)
		}
		for range 24 * 6 {
			a.pass(10 * time.Minute)
			check(6 + 2*9)
		}
		told := 0
		for _, h := range []*house{a, b} {
			n := h.toldOfTwin()
			told += n
			if n > 1 {
				t.Errorf("the log says %d times that another patrol has this name, want once:\n%s", n, h.story())
			}
		}
		if told == 0 {
			t.Errorf("no log says that another patrol has this name:\n%s", b.story())
		}
		b.close()
		a.pass(6 * time.Hour) // what it has left in the profile expires
		if value := a.profileToken(); value != a.inUse().Value {
			t.Errorf("the other is gone for six hours, and the profile isn't kept:\n%s", a.story())
		}
	})
}

// TestNoncesOfVersion1: the nonces of an earlier patrol tell nothing of a state
// folder. Where the ledger doesn't know such a token it is left to expire, and it is
// no sign of another patrol.
func TestNoncesOfVersion1(t *testing.T) {
	inHouse(t, func(h *house) {
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(time.Hour)
		h.close()
		var old []workspacetest.Token
		for _, nonce := range []string{"0123456789abcdef", "fedcba9876543210", "a5a5a5a5c3c3c3c3"} {
			old = append(old, h.ws.Issue(workspacetest.IssueOptions{Comment: "patrol/" + h.ledger.Instance() + "/" + nonce, Lifetime: 4 * time.Hour}))
		}
		h.write(filepath.Join(h.stateDir(), "ledger"), "rot\n")
		h.serve()
		h.pass(time.Hour)
		for _, tok := range old {
			if !h.isLive(tok.ID) {
				t.Errorf("a token was revoked of which nothing says that it is this folder's: %s\n%s", tok.Comment, h.story())
			}
		}
		if n := h.toldOfTwin(); n > 0 {
			t.Errorf("the log says that another patrol has this name:\n%s", h.story())
		}
	})
}
