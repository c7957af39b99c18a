package workspace_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"patrol/rotator/workspace"
	"patrol/rotator/workspacetest"
)

const secretCanary = "dose-canary-0123456789abcdef"

// profiles writes a .databrickscfg file and returns its path.
func profiles(t *testing.T, format string, args ...any) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "databrickscfg")
	if err := os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func m2m(t *testing.T, host string) string {
	t.Helper()
	return profiles(t, "[DEFAULT]\nhost = https://other.example\ntoken = dapi-other\n\n[minter]\nhost = %s\nclient_id = robot\nclient_secret = %s\n", host, secretCanary)
}

func TestMintAsServicePrincipal(t *testing.T) {
	s, c, _ := start(t, workspacetest.Config{})
	s.AddClient("robot", secretCanary, "robot@example.com")
	t.Setenv("DATABRICKS_HOST", "garbage")
	t.Setenv("DATABRICKS_TOKEN", "garbage")
	t.Setenv("DATABRICKS_CONFIG_PROFILE", "DEFAULT")
	var written lockedBuffer
	log.SetOutput(&written)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	session, err := c.AsProfile(t.Context(), m2m(t, s.URL), "minter")
	if err != nil {
		t.Fatal(err)
	}
	minted, _, err := session.Mint(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if live := s.Live("robot@example.com"); len(live) != 1 || live[0].ID != minted.ID || live[0].Value != minted.Expose() {
		t.Errorf("alive: %v", live)
	}
	if list, err := session.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := session.Revoke(t.Context(), minted.ID); err != nil {
		t.Error(err)
	}
	asked := 0
	for _, r := range s.Requests() {
		if r.Path == "/oidc/v1/token" {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the token endpoint was asked %d times for three calls", asked)
	}
	if w := written.String(); w != "" {
		t.Errorf("the SDK wrote to stderr: %s", w)
	}
}

// Many workspaces tell nothing about themselves: that is no reason to fail, or
// to write warnings.
func TestWorkspaceWithoutMetadata(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"none":         {Effect: workspacetest.Answer, Status: 404},
		"a login page": {Effect: workspacetest.Answer, Status: 200, Body: "<html>"},
		"redirect":     {Effect: workspacetest.Answer, Status: 302, Header: http.Header{"Location": {"/login"}}},
		"nothing":      {Effect: workspacetest.Empty},
		"reset":        {Effect: workspacetest.Reset},
	} {
		t.Run(name, func(t *testing.T) {
			var written lockedBuffer
			log.SetOutput(&written)
			t.Cleanup(func() { log.SetOutput(os.Stderr) })
			s, c, _ := start(t, workspacetest.Config{})
			s.AddClient("robot", secretCanary, "robot@example.com")
			fault.Path = "/.well-known/databricks-config"
			s.Inject(fault)
			session, err := c.AsProfile(t.Context(), m2m(t, s.URL), "minter")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := session.Mint(t.Context(), request); err != nil {
				t.Error(err)
			}
			if w := written.String(); w != "" {
				t.Errorf("the SDK wrote to stderr: %s", w)
			}
		})
	}
}

func TestServicePrincipalRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := workspacetest.New(workspacetest.Config{})
		w.AddClient("robot", secretCanary, "robot@example.com")
		c := client(t, workspace.Config{Host: "https://w.example", Transport: w.Transport()})
		session, err := c.AsProfile(t.Context(), m2m(t, "https://w.example"), "minter")
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, _, err := session.Mint(t.Context(), request); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Minute)
		}
	})
}

func TestProfilesThatWontDo(t *testing.T) {
	s, c, _ := start(t, workspacetest.Config{})
	s.AddClient("robot", "another secret", "robot@example.com")
	for name, test := range map[string]struct {
		file, profile string
		want          string
	}{
		"no name":         {m2m(t, s.URL), "", "no name"},
		"no file":         {filepath.Join(t.TempDir(), "none"), "minter", "no host"},
		"no such profile": {m2m(t, s.URL), "missing", "missing"},
		"another host":    {m2m(t, "https://elsewhere.example"), "minter", "elsewhere.example"},
		"no host":         {profiles(t, "[p]\nclient_id = robot\nclient_secret = %s\n", secretCanary), "p", "no host"},
		"not an ini file": {profiles(t, "[p\nclient_secret = %s\n", secretCanary), "p", "parse"},
		"two ways":        {profiles(t, "[p]\nhost = %s\ntoken = %s\nclient_id = robot\nclient_secret = %s\n", s.URL, secretCanary, secretCanary), "p", "more than one"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.AsProfile(t.Context(), test.file, test.profile)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("AsProfile = %v, want %q", err, test.want)
			}
			secret(t, s.Workspace, err.Error())
		})
	}
	session, err := c.AsProfile(t.Context(), m2m(t, s.URL), "minter")
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(workspacetest.Fault{Path: "/oidc/.well-known/**", Effect: workspacetest.Answer, Status: 403, Body: "blocked by an IP access list"})
	if _, _, err := session.Mint(t.Context(), request); err == nil || errors.Is(err, workspace.ErrInvalidToken) {
		t.Errorf("with no way to the token endpoint: %v", err)
	}
	_, _, err = session.Mint(t.Context(), request)
	if !errors.Is(err, workspace.ErrInvalidToken) || errors.Is(err, workspace.ErrUncertain) {
		t.Errorf("with the wrong secret: %v", err)
	}
	secret(t, s.Workspace, err.Error())
	t.Log(err)
}

