package workspace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/databricks/databricks-sdk-go/logger"

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
	minted, err := c.As(first).Mint(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	want := s.Live()[1]
	if minted.Expose() != want.Value || minted.ID != want.ID || minted.Host != c.Host() || minted.Comment != request.Comment ||
		!minted.Created.Equal(want.Created) || !minted.Expiry.Equal(want.Expiry) || len(minted.Scopes) != 1 {
		t.Errorf("minted %+v, the workspace has %+v", minted, want)
	}
	listed, err := c.As(minted).List(t.Context())
	if err != nil || len(listed) != 2 || listed[0].Comment != "the first one" || !listed[0].Expiry.IsZero() || listed[1].ID != minted.ID {
		t.Errorf("listed %v, %v", listed, err)
	}
	for _, l := range listed {
		if !l.IsZero() || l.Host != c.Host() {
			t.Errorf("listed %v with a value, or of host %q", l, l.Host)
		}
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
	minted, err := c.As(first).Mint(t.Context(), workspace.MintRequest{Lifetime: 1500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if got := minted.Expiry.Sub(minted.Created); got != 2*time.Second {
		t.Errorf("it lives for %v, want 2s", got)
	}
	for _, d := range []time.Duration{0, -time.Hour} {
		if _, err := c.As(first).Mint(t.Context(), workspace.MintRequest{Lifetime: d}); !errors.Is(err, workspace.ErrLifetime) {
			t.Errorf("a lifetime of %v: %v", d, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	answer := func(status int, body string) workspacetest.Fault {
		return workspacetest.Fault{Effect: workspacetest.Answer, Status: status, Body: body, Times: workspacetest.Always}
	}
	tests := map[string]struct {
		cfg   workspacetest.Config
		fault workspacetest.Fault
		want  error // nil: none of the sentinels
	}{
		"quota":                {cfg: workspacetest.Config{Quota: 1}, want: workspace.ErrQuota},
		"lifetime cap":         {cfg: workspacetest.Config{MaxLifetime: time.Minute}, want: workspace.ErrLifetime},
		"PATs are off":         {cfg: workspacetest.Config{DisablePATs: true}, want: workspace.ErrPermission},
		"timeout of zero":      {fault: answer(400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"requirement failed: Invalid timeout: 0"}`), want: workspace.ErrLifetime},
		"permission":           {fault: answer(403, `{"error_code":"PERMISSION_DENIED","message":"User has no CAN_USE on tokens"}`), want: workspace.ErrPermission},
		"blocked address":      {fault: answer(403, `{"error_code":403,"message":"Source IP address: 192.0.2.1 is blocked by Databricks IP ACL for workspace: 7474646471015793 [ReqId: d326a0e7-36b8-4972-85c0-f75a17f7d175]"}`), want: workspace.ErrPermission},
		"other org":            {fault: answer(403, `{"error_code":403,"message":"Invalid access to Org: 1"}`), want: workspace.ErrPermission},
		"missing scope":        {fault: answer(403, `{"error_code":"PERMISSION_DENIED","message":"Provided token does not have required scopes: tokens"}`), want: workspace.ErrPermission},
		"parser's token":       {fault: answer(400, `{"error_code":"MALFORMED_REQUEST","message":"Invalid token 'x' in JSON at 3"}`)},
		"a 401 without a word": {fault: answer(401, ``), want: workspace.ErrInvalidToken},
		"with a request id":    {fault: answer(403, `{"error_code":403,"message":"Invalid access token. [ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]"}`), want: workspace.ErrInvalidToken},
		"about to expire":      {fault: answer(403, "<html><head><title>Error 403 Token is expiring within 30 seconds. (token expired)</title></head></html>"), want: workspace.ErrInvalidToken},
		"old page":             {fault: answer(403, "<html>\n<head>\n<title>Error 403 Invalid access token.</title>\n</head>\n<body><h2>HTTP ERROR 403</h2>\n<p>Reason:\n<pre>    Invalid access token.</pre></p></body></html>"), want: workspace.ErrInvalidToken},
		"bad gateway":          {fault: answer(502, "<html><h1>502</h1></html>"), want: workspace.ErrUncertain},
		"unavailable":          {fault: answer(503, `{"error_code":"TEMPORARILY_UNAVAILABLE","message":"deadline exceeded"}`), want: workspace.ErrUncertain},
		"internal":             {fault: answer(500, `{"error_code":"INTERNAL_ERROR","message":"x"}`), want: workspace.ErrUncertain},
		"too many":             {fault: answer(429, `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace limit"}`)},
		"no such API":          {fault: answer(404, `{"error_code":"ENDPOINT_NOT_FOUND","message":"No API found"}`)},
	}
	for _, form := range workspacetest.InvalidForms() {
		status, _, body := form.Reply()
		tests[fmt.Sprintf("invalid token, form %d", form)] = struct {
			cfg   workspacetest.Config
			fault workspacetest.Fault
			want  error
		}{fault: answer(status, body), want: workspace.ErrInvalidToken}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, c, first := start(t, test.cfg)
			if test.fault.Effect == workspacetest.Answer {
				s.Inject(test.fault)
			}
			_, err := c.As(first).Mint(t.Context(), request)
			if err == nil {
				t.Fatal("it was minted")
			}
			for _, sentinel := range []error{workspace.ErrInvalidToken, workspace.ErrPermission, workspace.ErrNotFound, workspace.ErrQuota, workspace.ErrLifetime, workspace.ErrUncertain} {
				if is, want := errors.Is(err, sentinel), errors.Is(test.want, sentinel); is != want {
					t.Errorf("is %q: %v, want %v: %v", sentinel, is, want, err)
				}
			}
			if n := s.Count(); n != 1 {
				t.Errorf("asked %d times", n)
			}
			if n := len(err.Error()); n > 400 || !strings.HasPrefix(err.Error(), "minting token: ") {
				t.Errorf("an error of %d bytes: %v", n, err)
			}
		})
	}
}

// In time that is faked: not one is tried again, and nobody sleeps on it.
func TestNothingIsTriedAgain(t *testing.T) {
	for name, fail := range map[string]any{
		"too many":      workspacetest.Fault{Effect: workspacetest.Answer, Status: 429, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"REQUEST_LIMIT_EXCEEDED: Exceeded"}`},
		"unavailable":   workspacetest.Fault{Effect: workspacetest.Answer, Status: 503},
		"in words":      workspacetest.Fault{Effect: workspacetest.Answer, Status: 400, Body: `{"error_code":"X","message":"Timed out after 1s: connection reset by peer"}`},
		"reset":         workspacetest.Fault{Effect: workspacetest.Reset},
		"closed":        workspacetest.Fault{Effect: workspacetest.Close},
		"broken":        workspacetest.Fault{Effect: workspacetest.Break},
		"refused":       &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		"TLS handshake": errors.New("net/http: TLS handshake timeout"),
		"i/o":           os.ErrDeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := workspacetest.New(workspacetest.Config{})
				counted := &counter{next: w.Transport()}
				switch fail := fail.(type) {
				case workspacetest.Fault:
					fail.Times = workspacetest.Always
					w.Inject(fail)
				case error:
					counted.err = fail
				}
				c := client(t, workspace.Config{Host: "https://w.example", Transport: counted})
				as := c.As(pat.New(w.Issue(workspacetest.IssueOptions{}).Value, "https://w.example"))
				began := time.Now()
				_, errMint := as.Mint(t.Context(), request)
				_, errList := as.List(t.Context())
				errRevoke := as.Revoke(t.Context(), "x")
				if errMint == nil || errList == nil || errRevoke == nil {
					t.Errorf("errors: %v, %v, %v", errMint, errList, errRevoke)
				}
				if counted.err != nil && !errors.Is(errMint, counted.err) {
					t.Errorf("%v isn't %v", errMint, counted.err)
				}
				if took, n := time.Since(began), counted.n.Load(); took != 0 || n != 3 {
					t.Errorf("3 calls sent %d requests in %v", n, took)
				}
			})
		})
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

// The SDK lets 15 calls a second through, a limit that a rotator under test
// would meet long before a workspace's.
func TestNoRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{})
		c := client(t, workspace.Config{Host: "https://w.example", Transport: w.Transport()})
		as := c.As(pat.New(w.Issue(workspacetest.IssueOptions{}).Value, "https://w.example"))
		began := time.Now()
		for range 100 {
			if _, err := as.List(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("100 calls were held back for %v", took)
		}
	})
}

// A reply that doesn't come, or not whole, after a mint: whether a token was
// made isn't known, and one attempt is all there is.
func TestUncertainMints(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"reset before": {Effect: workspacetest.Reset},
		"reset after":  {Effect: workspacetest.Reset, After: true},
		"closed":       {Effect: workspacetest.Close, After: true},
		"broken JSON":  {Effect: workspacetest.Break},
		"empty":        {Effect: workspacetest.Empty, After: true},
		"nothing":      {Effect: workspacetest.Answer, Status: 200, After: true},
		"no value":     {Effect: workspacetest.Answer, Status: 200, Body: `{"token_info":{"token_id":"x"}}`, After: true},
		"no id":        {Effect: workspacetest.Answer, Status: 200, Body: `{"token_value":"dapi-canary-1234"}`, After: true},
		"bad value":    {Effect: workspacetest.Answer, Status: 200, Body: `{"token_value":"dapi-canary-1234\r\nX: y","token_info":{"token_id":"x"}}`, After: true},
		"dead at once": {Effect: workspacetest.Answer, Status: 200, Body: `{"token_value":"dapi-canary-1234","token_info":{"token_id":"x","creation_time":5,"expiry_time":5}}`, After: true},
		"other types":  {Effect: workspacetest.Answer, Status: 200, Body: `{"token_value":["dapi-canary-1234"]}`, After: true},
		"a login page": {Effect: workspacetest.Answer, Status: 200, Body: "<html>dapi-canary-1234</html>", After: true},
		"503 after":    {Effect: workspacetest.Answer, Status: 503, Body: "upstream connect error", After: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, first := start(t, workspacetest.Config{})
			fault.Path = "/api/2.0/token/create"
			fault.Times = workspacetest.Always
			s.Inject(fault)
			_, err := c.As(first).Mint(t.Context(), request)
			if !errors.Is(err, workspace.ErrUncertain) {
				t.Errorf("not uncertain: %v", err)
			}
			made := 1
			if fault.Effect == workspacetest.Break || fault.After {
				made = 2
			}
			if n := len(s.Live()); n != made || s.Count() != 1 {
				t.Errorf("%d tokens after %d requests, want %d after one", n, s.Count(), made)
			}
			secret(t, s.Workspace, err.Error())
			fault.Path = ""
			s.Inject(fault)
			if err := c.As(first).Revoke(t.Context(), "x"); errors.Is(err, workspace.ErrUncertain) {
				t.Errorf("a revoke is uncertain: %v", err)
			}
		})
	}
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

// A revoke counts as done if the API says so, and not if a login page does.
func TestRevokeIsSure(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
	}{
		"a login page":   {200, "<html>Sign in</html>"},
		"an empty reply": {200, ""},
		"another 404":    {404, `{"error_code":"ENDPOINT_NOT_FOUND","message":"No API found for 'POST /token/delete'"}`},
		"a plain 404":    {404, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, first := start(t, workspacetest.Config{})
			s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: test.status, Body: test.body})
			if err := c.As(first).Revoke(t.Context(), "0123"); err == nil || errors.Is(err, workspace.ErrNotFound) {
				t.Errorf("Revoke = %v", err)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Now()
	for value, want := range map[string]time.Duration{
		"7":  7 * time.Second,
		"-1": 0,
		"":   0,
		"x":  0,
		now.UTC().Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
	} {
		s, c, first := start(t, workspacetest.Config{Now: func() time.Time { return now.Add(-time.Hour) }})
		s.Inject(workspacetest.Fault{
			Effect: workspacetest.Answer, Status: 429, Body: `{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"Exceeded workspace limit"}`,
			Header: http.Header{"Retry-After": {value}},
		})
		_, err := c.As(first).List(t.Context())
		if want > time.Minute {
			want += time.Hour // the date is the workspace's
		}
		if got := workspace.RetryAfter(err); got < want-time.Second || got > want+time.Second {
			t.Errorf("Retry-After: %q: %v, want %v (%v)", value, got, want, err)
		}
	}
	if got := workspace.RetryAfter(errors.New("x")); got != 0 {
		t.Errorf("RetryAfter of another error is %v", got)
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

// The environment and the file may say what they like.
func TestIsolation(t *testing.T) {
	s, _, first := start(t, workspacetest.Config{})
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{
		"HOST", "TOKEN", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD", "CONFIG_PROFILE", "AUTH_TYPE", "ACCOUNT_ID",
		"METADATA_SERVICE_URL", "CLUSTER_ID", "RATE_LIMIT", "DEBUG_HEADERS", "DEBUG_TRUNCATE_BYTES", "AZURE_RESOURCE_ID",
	} {
		t.Setenv("DATABRICKS_"+name, "garbage")
	}
	t.Setenv("ARM_CLIENT_SECRET", "garbage")
	if err := os.WriteFile(filepath.Join(home, ".databrickscfg"), []byte("[DEFAULT\nhost = \x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, workspace.Config{Host: s.URL, UserAgent: "patrol/1.2.3"})
	minted, err := c.As(first).Mint(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.As(minted).List(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Requests() {
		if ua := r.Header.Get("User-Agent"); !strings.HasPrefix(ua, "patrol/1.2.3 databricks-sdk-go/0.175.0 ") {
			t.Errorf("User-Agent: %s", ua)
		}
		if !strings.HasPrefix(r.Path, "/api/2.0/token/") {
			t.Errorf("asked for %s", r.Path)
		}
	}
}

func TestTokenGoesHomeOnly(t *testing.T) {
	s, c, first := start(t, workspacetest.Config{})
	for _, host := range []string{"https://elsewhere.example", "", "http://127.0.0.1:1", strings.Replace(s.URL, "http:", "https:", 1)} {
		session := c.As(pat.New(first.Expose(), host))
		_, err := session.List(t.Context())
		_, errMint := session.Mint(t.Context(), request)
		if err == nil || errMint == nil || errors.Is(errMint, workspace.ErrUncertain) || session.Revoke(t.Context(), "x") == nil {
			t.Errorf("a token of %q: %v, %v", host, err, errMint)
		}
	}
	if _, err := c.As(pat.Token{}).List(t.Context()); err == nil {
		t.Error("no token will do")
	}
	if n := s.Count(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	if _, err := c.As(pat.New(first.Expose(), strings.ToUpper(s.URL)+"/")).List(t.Context()); err != nil {
		t.Errorf("the same host, written otherwise: %v", err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	other, _, _ := start(t, workspacetest.Config{})
	s, c, first := start(t, workspacetest.Config{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{other.URL + "/api/2.0/token/list?secret=canary", s.URL + "/elsewhere", "", "::"} {
			s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: status, Header: http.Header{"Location": {location}}, Times: 2})
			_, err := c.As(first).List(t.Context())
			_, errMint := c.As(first).Mint(t.Context(), request)
			if err == nil || errMint == nil || errors.Is(errMint, workspace.ErrUncertain) {
				t.Errorf("%d to %s: %v, %v", status, location, err, errMint)
				continue
			}
			secret(t, s.Workspace, err.Error())
		}
	}
	if other.Count() != 0 || s.Count() != 5*4*2 {
		t.Errorf("%d requests reached the other host, %d this one", other.Count(), s.Count())
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 302, Header: http.Header{"Location": {"/login.html?error=private-link-validation-error"}}})
	if _, err := c.As(first).List(t.Context()); err == nil || !strings.Contains(err.Error(), "private link") {
		t.Errorf("a redirect by private link: %v", err)
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
	_, err = c.As(pat.New("dapi-canary", host)).Mint(t.Context(), request)
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
			_, err := c.As(first).Mint(t.Context(), request)
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
	_, err = c.As(pat.New("dapi-first", host)).Mint(t.Context(), request)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, workspace.ErrUncertain) || strings.Contains(err.Error(), "canary") {
		t.Errorf("Mint = %v", err)
	}
}

// Whatever happens, with all the SDK's debugging on: no token is written
// anywhere.
func TestNothingIsWritten(t *testing.T) {
	var written lockedBuffer
	log.SetOutput(&written)
	before := logger.DefaultLogger
	logger.DefaultLogger = &logger.SimpleLogger{Level: logger.LevelTrace}
	t.Cleanup(func() { log.SetOutput(os.Stderr); logger.DefaultLogger = before })
	t.Setenv("DATABRICKS_DEBUG_HEADERS", "true")

	s, _, first := start(t, workspacetest.Config{})
	c := client(t, workspace.Config{Host: s.URL, Log: slog.New(slog.NewJSONHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	var tokens string
	for _, body := range []string{
		`{"error_code":"X","message":"no %s"}`, `{"token_value":"%s"`, `<html><title>%s</title></html>`, `%s`, `X_Y: %s`,
		`{"error_code":"%s","message":"x"}`, `{"error_code":"X","message":"Authorization: Bearer %s"}`, `{"error":"%s"}`, `{"detail":"%s","status":"400"}`,
	} {
		for _, status := range []int{200, 400, 403, 500, 503} {
			for _, value := range []string{first.Expose(), "dapi-canary-" + strings.Repeat("0123456789abcdef", 20), "0123456789abcdefcanary0123456789", "eyJcanary.eyJ.sig"} {
				s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: status, Body: fmt.Sprintf(body, value)})
				_, err := c.As(first).Mint(t.Context(), request)
				if err == nil {
					t.Fatalf("%d %s: minted", status, body)
				}
				tokens += fmt.Sprintf("%v %+v %#v %q\n", err, err, err, err)
			}
		}
	}
	// A value that looks like nothing known is hidden where it is the session's.
	odd := pat.New(s.Issue(workspacetest.IssueOptions{Value: "canary.odd"}).Value, s.URL)
	for _, body := range []string{`{"error_code":"X","message":"no canary.odd"}`, `canary.odd`, `<title>canary.odd</title>`} {
		s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 400, Body: body})
		if err := c.As(odd).Revoke(t.Context(), "x"); err != nil {
			tokens += err.Error()
		}
	}
	for _, effect := range []workspacetest.Effect{workspacetest.Reset, workspacetest.Break, workspacetest.Slow} {
		s.Inject(workspacetest.Fault{Effect: effect})
		if _, err := c.As(first).Mint(t.Context(), request); err != nil {
			tokens += err.Error()
		}
	}
	if !strings.Contains(written.String(), "workspace call") {
		t.Error("our own log says nothing")
	}
	secret(t, s.Workspace, tokens)
	secret(t, s.Workspace, written.String())
	if strings.Contains(written.String(), "POST /api/") {
		t.Errorf("the SDK's debug log is open:\n%.2000s", written.String())
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
				if _, err := c.As(token).Mint(t.Context(), request); err != nil {
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
