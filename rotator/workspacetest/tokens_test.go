package workspacetest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspacetest"
)

type created struct {
	Value string `json:"token_value"`
	Info  struct {
		ID     string `json:"token_id"`
		Expiry int64  `json:"expiry_time"`
	} `json:"token_info"`
}

func TestTokenLife(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		first := w.Issue(workspacetest.IssueOptions{Comment: "mine"})
		status, body := ask(t, c, "POST", url+"/api/2.0/token/create", first.Value, `{"lifetime_seconds":60,"comment":"x"}`)
		var made created
		if err := json.Unmarshal([]byte(body), &made); err != nil || status != 200 {
			t.Fatalf("create: %d %s", status, body)
		}
		if got := time.Until(time.UnixMilli(made.Info.Expiry)); got < 50*time.Second || got > 60*time.Second {
			t.Errorf("the token expires in %v", got)
		}
		if len(w.Live()) != 2 {
			t.Errorf("%d tokens live, want 2", len(w.Live()))
		}
		if status, body := ask(t, c, "POST", url+"/api/2.0/token/delete", made.Value, `{"token_id":"`+first.ID+`"}`); status != 200 {
			t.Errorf("delete: %d %s", status, body)
		}
		status, body = ask(t, c, "GET", url+"/api/2.0/token/list", first.Value, "")
		if status != 403 || body != `{"error_code":403,"message":"Invalid access token."}` {
			t.Errorf("with a revoked token: %d %s", status, body)
		}
		status, body = ask(t, c, "GET", url+"/api/2.0/token/list", made.Value, "")
		if status != 200 || strings.Contains(body, first.ID) || strings.Contains(body, made.Value) || !strings.Contains(body, made.Info.ID) {
			t.Errorf("list: %d %s", status, body)
		}
	})
}

func TestInvalidTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{})
		c := &http.Client{Transport: w.Transport()}
		short := w.Issue(workspacetest.IssueOptions{Lifetime: time.Hour})
		revoked := w.Issue(workspacetest.IssueOptions{})
		w.Revoke(revoked.ID)
		w.Revoke("no such id")
		const url = "https://w.example/api/2.0/token/list"
		time.Sleep(time.Hour - time.Nanosecond)
		if status, _ := ask(t, c, "GET", url, short.Value, ""); status != 200 {
			t.Errorf("a nanosecond before its end: %d", status)
		}
		time.Sleep(time.Nanosecond)
		for name, value := range map[string]string{"expired": short.Value, "revoked": revoked.Value, "unknown": "dapi-unknown"} {
			for _, path := range []string{"/api/2.0/token/list", "/serving-endpoints/chat/completions", "/elsewhere"} {
				if status, body := ask(t, c, "POST", "https://w.example"+path, value, "{}"); status != 403 || body != workspacetest.Refusals()[0].Body {
					t.Errorf("%s, %s: %d %s", name, path, status, body)
				}
			}
		}
		if status, body := ask(t, c, "GET", url, "", ""); status != 401 || !strings.Contains(body, "Credential was not sent") {
			t.Errorf("without a token: %d %s", status, body)
		}
	})
}

func TestCreateRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		cfg    workspacetest.Config
		body   string
		status int
		want   string
	}{
		"quota":            {workspacetest.Config{Quota: 1}, `{}`, 400, "QUOTA_EXCEEDED"},
		"lifetime cap":     {workspacetest.Config{MaxLifetime: time.Hour}, `{"lifetime_seconds":3601}`, 400, "at most 3600 seconds"},
		"no lifetime":      {workspacetest.Config{}, `{"lifetime_seconds":0}`, 400, "INVALID_PARAMETER_VALUE"},
		"negative":         {workspacetest.Config{}, `{"lifetime_seconds":-5}`, 400, "INVALID_PARAMETER_VALUE"},
		"PATs are off":     {workspacetest.Config{DisablePATs: true}, `{}`, 403, "PERMISSION_DENIED"},
		"no JSON":          {workspacetest.Config{}, `{"comment":`, 400, "MALFORMED_REQUEST"},
		"an unknown value": {workspacetest.Config{}, `{"lifetime_seconds":"x"}`, 400, "MALFORMED_REQUEST"},
	} {
		t.Run(name, func(t *testing.T) {
			w := workspacetest.New(test.cfg)
			c := &http.Client{Transport: w.Transport()}
			first := w.Issue(workspacetest.IssueOptions{})
			status, body := ask(t, c, "POST", "https://w.example/api/2.0/token/create", first.Value, test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("%d %s", status, body)
			}
			if n := len(w.Tokens()); n != 1 {
				t.Errorf("%d tokens were made", n-1)
			}
			if status, _ := ask(t, c, "GET", "https://w.example/api/2.0/token/list", first.Value, ""); status != 200 {
				t.Errorf("the first token is dead: %d", status)
			}
		})
	}
	w := workspacetest.New(workspacetest.Config{MaxLifetime: time.Hour})
	c := &http.Client{Transport: w.Transport()}
	first := w.Issue(workspacetest.IssueOptions{}).Value
	for _, body := range []string{`{"lifetime_seconds":3600}`, `{}`} {
		if status, got := ask(t, c, "POST", "https://w.example/api/2.0/token/create", first, body); status != 200 {
			t.Errorf("%.30s: %d %s", body, status, got)
		}
	}
	for _, made := range w.Tokens()[1:] {
		if got := made.Expiry.Sub(made.Created); got != time.Hour || !made.Minted {
			t.Errorf("%v lives for %v, minted %v", made, got, made.Minted)
		}
	}
}

