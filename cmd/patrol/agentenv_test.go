package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/config"

	"patrol/rotator/workspacetest"
)

func TestWithLoopback(t *testing.T) {
	tests := []struct{ list, other, want string }{
		{"", "", "localhost,127.0.0.1,::1"},
		{"corp.example", "", "corp.example,localhost,127.0.0.1,::1"},
		{"a, b", "", "a, b,localhost,127.0.0.1,::1"},
		{"a b", "", "a b,localhost,127.0.0.1,::1"},
		{"", "corp.example", "corp.example,localhost,127.0.0.1,::1"},
		{"a", "b", "a,localhost,127.0.0.1,::1"},
		{"*", "", "*"},
		{"localhost,127.0.0.1,::1", "", "localhost,127.0.0.1,::1"},
		{"localhost, corp", "", "localhost, corp,127.0.0.1,::1"},
		{"corp,", "", "corp,localhost,127.0.0.1,::1"},
		{" ", "", "localhost,127.0.0.1,::1"},
	}
	for _, tt := range tests {
		if got := withLoopback(tt.list, tt.other); got != tt.want {
			t.Errorf("%q, %q: %q, want %q", tt.list, tt.other, got, tt.want)
		}
		if again := withLoopback(tt.want, tt.other); again != tt.want {
			t.Errorf("twice: %q becomes %q", tt.want, again)
		}
	}
}

func TestApplyEnv(t *testing.T) {
	got := applyEnv([]string{"A=1", "A=2", "B=3", "AB=4", "odd", "=C:=C:\\"}, []envChange{{name: "A", value: "x=y"}, {name: "B", unset: true}, {name: "D", unset: true}})
	if want := []string{"AB=4", "odd", "=C:=C:\\", "A=x=y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAgentEnvKeys(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:4000")
	changed := func(a *app, name string) string {
		for _, c := range a.agentEnv("work", addr) {
			if c.name == name {
				return c.value
			}
		}
		return "(left)"
	}
	tests := []struct{ env, name, want string }{
		{"", "OPENAI_API_KEY", "patrol"},
		{"OPENAI_API_KEY=", "OPENAI_API_KEY", "patrol"},
		{"OPENAI_API_KEY=sk-mine", "OPENAI_API_KEY", "(left)"},
		{"", "ANTHROPIC_AUTH_TOKEN", "patrol"},
		{"ANTHROPIC_AUTH_TOKEN=mine", "ANTHROPIC_AUTH_TOKEN", "(left)"},
		{"ANTHROPIC_API_KEY=mine", "ANTHROPIC_AUTH_TOKEN", "(left)"},
		{"OPENAI_BASE_URL=https://api.openai.com/v1", "OPENAI_BASE_URL", "http://127.0.0.1:4000/v1"},
		{"ANTHROPIC_BASE_URL=x", "ANTHROPIC_BASE_URL", "http://127.0.0.1:4000"},
		{"", "DATABRICKS_CONFIG_FILE", "(left)"},
		{"DATABRICKS_CONFIG_FILE=/x", "DATABRICKS_CONFIG_FILE", "/x"},
		{"", "DATABRICKS_CONFIG_PROFILE", "work"},
	}
	for _, tt := range tests {
		if got := changed(&app{environ: []string{tt.env}}, tt.name); got != tt.want {
			t.Errorf("with %q: %s = %q, want %q", tt.env, tt.name, got, tt.want)
		}
	}
}

// Every variable by which the SDK would sign in as somebody else is taken out.
func TestFrozenVariablesAreTheSDKs(t *testing.T) {
	seen := 0
	for _, attribute := range config.ConfigAttributes {
		for _, name := range attribute.EnvVars {
			if !strings.HasPrefix(name, "DATABRICKS_") || !attribute.HasAuthAttribute() && name != "DATABRICKS_HOST" && name != "DATABRICKS_AUTH_TYPE" {
				continue
			}
			seen++
			if !slices.Contains(frozenVariables(), name) {
				t.Errorf("%s stays", name)
			}
		}
	}
	if seen < 10 {
		t.Errorf("the SDK names %d variables only: this test shows nothing", seen)
	}
}

// The Databricks SDK itself, in a process with everything frozen in its
// environment, reads the profile once the changes are made.
func TestAgentEnvForTheSDK(t *testing.T) {
	a := newApp(t)
	file := a.write(t, "cfg", "[DEFAULT]\nhost = https://other.example\ntoken = other\n[work]\nhost = https://w.example\ntoken = fresh\n")
	for _, name := range frozenVariables() {
		a.environ = append(a.environ, name+"=frozen")
	}
	a.environ = append(a.environ, "DATABRICKS_CONFIG_FILE="+file, "DATABRICKS_CONFIG_PROFILE=DEFAULT")
	for _, entry := range os.Environ() { // what the test's own shell has counts for nothing
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "DATABRICKS_") || strings.HasPrefix(name, "ARM_") || strings.HasPrefix(name, "GOOGLE_") {
			t.Setenv(name, "")
		}
	}
	resolve := func(environ []string) (*config.Config, error) {
		for _, name := range append(frozenVariables(), "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
		for _, entry := range environ {
			if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "DATABRICKS_") {
				t.Setenv(name, value)
			}
		}
		cfg := &config.Config{HostMetadataResolver: func(context.Context, string) (*config.HostMetadata, error) { return nil, nil }}
		return cfg, cfg.EnsureResolved()
	}
	if cfg, err := resolve(a.environ); err == nil && cfg.Token == "fresh" {
		t.Fatal("the frozen environment does no harm: this test shows nothing")
	}
	cfg, err := resolve(applyEnv(a.environ, a.agentEnv("work", netip.MustParseAddrPort("127.0.0.1:4000"))))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://w.example" || cfg.Token != "fresh" || cfg.AuthType != "" && cfg.AuthType != "pat" {
		t.Errorf("the SDK reads host %s, token %q, auth %q", cfg.Host, cfg.Token, cfg.AuthType)
	}
}

// The default address is no profile's own: agents of one aren't sent to the proxy
// of another, which may be for another workspace.
func TestProxyOfAnotherProfile(t *testing.T) {
	t.Parallel()
	s := newSite(t, workspacetest.Config{})
	_, proxy := s.serve(t)
	var o options
	if err := parseListen(&o, setting{flag: "listen", values: []string{strings.TrimPrefix(proxy, "http://")}}); err != nil {
		t.Fatal(err)
	}
	work := selection{name: "work", file: filepath.Join(s.app.getenv("HOME"), ".databrickscfg")}
	_, err := s.app.proxyAddress(t.Context(), o, work)
	edge, ok := errors.AsType[*exitError](err)
	if !ok || !strings.Contains(err.Error(), "no patrol runs for profile work, and ") || !strings.Contains(edge.hint, "patrol serve --profile work --listen ") {
		t.Errorf("with the other's address as the default: %v", err)
	}
	o.listenGiven = true
	if addr, err := s.app.proxyAddress(t.Context(), o, work); err != nil || addr != o.listen[0].addr {
		t.Errorf("asked for by name: %v, %v", addr, err)
	}
}
