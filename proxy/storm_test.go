package proxy_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patrol/proxy"
	"patrol/rotator/pat"
	"patrol/rotator/workspacetest"
)

// TestManyRotations: 64 clients ask while 200 tokens come and go. The old one is
// revoked as soon as it has drained, and every third time at once, so that what
// is on its way with it is refused; and each request may lose its connection
// once. No client sees any of it.
func TestManyRotations(t *testing.T) {
	t.Run("plain", func(t *testing.T) { storm(t, false, many(200)) })
	t.Run("TLS", func(t *testing.T) { storm(t, true, many(60)) })
}

func storm(t *testing.T, overTLS bool, rotations int) {
	const clients = 64
	var lost sync.Map // ids of requests that lost their connection
	var cut atomic.Int64
	ws := workspace(t, workspacetest.Config{TLS: overTLS, NoRecord: true, Events: 3, Fault: func(r *http.Request) *workspacetest.Fault {
		if rand.IntN(20) > 0 {
			return nil
		}
		if _, again := lost.LoadOrStore(r.Header.Get("X-Id"), true); again {
			return nil
		}
		cut.Add(1)
		return &workspacetest.Fault{Effect: []workspacetest.Effect{workspacetest.Reset, workspacetest.Close}[rand.IntN(2)], After: rand.IntN(2) == 0}
	}})
	var minted, dead atomic.Int64
	var h *fixture
	mint := func() pat.Token {
		minted.Add(1)
		return issue(ws)
	}
	h = open(t, proxy.Config{Host: ws.URL, RootCAs: authority(ws), Refused: func(_ context.Context, tok pat.Token) (pat.Token, bool) {
		for _, live := range ws.Live() {
			if live.ID == tok.ID {
				return pat.Token{}, false
			}
		}
		dead.Add(1) // and yet the current one: it never is, here
		return pat.Token{}, false
	}})
	current := mint()
	h.publish(t, current)
	stop := make(chan struct{})
	var asking sync.WaitGroup
	answered := make(chan struct{})
	for c := range clients {
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				stream := (c+n)%2 == 0
				path := [...]string{"/v1/chat/completions", "/v1/messages", "/responses"}[n%3]
				body := strings.Replace(question, "{", fmt.Sprintf(`{"stream":%v,"padding":"%s",`, stream, strings.Repeat("x", 1<<(n%14))), 1)
				got := h.do(t, "POST", path, body, "X-Id", fmt.Sprint(c, "-", n), "Authorization", "Bearer stale")
				if got.StatusCode != 200 || got.err != nil || len(got.body) == 0 {
					t.Errorf("%s, stream %v: %d %v: %s", path, stream, got.StatusCode, got.err, got.body)
				}
				select {
				case answered <- struct{}{}:
				default:
				}
			}
		})
	}
	for n := range rotations {
		for range 4 { // so that each token meets some requests
			<-answered
		}
		next := mint()
		drained := h.publish(t, next)
		if n%3 > 0 {
			<-drained
		}
		ws.Revoke(current.ID)
		current = next
	}
	close(stop)
	asking.Wait()
	h.givesBack(t)
	s := h.Stats()
	t.Logf("%d requests, %d tokens: %d sent again for their token; %d connections lost, %d of them new", s.Requests, minted.Load(), s.Stale, cut.Load(), s.Resets)
	if s.Stale == 0 || cut.Load() == 0 {
		t.Error("nothing happened that had to be hidden")
	}
	if minted.Load() != int64(rotations)+1 || dead.Load() != 0 || len(ws.Live()) != 1 {
		t.Errorf("%d minted, %d found dead, %d live", minted.Load(), dead.Load(), len(ws.Live()))
	}
}
