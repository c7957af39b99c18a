package workspacetest_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

const create = "/api/2.0/token/create"

// secure returns a client of a workspace that speaks HTTP/2 over TLS.
func secure(t *testing.T, s *workspacetest.Server) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CA) {
		t.Fatal("no CA")
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestTLS(t *testing.T) {
	s := start(t, workspacetest.Config{TLS: true})
	c := secure(t, s)
	if events := stream(t, c, s.URL+"/serving-endpoints/chat/completions", s.Issue(workspacetest.IssueOptions{}).Value, `{"stream":true}`); len(events) < 5 {
		t.Errorf("events: %v", events)
	}
	if proto := s.Requests()[0].Proto; proto != "HTTP/2.0" {
		t.Errorf("it spoke %s", proto)
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Reset, After: true})
	if _, _, err := try(t, c, "POST", s.URL+create, s.Issue(workspacetest.IssueOptions{}).Value, `{}`); err == nil {
		t.Error("no error from a stream that was reset")
	}
	if n := len(s.Live()); n != 3 {
		t.Errorf("%d tokens live, want 3", n)
	}
}

// Each fault before and after the change, as the client sees it and as the
// workspace remembers it.
func TestFaults(t *testing.T) {
	type outcome struct {
		err    error
		status int
		body   string
		made   bool
	}
	for name, test := range map[string]struct {
		fault workspacetest.Fault
		want  outcome
	}{
		"answer":       {workspacetest.Fault{Effect: workspacetest.Answer, Status: 503, Body: "x"}, outcome{status: 503, body: "x"}},
		"answer after": {workspacetest.Fault{Effect: workspacetest.Answer, Status: 503, Body: "x", After: true}, outcome{status: 503, body: "x", made: true}},
		"empty":        {workspacetest.Fault{Effect: workspacetest.Empty}, outcome{status: 200, body: "{}"}},
		"empty after":  {workspacetest.Fault{Effect: workspacetest.Empty, After: true}, outcome{status: 200, body: "{}", made: true}},
		"reset":        {workspacetest.Fault{Effect: workspacetest.Reset}, outcome{err: syscall.ECONNRESET}},
		"reset after":  {workspacetest.Fault{Effect: workspacetest.Reset, After: true}, outcome{err: syscall.ECONNRESET, made: true}},
		"close":        {workspacetest.Fault{Effect: workspacetest.Close}, outcome{err: io.EOF}},
		"close after":  {workspacetest.Fault{Effect: workspacetest.Close, After: true}, outcome{err: io.EOF, made: true}},
		"break":        {workspacetest.Fault{Effect: workspacetest.Break}, outcome{status: 200, body: `{"token_value":"dapi`, made: true}},
		"late":         {workspacetest.Fault{Delay: time.Millisecond, After: true}, outcome{status: 200, body: `{"token_value":"dapi`, made: true}},
		"slow":         {workspacetest.Fault{Delay: time.Millisecond}, outcome{status: 200, body: `{"token_value":"dapi`, made: true}},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
				tok := w.Issue(workspacetest.IssueOptions{}).Value
				w.Inject(test.fault)
				status, body, err := try(t, c, "POST", url+create, tok, `{}`)
				if !errors.Is(err, test.want.err) || status != test.want.status || !strings.HasPrefix(body, test.want.body) {
					t.Errorf("%d %q %v, want %+v", status, body, err, test.want)
				}
				if made := len(w.Live()) == 2; made != test.want.made {
					t.Errorf("made %v, want %v", made, test.want.made)
				}
				if test.fault.Effect == workspacetest.Break && !strings.HasSuffix(body, w.Tokens()[1].Value+`"`) {
					t.Errorf("broken: %s", body)
				}
				if r := w.Requests()[0]; !r.Fault || r.Status != test.want.status {
					t.Errorf("recorded: %+v", r)
				}
				if status, _ := ask(t, c, "POST", url+create, tok, `{}`); status != 200 {
					t.Errorf("the second time: %d", status)
				}
			})
		})
	}
}

func TestHangEndsWithTheClient(t *testing.T) {
	for _, after := range []bool{false, true} {
		both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
			tok := w.Issue(workspacetest.IssueOptions{}).Value
			w.Inject(workspacetest.Fault{Effect: workspacetest.Hang, After: after})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { // leaves once the call is there, and has done what it will
				for len(w.Requests()) == 0 || after && len(w.Live()) == 1 {
					time.Sleep(time.Millisecond)
				}
				cancel()
			}()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+create, strings.NewReader(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+tok)
			resp, err := c.Do(req)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, %v", err, resp)
			}
			if made := len(w.Live()) == 2; made != after {
				t.Errorf("made %v, want %v", made, after)
			}
		})
	}
}