// TestSparingAnswers: a workspace may give less life than was asked for, not say when
// a token was made, and list it later.
func TestSparingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{GrantAtMost: time.Hour, NoCreation: true, ListLag: 10 * time.Second})
		c := &http.Client{Transport: w.Transport()}
		const url = "https://w.example/api/2.0/token/"
		first := w.Issue(workspacetest.IssueOptions{Comment: "first"})
		time.Sleep(10 * time.Second)
		status, body := ask(t, c, "POST", url+"create", first.Value, `{"lifetime_seconds":7200,"comment":"second"}`)
		var made created
		if err := json.Unmarshal([]byte(body), &made); err != nil || status != 200 || strings.Contains(body, "creation_time") {
			t.Fatalf("create: %d %s", status, body)
		}
		if got := time.Until(time.UnixMilli(made.Info.Expiry)); got != time.Hour {
			t.Errorf("it expires in %v, want an hour", got)
		}
		for i, lists := range []bool{false, true} {
			wait := time.Duration(i) * 10 * time.Second
			time.Sleep(wait)
			_, body = ask(t, c, "GET", url+"list", made.Value, "")
			if !strings.Contains(body, "first") || strings.Contains(body, "second") != lists || strings.Contains(body, "creation_time") {
				t.Errorf("the list after %v: %s", wait, body)
			}
		}
	})
}

func TestUsersAreApart(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{Quota: 2})
	c := &http.Client{Transport: w.Transport()}
	ann := w.Issue(workspacetest.IssueOptions{User: "ann@example.com"})
	bob := w.Issue(workspacetest.IssueOptions{User: "bob@example.com"})
	const url = "https://w.example/api/2.0/token/"
	for _, tok := range []workspacetest.Token{ann, bob} { // each has a quota of its own
		if status, body := ask(t, c, "POST", url+"create", tok.Value, `{"comment":"second"}`); status != 200 {
			t.Errorf("%s: %d %s", tok.User, status, body)
		}
		_, body := ask(t, c, "GET", url+"list", tok.Value, "")
		if got := strings.Count(body, `"token_id"`); got != 2 || !strings.Contains(body, tok.ID) {
			t.Errorf("%s sees %s", tok.User, body)
		}
		if _, body := ask(t, c, "GET", "https://w.example/api/2.0/preview/scim/v2/Me", tok.Value, ""); !strings.Contains(body, `"userName":"`+tok.User+`"`) {
			t.Errorf("%s is %s", tok.User, body)
		}
	}
	for _, id := range []string{bob.ID, "unknown", ann.ID} {
		want := 404
		if id == ann.ID {
			want = 200
		}
		if status, body := ask(t, c, "POST", url+"delete", ann.Value, `{"token_id":"`+id+`"}`); status != want || want == 404 && !strings.Contains(body, "RESOURCE_DOES_NOT_EXIST") {
			t.Errorf("ann revokes %s: %d %s", id, status, body)
		}
	}
	if n, m := len(w.Live("ann@example.com")), len(w.Live()); n != 1 || m != 3 {
		t.Errorf("%d of ann's live, %d in all", n, m)
	}
	if all := w.Tokens(); !all[0].Revoked || all[0].RevokedAt.IsZero() || all[1].Revoked {
		t.Errorf("revoked: %v %v", all[0].Revoked, all[1].Revoked)
	}
}

