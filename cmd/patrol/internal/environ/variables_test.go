package environ

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/databricks/databricks-sdk-go/config"

	"patrol/cmd/patrol/internal/cli"
)

func TestWithLoopback(t *testing.T) {
	tests := []struct{ list, other, want string }{
		{"", "", "localhost,127.0.0.1,::1"},
		{"corp.example", "", "corp.example,localhost,127.0.0.1,::1"},
		{"a, b", "", "a,b,localhost,127.0.0.1,::1"},
		{"a b", "", "a,b,localhost,127.0.0.1,::1"},
		{"", "corp.example", "corp.example,localhost,127.0.0.1,::1"},
		{"a", "b", "a,localhost,127.0.0.1,::1"},
		{"*", "", "*"},
		{"localhost,127.0.0.1,::1", "", "localhost,127.0.0.1,::1"},
		{"localhost, corp", "", "localhost,corp,127.0.0.1,::1"},
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
	got := Apply([]string{"A=1", "A=2", "B=3", "AB=4", "odd", "=C:=C:\\"}, []Change{{Name: "A", Value: "x=y"}, {Name: "B", Unset: true}, {Name: "D", Unset: true}})
	if want := []string{"AB=4", "odd", "=C:=C:\\", "A=x=y"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAgentEnvKeys(t *testing.T) {
	addr := netip.MustParseAddrPort("127.0.0.1:4000")
	changed := func(env cli.Env, name string) string {
		for _, c := range changesFor(env, "work", addr) {
			if c.Name == name {
				return c.Value
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
		if got := changed(cli.Env{tt.env}, tt.name); got != tt.want {
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
			if !slices.Contains(Frozen(), name) {
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
	file := filepath.Join(t.TempDir(), "cfg")
	const profiles = "[DEFAULT]\nhost = https://other.example\ntoken = other\n[work]\nhost = https://w.example\ntoken = fresh\n"
	if err := os.WriteFile(file, []byte(profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	var env cli.Env
	for _, name := range Frozen() {
		env = append(env, name+"=frozen")
	}
	env = append(env, "DATABRICKS_CONFIG_FILE="+file, "DATABRICKS_CONFIG_PROFILE=DEFAULT")
	for _, entry := range os.Environ() { // what the test's own shell has counts for nothing
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "DATABRICKS_") || strings.HasPrefix(name, "ARM_") || strings.HasPrefix(name, "GOOGLE_") {
			t.Setenv(name, "")
		}
	}
	resolve := func(environ []string) (*config.Config, error) {
		for _, name := range append(Frozen(), "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE") {
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
	if cfg, err := resolve(env); err == nil && cfg.Token == "fresh" {
		t.Fatal("the frozen environment does no harm: this test shows nothing")
	}
	cfg, err := resolve(Apply(env, changesFor(env, "work", netip.MustParseAddrPort("127.0.0.1:4000"))))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://w.example" || cfg.Token != "fresh" || cfg.AuthType != "" && cfg.AuthType != "pat" {
		t.Errorf("the SDK reads host %s, token %q, auth %q", cfg.Host, cfg.Token, cfg.AuthType)
	}
}