func TestCloseEndsHangs(t *testing.T) {
	s, err := workspacetest.Start(workspacetest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Hang})
	ended := make(chan error, 1)
	go func() {
		_, _, err := try(t, http.DefaultClient, "GET", s.URL, "", "")
		ended <- err
	}()
	for len(s.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the call that hung was answered")
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// A stream that breaks off once two events have arrived.
func TestStreamFaults(t *testing.T) {
	for name, test := range map[string]struct {
		effect workspacetest.Effect
		want   error
	}{
		"reset": {workspacetest.Reset, syscall.ECONNRESET},
		"close": {workspacetest.Close, io.ErrUnexpectedEOF},
		"hang":  {workspacetest.Hang, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
				w.Inject(workspacetest.Fault{Path: "/serving-endpoints/**", Effect: test.effect, Events: 2})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/serving-endpoints/chat/completions", strings.NewReader(`{"stream":true}`))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+w.Issue(workspacetest.IssueOptions{}).Value)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = resp.Body.Close() }()
				in, events := bufio.NewReader(resp.Body), 0
				for {
					line, err := in.ReadString('\n')
					if strings.HasPrefix(line, "data:") {
						events++
					}
					if events == 2 && test.effect == workspacetest.Hang {
						cancel()
					}
					if err == nil {
						continue
					}
					// A reset overtakes what the kernel has not delivered yet.
					if !errors.Is(err, test.want) || events > 2 || events < 2 && test.effect != workspacetest.Reset {
						t.Errorf("%v after %d events, want %v after 2", err, events, test.want)
					}
					return
				}
			})
		})
	}
}

func TestWhichCallsAreStruck(t *testing.T) {
	const list = "/api/2.0/token/list"
	for name, test := range map[string]struct {
		fault workspacetest.Fault
		want  string // per call: x is struck
	}{
		"once":           {workspacetest.Fault{}, "x......."},
		"skip and times": {workspacetest.Fault{Skip: 2, Times: 3}, "..xxx..."},
		"always":         {workspacetest.Fault{Skip: 1, Times: workspacetest.Always}, ".xxxxxxx"},
		"method":         {workspacetest.Fault{Method: "PUT", Times: workspacetest.Always}, ".x.x.x.x"},
		"path":           {workspacetest.Fault{Path: "/api/2.0/token/*", Method: "GET", Times: 2}, "x.x....."},
		"other path":     {workspacetest.Fault{Path: "/api/*", Times: workspacetest.Always}, "........"},
		"rest":           {workspacetest.Fault{Path: "/API/**", Times: workspacetest.Always}, "xxxxxxxx"},
		"match":          {workspacetest.Fault{Match: func(r *http.Request) bool { return r.Method == "PUT" }}, ".x......"},
	} {
		t.Run(name, func(t *testing.T) {
			w := workspacetest.New(workspacetest.Config{})
			c := &http.Client{Transport: w.Transport()}
			test.fault.Effect, test.fault.Status = workspacetest.Answer, 418
			w.Inject(test.fault)
			var got strings.Builder
			for i := range 8 {
				status, _ := ask(t, c, []string{"GET", "PUT"}[i%2], "https://w.example"+list, "", "")
				got.WriteString(map[bool]string{true: "x", false: "."}[status == 418])
			}
			if got.String() != test.want {
				t.Errorf("struck %s, want %s", got.String(), test.want)
			}
			w.Heal()
			if status, _ := ask(t, c, "PUT", "https://w.example"+list, "", ""); status == 418 {
				t.Error("healed, and struck")
			}
		})
	}
}

func TestFaultSource(t *testing.T) {
	calls := 0
	w := workspacetest.New(workspacetest.Config{Fault: func(r *http.Request) *workspacetest.Fault {
		calls++
		if calls%2 == 0 {
			return &workspacetest.Fault{Effect: workspacetest.Answer, Status: 418}
		}
		return nil
	}})
	c := &http.Client{Transport: w.Transport()}
	w.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 500})
	for _, want := range []int{500, 401, 418, 401, 418} {
		if status, _ := ask(t, c, "GET", "https://w.example/api/2.0/token/list", "", ""); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
}

// A client that leaves during a delay gets no answer; the change is made only
// if it comes first.
func TestLeavingDuringTheDelay(t *testing.T) {
	for after, want := range map[bool]int{false: 1, true: 2} {
		leaveDuringTheDelay(t, after, want)
	}
}

func leaveDuringTheDelay(t *testing.T, after bool, want int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{})
		w.Inject(workspacetest.Fault{Delay: time.Hour, After: after})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://w.example"+create, strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.Issue(workspacetest.IssueOptions{}).Value)
		if resp, err := w.Transport().RoundTrip(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, %v", resp, err)
		}
		if n := len(w.Live()); n != want {
			t.Errorf("after %v: %d tokens, want %d", after, n, want)
		}
	})
}