func TestScopes(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{})
	c := &http.Client{Transport: w.Transport()}
	narrow := w.Issue(workspacetest.IssueOptions{Scopes: []string{"model-serving"}})
	if status, body := ask(t, c, "GET", "https://w.example/api/2.0/preview/scim/v2/Me", narrow.Value, ""); status != 403 || !strings.Contains(body, "PERMISSION_DENIED") {
		t.Errorf("Me with a narrow token: %d %s", status, body)
	}
	if _, body := ask(t, c, "POST", "https://w.example/api/2.0/token/create", narrow.Value, `{"scopes":["a","b"]}`); !strings.Contains(body, `"scopes":["a","b"]`) {
		t.Errorf("created %s", body)
	}
	if got := w.Tokens()[1].Scopes; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("scopes %v", got)
	}
}

func TestIDs(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{})
	// printf abc | sha256sum
	if tok := w.Issue(workspacetest.IssueOptions{Value: "abc"}); tok.ID != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Errorf("id %s", tok.ID)
	}
	w = workspacetest.New(workspacetest.Config{RandomIDs: true})
	a, b := w.Issue(workspacetest.IssueOptions{Value: "abc"}), w.Issue(workspacetest.IssueOptions{})
	if a.ID == b.ID || len(a.ID) != 64 || strings.HasPrefix(a.ID, "ba7816bf") {
		t.Errorf("ids %s, %s", a.ID, b.ID)
	}
}

func TestTokenPrintsNoValue(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{})
	tok := w.Issue(workspacetest.IssueOptions{Value: "canary"})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if out := fmt.Sprintf(verb+verb, tok, []workspacetest.Token{tok}); strings.Contains(out, "canary") || strings.Contains(out, "63616e617279") {
			t.Errorf("%s: %s", verb, out)
		}
	}
}

func TestClockInTheHeader(t *testing.T) {
	at := time.Date(2031, 5, 4, 3, 2, 1, 0, time.UTC)
	both(t, workspacetest.Config{Now: func() time.Time { return at }}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		resp, err := c.Get(url + "/")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Date"); got != "Sun, 04 May 2031 03:02:01 GMT" {
			t.Errorf("Date: %s", got)
		}
		if tok := w.Issue(workspacetest.IssueOptions{}); !tok.Created.Equal(at) {
			t.Errorf("created at %v", tok.Created)
		}
	})
}

// The quota holds however many ask at once.
func TestQuotaIsExact(t *testing.T) {
	w := workspacetest.New(workspacetest.Config{Quota: 20})
	c := &http.Client{Transport: w.Transport()}
	first := w.Issue(workspacetest.IssueOptions{}).Value
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() { _, _, _ = try(t, c, "POST", "https://w.example/api/2.0/token/create", first, `{}`) })
	}
	wg.Wait()
	if n := len(w.Live()); n != 20 {
		t.Errorf("%d tokens live", n)
	}
}

func TestClientCredentials(t *testing.T) {
	both(t, workspacetest.Config{}, func(t *testing.T, w *workspacetest.Workspace, c *http.Client, url string) {
		w.AddClient("robot", "canary", "robot@example.com")
		grant := func(id, secret, form string) (int, string) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/oidc/v1/token", strings.NewReader(form))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(id, secret)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			var out struct {
				Token string `json:"access_token"`
			}
			_ = json.NewDecoder(resp.Body).Decode(&out)
			return resp.StatusCode, out.Token
		}
		const form = "grant_type=client_credentials"
		for _, bad := range [][3]string{{"robot", "wrong", form}, {"other", "canary", form}, {"robot", "canary", "grant_type=password"}, {"", "", form}} {
			if status, token := grant(bad[0], bad[1], bad[2]); status < 400 || token != "" {
				t.Errorf("%v: %d", bad, status)
			}
		}
		status, token := grant("robot", "canary", form)
		if status != 200 || token == "" || len(w.Tokens()) != 0 || len(w.Live()) != 0 {
			t.Errorf("granted: %d", status)
		}
		if status, body := ask(t, c, "POST", url+"/api/2.0/token/create", token, `{}`); status != 200 || w.Live()[0].User != "robot@example.com" {
			t.Errorf("minting: %d %s", status, body)
		}
		if _, body := ask(t, c, "GET", url+"/oidc/.well-known/oauth-authorization-server", "", ""); !strings.Contains(body, `"token_endpoint":"`+url+`/oidc/v1/token"`) {
			t.Errorf("endpoints: %s", body)
		}
		for _, r := range w.Requests() {
			if strings.Contains(fmt.Sprintf("%+v", r), "canary") {
				t.Errorf("the secret is in the record: %+v", r)
			}
		}
	})
}
