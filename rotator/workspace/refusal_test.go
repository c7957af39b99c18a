package workspace_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

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
	for i, refusal := range workspacetest.Refusals() {
		tests[fmt.Sprintf("invalid token, form %d", i)] = struct {
			cfg   workspacetest.Config
			fault workspacetest.Fault
			want  error
		}{fault: answer(refusal.Status, refusal.Body), want: workspace.ErrInvalidToken}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, c, first := start(t, test.cfg)
			if test.fault.Effect == workspacetest.Answer {
				s.Inject(test.fault)
			}
			_, _, err := c.As(first).Mint(t.Context(), request)
			if err == nil {
				t.Fatal("it was minted")
			}
			for _, sentinel := range []error{workspace.ErrInvalidToken, workspace.ErrPermission, workspace.ErrNotFound, workspace.ErrQuota, workspace.ErrLifetime, workspace.ErrUncertain} {
				if is, want := errors.Is(err, sentinel), errors.Is(test.want, sentinel); is != want {
					t.Errorf("is %q: %v, want %v: %v", sentinel, is, want, err)
				}
			}
			if n := len(s.Requests()); n != 1 {
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
				_, _, errMint := as.Mint(t.Context(), request)
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
			_, _, err := c.As(first).Mint(t.Context(), request)
			if !errors.Is(err, workspace.ErrUncertain) {
				t.Errorf("not uncertain: %v", err)
			}
			made := 1
			if fault.Effect == workspacetest.Break || fault.After {
				made = 2
			}
			if n := len(s.Live()); n != made || len(s.Requests()) != 1 {
				t.Errorf("%d tokens after %d requests, want %d after one", n, len(s.Requests()), made)
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
