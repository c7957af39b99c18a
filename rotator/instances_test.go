package rotator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

// TestInstances: twenty machines of one user, who has other tokens too, in a
// workspace that has room for half as many new tokens as they want at once,
// and where much goes wrong. None of them touches what isn't its own, and none is
// left without a token.
func TestInstances(t *testing.T) {
	const machines, strangers, quota = 20, 6, 36
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		seed := rand.Uint64()
		chance, rate := rand.New(rand.NewPCG(seed, 0)), 0.1
		t.Logf("seed %d", seed)
		ws := workspacetest.New(workspacetest.Config{Quota: quota, Fault: func(*http.Request) *workspacetest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if chance.Float64() >= rate {
				return nil
			}
			return anyFault(chance)
		}})
		for i := range strangers {
			comment := []string{"CI", "", "patrol", "patrol/other-01234567/89abcdef01234567"}[i%4]
			ws.Issue(workspacetest.IssueOptions{Comment: comment})
		}
		foreign := ids(ws.Live())
		var all []*house
		for range machines {
			h := &house{T: t, dir: memoryDir(t), ws: ws, logs: new(tail), lifetime: 4 * time.Hour, grace: 5 * time.Minute, schedule: every(t, "0 */3 * * *")}
			w := &watched{RoundTripper: ws.Transport()}
			h.way = w
			boot := h.issue(24 * time.Hour)
			w.may = func(id string) bool {
				return id == boot.ID || slices.ContainsFunc(ws.Tokens(), func(t workspacetest.Token) bool {
					return t.ID == id && strings.HasPrefix(t.Comment, "patrol/"+h.ledger.Instance()+"/")
				})
			}
			h.serve()
			defer h.close()
			all = append(all, h)
		}
		most := 0
		for range 10 * 6 { // ten hours: three rotations and the first
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			live := ids(ws.Live())
			most = max(most, len(live))
			for _, id := range foreign {
				if !slices.Contains(live, id) {
					t.Fatalf("token %s was revoked, which is nobody's here", id)
				}
			}
			for i, h := range all {
				if tok := h.proxy.token(); h.r.Ready() == nil && !slices.ContainsFunc(ws.Live(), func(t workspacetest.Token) bool { return t.Value == tok.Expose() }) {
					t.Fatalf("machine %d uses %v, which is dead:\n%s", i, tok, h.story())
				}
			}
		}
		mu.Lock()
		rate = 0
		mu.Unlock()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		live := ids(ws.Live())
		if len(live) != machines+strangers || most > quota+machines {
			t.Errorf("%d tokens live in the end, want %d; at most it were %d", len(live), machines+strangers, most)
		}
		refused := 0
		for i, h := range all {
			if tok := h.proxy.token(); h.r.Ready() != nil || !slices.Contains(live, tok.ID) || h.profileToken() != tok.Expose() || len(h.r.Status().Retiring) > 0 {
				t.Errorf("machine %d: %v, %v\n%s", i, tok, h.r.Ready(), h.story())
			}
			w := h.way.(*watched)
			if len(w.revoked) < 4 || len(w.foreign) > 0 {
				t.Errorf("machine %d revoked %d tokens, and asked for these, which aren't its own: %v", i, len(w.revoked), w.foreign)
			}
			refused += strings.Count(h.logs.String(), "QUOTA_EXCEEDED")
			h.close()
			h.checkCanary()
		}
		t.Logf("%d tokens minted, at most %d alive, %d log lines about the quota", len(ws.Tokens())-machines-strangers, most, refused)
		if refused == 0 {
			t.Error("the quota was never reached: this test shows less than it says")
		}
	})
}

func ids(tokens []workspacetest.Token) []string {
	var all []string
	for _, t := range tokens {
		all = append(all, t.ID)
	}
	return all
}

// watched is a machine's way to the workspace, on which somebody sees which
// tokens it wants to revoke.
type watched struct {
	http.RoundTripper
	may func(id string) bool

	mu      sync.Mutex
	revoked []string
	foreign []string // of them
}

func (w *watched) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token/delete") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var in struct {
			ID string `json:"token_id"`
		}
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, fmt.Errorf("what is to be revoked: %w", err)
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		w.mu.Lock()
		w.revoked = append(w.revoked, in.ID)
		if !w.may(in.ID) {
			w.foreign = append(w.foreign, in.ID)
		}
		w.mu.Unlock()
	}
	return w.RoundTripper.RoundTrip(r)
}
