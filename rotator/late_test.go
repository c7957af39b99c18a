package rotator_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// lateWay loses the next create's request for a while: its sender is told that
// the connection was reset, and then the workspace gets it.
type lateWay struct {
	http.RoundTripper
	armed atomic.Bool
	late  time.Duration
	work  sync.WaitGroup
}

func (w *lateWay) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/token/create") || !w.armed.CompareAndSwap(true, false) {
		return w.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	again := r.Clone(context.WithoutCancel(r.Context()))
	again.Body = io.NopCloser(bytes.NewReader(body))
	w.work.Go(func() {
		time.Sleep(w.late)
		if resp, err := w.RoundTripper.RoundTrip(again); err == nil {
			_ = resp.Body.Close()
		}
	})
	return nil, errors.New("read: connection reset by peer")
}

// TestLateCreate: a create whose answer was lost takes effect later than the
// grace is long. Its token is looked for until it can't come any more.
func TestLateCreate(t *testing.T) {
	inHouse(t, func(h *house) {
		way := &lateWay{RoundTripper: h.ws.Transport(), late: 30 * time.Second}
		h.way = way
		h.grace = time.Second
		h.issue(24 * time.Hour)
		h.serve()
		h.pass(10 * time.Minute)
		before := h.wantOne()
		way.armed.Store(true)
		if _, err := h.r.Rotate(h.Context(), "test"); err == nil {
			h.Fatal("Rotate worked")
		}
		h.pass(time.Minute)
		way.work.Wait()
		synctest.Wait()
		if n := len(h.ws.Tokens()); n != 3 {
			h.Fatalf("%d tokens were made, want 3", n)
		}
		h.pass(10 * time.Minute)
		if got := h.wantOne(); got.ID != before.ID {
			h.Errorf("the token in use was replaced:\n%s", h.story())
		}
	})
}