// The SDK would try a token endpoint for a minute, by a context that nobody
// can cancel.
func TestTokenEndpointFails(t *testing.T) {
	for name, fault := range map[string]workspacetest.Fault{
		"hangs":       {Effect: workspacetest.Hang},
		"reset":       {Effect: workspacetest.Reset},
		"unavailable": {Effect: workspacetest.Answer, Status: 503, Header: http.Header{"Retry-After": {"3600"}}},
		"too many":    {Effect: workspacetest.Answer, Status: 429, Body: "429 rate limit " + secretCanary},
		"redirects":   {Effect: workspacetest.Answer, Status: 307, Header: http.Header{"Location": {"https://elsewhere.example/" + secretCanary}}},
		"broken":      {Effect: workspacetest.Break},
		"empty":       {Effect: workspacetest.Empty},
		"refuses":     {Effect: workspacetest.Answer, Status: 400, Body: `{"error":"invalid_request","error_description":"client_secret=` + secretCanary + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := workspacetest.New(workspacetest.Config{})
				w.AddClient("robot", secretCanary, "robot@example.com")
				c := client(t, workspace.Config{Host: "https://w.example", Transport: w.Transport()})
				session, err := c.AsProfile(t.Context(), m2m(t, "https://w.example"), "minter")
				if err != nil {
					t.Fatal(err)
				}
				fault.Path, fault.Times = "/oidc/v1/token", workspacetest.Always
				w.Inject(fault)
				began := time.Now()
				_, _, err = session.Mint(t.Context(), request)
				if err == nil || errors.Is(err, workspace.ErrUncertain) {
					t.Errorf("Mint = %v", err)
				} else {
					secret(t, w, err.Error())
				}
				want := time.Duration(0)
				if fault.Effect == workspacetest.Hang {
					want = workspace.DefaultTimeout
				}
				if took := time.Since(began); took != want {
					t.Errorf("it took %v, want %v", took, want)
				}
				for _, r := range w.Requests() {
					if r.Host != "w.example" {
						t.Errorf("%s was asked", r.Host)
					}
				}
				if s := "the token endpoint at w.example answered "; fault.Status > 400 && !strings.Contains(err.Error(), s+strconv.Itoa(fault.Status)) {
					t.Errorf("%v: want %s%d", err, s, fault.Status)
				}
				if fault.Status == 503 && workspace.RetryAfter(err) != time.Hour {
					t.Errorf("Retry-After is lost: %v", err)
				}
				w.Heal()
				began = time.Now()
				if _, _, err := session.Mint(t.Context(), request); err != nil {
					t.Errorf("healed: %v", err)
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("healed, it took %v", took)
				}
			})
		})
	}
}

// cli returns a profile that signs in by a databricks command, which does this
// when it is asked for a token.
func cli(t *testing.T, host, does string) (file string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	path := filepath.Join(t.TempDir(), "databricks")
	// The SDK takes a small file for the old CLI, and asks a new one its version first.
	script := "#!/bin/sh\nif [ \"$1\" = version ]; then echo Databricks CLI v0.299.0; exit; fi\n" + does + "\nexit\n" + strings.Repeat("#", 1<<20)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return profiles(t, "[p]\nhost = %s\nauth_type = databricks-cli\ndatabricks_cli_path = %s\n", host, path)
}

// The ways to sign in but for a service principal's.
func TestMintAsOthers(t *testing.T) {
	s, c, first := start(t, workspacetest.Config{})
	expiry := time.Now().Add(time.Hour).Format(time.RFC3339)
	for name, file := range map[string]string{
		"a token":     profiles(t, "[p]\nhost = %s/\ntoken = %s\n", s.URL, first.Expose()),
		"the CLI":     cli(t, s.URL, fmt.Sprintf(`echo '{"access_token":"%s","token_type":"Bearer","expiry":"%s"}'`, first.Expose(), expiry)),
		"by its type": profiles(t, "[p]\nhost = %s\ntoken = %s\nauth_type = pat\nclient_id = x\nclient_secret = y\n", s.URL, first.Expose()),
	} {
		session, err := c.AsProfile(t.Context(), file, "p")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, _, err := session.Mint(t.Context(), request); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Inject(workspacetest.Fault{Effect: workspacetest.Answer, Status: 400, Body: "no " + first.Expose()})
		_, err = session.List(t.Context())
		secret(t, s.Workspace, err.Error())
	}
	session, err := c.AsProfile(t.Context(), cli(t, s.URL, "echo token dapi-canary-1 is no good >&2; exit 1"), "p")
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = session.Mint(t.Context(), request)
	if err == nil || !strings.Contains(err.Error(), "is no good") {
		t.Errorf("a command that fails: %v", err)
	}
	secret(t, s.Workspace, err.Error())
}

// A command that the SDK runs to sign in, and that hangs.
func TestSigningInHangs(t *testing.T) {
	s, c, _ := start(t, workspacetest.Config{})
	session, err := c.AsProfile(t.Context(), cli(t, s.URL, "exec sleep 1"), "p")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for range 2 { // the second finds the first still there
		if _, err := session.List(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("List = %v", err)
		}
	}
}
