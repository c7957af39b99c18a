package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// TestAgentsThroughRotations: 64 clients that hold the bootstrap token for
// ever ask through the real binary while it rotates 200 times and revokes
// without a grace, and each request may lose its connection once. No client
// sees any of it.
func TestAgentsThroughRotations(t *testing.T) {
	rotations, between := many(200), int64(10)
	var lost sync.Map // ids of requests that lost their connection
	svc := newTestService(t, workspacetest.Config{Events: 3, Fault: func(r *http.Request) *workspacetest.Fault {
		id := r.Header.Get(stormID)
		if id == "" || rand.IntN(20) > 0 {
			return nil
		}
		if _, again := lost.LoadOrStore(id, true); again {
			return nil
		}
		effect := []workspacetest.Effect{workspacetest.Reset, workspacetest.Close}[rand.IntN(2)]
		return &workspacetest.Fault{Effect: effect, After: rand.IntN(2) == 0}
	}})
	svc.serve(t, "--grace", "0s")
	s := startStorm(t, svc)
	for done := 0; done < rotations && !t.Failed(); {
		s.waitFor(t, between)
		r, err := svc.control.Rotate(t.Context())
		if err != nil {
			t.Errorf("rotating: %v", err)
		}
		if !r.Joined { // the start's own may be under way still
			done++
		}
	}
	s.end()
	svc.wantSettled(t, rotations+1)
	svc.wantValid(t)
	var resent int
	lost.Range(func(any, any) bool { resent++; return true })
	t.Logf("%d requests answered, %d of them lost a connection", s.answered.Load(), resent)
	if resent == 0 {
		t.Error("no request lost its connection")
	}
}

// TestAgentsThroughDeadToken: somebody else revokes the token in use while the
// clients ask. The first refusal brings one new token, the clients see nothing.
func TestAgentsThroughDeadToken(t *testing.T) {
	const enough = 200
	svc := newTestService(t, workspacetest.Config{Events: 3})
	svc.addMinter(t)
	svc.serve(t, "--grace", "0s", "--mint-profile", "minter")
	s := startStorm(t, svc)
	s.waitFor(t, enough)
	svc.wantSettled(t, 1)
	svc.ws.Revoke(svc.ws.Live()[0].ID)
	s.waitFor(t, enough)
	s.end()
	svc.wantSettled(t, 2)
}

// stormID is a header that tells requests apart.
const stormID = "X-Storm-Id"

// addMinter adds the profile of a service principal that may mint.
func (svc *testService) addMinter(t *testing.T) {
	t.Helper()
	svc.ws.AddClient("minter", "minter-secret", workspacetest.DefaultUser)
	cfg, err := os.OpenFile(filepath.Join(svc.home, ".databrickscfg"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cfg.Close() }()
	if _, err := fmt.Fprintf(cfg, "\n[minter]\nhost = %s\nclient_id = minter\nclient_secret = minter-secret\n", svc.ws.URL); err != nil {
		t.Fatal(err)
	}
}

// A storm is clients that ask again and again, each after a moment: without one
// they would keep patrol from rotating, and show no more.
type storm struct {
	answered atomic.Int64
	end      func() // waits for the answers that are under way
}

func startStorm(t *testing.T, svc *testService) *storm {
	const clients = 64
	s := new(storm)
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for i := range clients {
		work.Go(func() {
			c := &http.Client{Transport: new(http.Transport)}
			defer c.CloseIdleConnections()
			for n := 0; ctx.Err() == nil; n++ {
				id := strconv.Itoa(i) + "-" + strconv.Itoa(n)
				if err := ask(t.Context(), c, svc.proxy+"/v1/chat/completions", svc.first.Value, id, i%2 == 0); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				s.answered.Add(1)
				time.Sleep(rand.N(100 * time.Millisecond))
			}
		})
	}
	s.end = func() { stop(); work.Wait() }
	t.Cleanup(s.end)
	return s
}

// waitFor waits until so many more requests have been answered.
func (s *storm) waitFor(t *testing.T, more int64) {
	for enough := s.answered.Load() + more; s.answered.Load() < enough && !t.Failed(); {
		time.Sleep(time.Millisecond)
	}
}

// ask sends one request and returns an error for whatever isn't a whole
// answer with status 200.
func ask(ctx context.Context, c *http.Client, url, token, id string, stream bool) error {
	body := fmt.Sprintf(`{"model":"m","stream":%t,"messages":[{"role":"user","content":"hello"}]}`, stream)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set(stormID, id)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("the answer was cut off: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s", resp.Status, answer)
	case stream && !bytes.Contains(answer, []byte("data: [DONE]")):
		return fmt.Errorf("the stream has no end: %s", answer)
	}
	return nil
}
