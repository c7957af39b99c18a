package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

// start returns a workspace that listens, a client of it, and a first token.
func start(t *testing.T, cfg workspacetest.Config) (*workspacetest.Server, *workspace.Client, pat.Token) {
	t.Helper()
	s, err := workspacetest.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := client(t, workspace.Config{Host: s.URL})
	issued := s.Issue(workspacetest.IssueOptions{Comment: "the first one"})
	return s, c, pat.New(issued.Value, s.URL)
}

func client(t *testing.T, cfg workspace.Config) *workspace.Client {
	t.Helper()
	c, err := workspace.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var request = workspace.MintRequest{Lifetime: time.Hour, Comment: "patrol/test/1", Scopes: []string{"all-apis"}}

func TestMintListRevoke(t *testing.T) {
	s, c, first := start(t, workspacetest.Config{})
	minted, info, err := c.As(first).Mint(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := s.Live()[1]
	if minted.Expose() != want.Value || minted.ID != want.ID || minted.Host != c.Host() || info.Comment != request.Comment ||
		!info.Created.Equal(want.Created) || !info.Expiry.Equal(want.Expiry) || len(info.Scopes) != 1 {
		t.Errorf("minted %+v, the workspace has %+v", minted, want)
	}
	listed, err := c.As(minted).List(t.Context())
	if err != nil || len(listed) != 2 || listed[0].Comment != "the first one" || !listed[0].Expiry.IsZero() || listed[1].ID != minted.ID {
		t.Errorf("listed %v, %v", listed, err)
	}
	if err := c.As(minted).Revoke(t.Context(), listed[0].ID); err != nil {
		t.Fatal(err)
	}
	if live := s.Live(); len(live) != 1 || live[0].ID != minted.ID {
		t.Errorf("alive: %v", live)
	}
	if _, err := c.As(first).List(t.Context()); !errors.Is(err, workspace.ErrInvalidToken) {
		t.Errorf("with the revoked token: %v", err)
	}
	if err := c.As(minted).Revoke(t.Context(), listed[0].ID); !errors.Is(err, workspace.ErrNotFound) {
		t.Errorf("revoking twice: %v", err)
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 400, Body: `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Token does not exist"}`})
	if err := c.As(minted).Revoke(t.Context(), listed[0].ID); !errors.Is(err, workspace.ErrNotFound) {
		t.Errorf("the same with a 400: %v", err)
	}
}

func TestLifetimeIsRoundedUp(t *testing.T) {
	_, c, first := start(t, workspacetest.Config{})
	_, info, err := c.As(first).Mint(t.Context(), workspace.MintRequest{Lifetime: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Expiry.Sub(info.Created); got != 2*time.Second {
		t.Errorf("it lives for %v, want 2s", got)
	}
	for _, d := range []time.Duration{0, -time.Hour} {
		if _, _, err := c.As(first).Mint(t.Context(), workspace.MintRequest{Lifetime: d}); !errors.Is(err, workspace.ErrLifetime) {
			t.Errorf("a lifetime of %v: %v", d, err)
		}
	}
}

// counter counts requests, and fails them if it has an error.
type counter struct {
	next http.RoundTripper
	err  error
	n    atomic.Int32
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	if c.err != nil {
		return nil, c.err
	}
	return c.next.RoundTrip(r)
}

// secret fails the test if a token's value is in text.
func secret(t *testing.T, w *workspacetest.Workspace, text string) {
	t.Helper()
	for _, token := range w.Tokens() {
		if strings.Contains(text, token.Value) {
			t.Errorf("the value of %v is in: %s", token, text)
		}
	}
	if strings.Contains(text, "canary") {
		t.Errorf("the canary is in: %s", text)
	}
}

func TestSkew(t *testing.T) {
	_, c, first := start(t, workspacetest.Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }})
	if _, ok := c.Skew(); ok {
		t.Error("a skew is known before an answer")
	}
	if _, err := c.As(first).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := c.Skew(); !ok || got > -time.Hour+2*time.Second || got < -time.Hour-2*time.Second {
		t.Errorf("Skew = %v, %v", got, ok)
	}
}

func TestNobodyThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := "http://" + ln.Addr().String()
	_ = ln.Close()
	c := client(t, workspace.Config{Host: host})
	began := time.Now()
	_, _, err = c.As(pat.New("dapi-canary", host)).Mint(t.Context(), request)
	if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, workspace.ErrUncertain) {
		t.Errorf("Mint = %v", err)
	}
	if took := time.Since(began); took > 5*time.Second { // the SDK's own policy: 5 minutes
		t.Errorf("it took %v", took)
	}
}

