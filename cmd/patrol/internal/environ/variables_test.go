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
	const key = "patrol-key"
	changed := func(env cli.Env, name, needed string) (value, replaced string) {
		changes, all := changesFor(env, "work", Access{Addr: netip.MustParseAddrPort("127.0.0.1:4000"), key: key, needed: needed})
		for _, c := range changes {
			if c.Name == name {
				return c.Value, strings.Join(all, " ")
			}
		}
		return "(left)", strings.Join(all, " ")
	}
	// forced and told are what becomes of it where keys that are set don't do.
	tests := []struct{ env, name, want, forced, told string }{
		{"", "OPENAI_API_KEY", key, key, ""},
		{"OPENAI_API_KEY=", "OPENAI_API_KEY", key, key, ""},
		{"OPENAI_API_KEY=sk-mine", "OPENAI_API_KEY", "(left)", key, "OPENAI_API_KEY"},
		{"OPENAI_API_KEY=" + key, "OPENAI_API_KEY", "(left)", "(left)", ""},
		{"", "ANTHROPIC_AUTH_TOKEN", key, key, ""},
		{"ANTHROPIC_AUTH_TOKEN=mine", "ANTHROPIC_AUTH_TOKEN", "(left)", key, "ANTHROPIC_AUTH_TOKEN"},
		{"ANTHROPIC_API_KEY=mine", "ANTHROPIC_AUTH_TOKEN", "(left)", "(left)", "ANTHROPIC_API_KEY"},
		{"ANTHROPIC_API_KEY=mine", "ANTHROPIC_API_KEY", "(left)", key, "ANTHROPIC_API_KEY"},
		{"", "ANTHROPIC_API_KEY", "(left)", "(left)", ""},
		{"OPENAI_BASE_URL=https://api.openai.com/v1", "OPENAI_BASE_URL", "http://127.0.0.1:4000/v1", "http://127.0.0.1:4000/v1", ""},
		{"ANTHROPIC_BASE_URL=x", "ANTHROPIC_BASE_URL", "http://127.0.0.1:4000", "http://127.0.0.1:4000", ""},
		{"", "DATABRICKS_CONFIG_FILE", "(left)", "(left)", ""},
		{"DATABRICKS_CONFIG_FILE=/x", "DATABRICKS_CONFIG_FILE", "/x", "/x", ""},
		{"", "DATABRICKS_CONFIG_PROFILE", "work", "work", ""},
	}
	for _, tt := range tests {
		if got, replaced := changed(cli.Env{tt.env}, tt.name, ""); got != tt.want || replaced != "" {
			t.Errorf("with %q: %s = %q, want %q (replaced %q)", tt.env, tt.name, got, tt.want, replaced)
		}
		if got, replaced := changed(cli.Env{tt.env}, tt.name, "so"); got != tt.forced || replaced != tt.told {
			t.Errorf("with %q, where a key is needed: %s = %q, want %q (replaced %q, want %q)", tt.env, tt.name, got, tt.forced, replaced, tt.told)
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
	changes, _ := changesFor(env, "work", Access{Addr: netip.MustParseAddrPort("127.0.0.1:4000")})
	cfg, err := resolve(Apply(env, changes))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://w.example" || cfg.Token != "fresh" || cfg.AuthType != "" && cfg.AuthType != "pat" {
		t.Errorf("the SDK reads host %s, token %q, auth %q", cfg.Host, cfg.Token, cfg.AuthType)
	}
}
