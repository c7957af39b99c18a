package workspace_test

import (
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/logger"

	"patrol/rotator/pat"
	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

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
	minted, _, err := c.As(first).Mint(t.Context(), request)
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
		_, _, errMint := session.Mint(t.Context(), request)
		if err == nil || errMint == nil || errors.Is(errMint, workspace.ErrUncertain) || session.Revoke(t.Context(), "x") == nil {
			t.Errorf("a token of %q: %v, %v", host, err, errMint)
		}
	}
	if _, err := c.As(pat.Token{}).List(t.Context()); err == nil {
		t.Error("no token will do")
	}
	if n := len(s.Requests()); n != 0 {
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
			_, _, errMint := c.As(first).Mint(t.Context(), request)
			if err == nil || errMint == nil || errors.Is(errMint, workspace.ErrUncertain) {
				t.Errorf("%d to %s: %v, %v", status, location, err, errMint)
				continue
			}
			secret(t, s.Workspace, err.Error())
		}
	}
	if len(other.Requests()) != 0 || len(s.Requests()) != 5*4*2 {
		t.Errorf("%d requests reached the other host, %d this one", len(other.Requests()), len(s.Requests()))
	}
	s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 302, Header: http.Header{"Location": {"/login.html?error=private-link-validation-error"}}})
	if _, err := c.As(first).List(t.Context()); err == nil || !strings.Contains(err.Error(), "private link") {
		t.Errorf("a redirect by private link: %v", err)
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
	var tokens strings.Builder
	for _, body := range []string{
		`{"error_code":"X","message":"no %s"}`, `{"token_value":"%s"`, `<html><title>%s</title></html>`, `%s`, `X_Y: %s`,
		`{"error_code":"%s","message":"x"}`, `{"error_code":"X","message":"Authorization: Bearer %s"}`, `{"error":"%s"}`, `{"detail":"%s","status":"400"}`,
	} {
		for _, status := range []int{200, 400, 403, 500, 503} {
			for _, value := range []string{first.Expose(), "dapi-canary-" + strings.Repeat("0123456789abcdef", 20), "0123456789abcdefcanary0123456789", "eyJcanary.eyJ.sig"} {
				s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: status, Body: fmt.Sprintf(body, value)})
				_, _, err := c.As(first).Mint(t.Context(), request)
				if err == nil {
					t.Fatalf("%d %s: minted", status, body)
				}
				fmt.Fprintf(&tokens, "%v %+v %#v %q\n", err, err, err, err)
			}
		}
	}
	// A value that looks like nothing known is hidden where it is the session's.
	odd := pat.New(s.Issue(workspacetest.IssueOptions{Value: "canary.odd"}).Value, s.URL)
	for _, body := range []string{`{"error_code":"X","message":"no canary.odd"}`, `canary.odd`, `<title>canary.odd</title>`} {
		s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 400, Body: body})
		if err := c.As(odd).Revoke(t.Context(), "x"); err != nil {
			tokens.WriteString(err.Error())
		}
	}
	for _, effect := range []workspacetest.Effect{workspacetest.Reset, workspacetest.Break, workspacetest.Slow} {
		s.Inject(workspacetest.Fault{Effect: effect})
		if _, _, err := c.As(first).Mint(t.Context(), request); err != nil {
			tokens.WriteString(err.Error())
		}
	}
	if !strings.Contains(written.String(), "workspace call") {
		t.Error("our own log says nothing")
	}
	secret(t, s.Workspace, tokens.String())
	secret(t, s.Workspace, written.String())
	if strings.Contains(written.String(), "POST /api/") {
		t.Errorf("the SDK's debug log is open:\n%.2000s", written.String())
	}
}