// With time faked, to the nanosecond: the call ends with its timeout, and
// leaves no goroutine behind (the bubble would not end).
func TestHangingWorkspace(t *testing.T) {
	for _, after := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := workspacetest.New(workspacetest.Config{})
			first := pat.New(w.Issue(workspacetest.IssueOptions{}).Value, "https://w.example")
			w.Inject(workspacetest.Fault{Effect: workspacetest.Hang, After: after, Times: workspacetest.Always})
			c := client(t, workspace.Config{Host: "https://w.example", Transport: w.Transport(), Timeout: 7 * time.Second})
			began := time.Now()
			_, _, err := c.As(first).Mint(t.Context(), request)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, workspace.ErrUncertain) {
				t.Errorf("Mint = %v", err)
			}
			if took := time.Since(began); took != 7*time.Second {
				t.Errorf("it took %v", took)
			}
			why := errors.New("login arrived")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(why) })
			began = time.Now()
			if _, err := c.As(first).List(ctx); !errors.Is(err, why) || !errors.Is(err, context.Canceled) {
				t.Errorf("List = %v", err)
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("it took %v to be cancelled", took)
			}
		})
	}
}

// The same over a socket, where a header may come and a body not.
func TestHangingSocket(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	done := make(chan struct{})
	conns.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"token_value\":\"dapi-canary"))
				<-done
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); close(done); conns.Wait() })
	host := "http://" + ln.Addr().String()
	c := client(t, workspace.Config{Host: host, Timeout: 100 * time.Millisecond})
	_, _, err = c.As(pat.New("dapi-first", host)).Mint(t.Context(), request)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, workspace.ErrUncertain) || strings.Contains(err.Error(), "canary") {
		t.Errorf("Mint = %v", err)
	}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// Many at once, as one client serves: each call carries its own token.
func TestConcurrentSessions(t *testing.T) {
	s, c, _ := start(t, workspacetest.Config{})
	var wrong atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		user := fmt.Sprintf("user-%d@example.com", i)
		token := pat.New(s.Issue(workspacetest.IssueOptions{User: user}).Value, s.URL)
		wg.Go(func() {
			for range 5 {
				if _, _, err := c.As(token).Mint(t.Context(), request); err != nil {
					t.Error(err)
				}
			}
			if list, err := c.As(token).List(t.Context()); err != nil || len(list) != 6 {
				wrong.Add(1)
			}
		})
	}
	wg.Wait()
	if n := wrong.Load(); n != 0 {
		t.Errorf("%d users don't see their own six tokens", n)
	}
}

// Some hosts serve several workspaces: the id in the host travels along.
func TestWorkspaceOfSharedHost(t *testing.T) {
	s, _, first := start(t, workspacetest.Config{})
	c := client(t, workspace.Config{Host: s.URL + "/?o=1234"})
	if _, err := c.As(first).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.As(pat.New(first.Expose(), s.URL+"?o=999")).List(t.Context()); err == nil {
		t.Error("a token of another workspace of the host was sent")
	}
	requests := s.Requests()
	if len(requests) != 1 || requests[0].Header.Get("X-Databricks-Workspace-Id") != "1234" {
		t.Errorf("requests: %+v", requests)
	}
}

// TestHostThatShowsTokens: no client is made for a host to which a token would
// go in clear text.
func TestHostThatShowsTokens(t *testing.T) {
	for _, host := range []string{"http://dbc-1.cloud.databricks.com", "http://127.0.0.1.evil.example", "", "https://user:canary@w.example", "dapi-canary-1234"} {
		if _, err := workspace.New(workspace.Config{Host: host}); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("New for %q: %v", host, err)
		}
	}
}
