package workspace_test

import (
	"strings"
	"testing"

	"patrol/rotator/workspace"
)

func TestCanonicalHost(t *testing.T) {
	for in, want := range map[string]string{
		"https://dbc-1.cloud.databricks.com":               "https://dbc-1.cloud.databricks.com",
		" https://DBC-1.cloud.databricks.com/ ":            "https://dbc-1.cloud.databricks.com",
		"HTTPS://dbc-1.cloud.databricks.com:443":           "https://dbc-1.cloud.databricks.com",
		"https://dbc-1.cloud.databricks.com:8443":          "https://dbc-1.cloud.databricks.com:8443",
		"https://one.databricks.com/?o=123&x=y":            "https://one.databricks.com?o=123",
		"https://one.databricks.com?workspace_id=123#frag": "https://one.databricks.com?o=123",
		"http://127.0.0.1:80":                              "http://127.0.0.1",
		"http://LOCALHOST:8080":                            "http://localhost:8080",
		"http://[::1]:8080":                                "http://[::1]:8080",
		"https://[2001:db8::1]":                            "https://[2001:db8::1]",
	} {
		got, err := workspace.CanonicalHost(in)
		if err != nil || got != want {
			t.Errorf("CanonicalHost(%q) = %q, %v; want %q", in, got, err, want)
		}
		if again, err := workspace.CanonicalHost(got); err != nil || again != got {
			t.Errorf("CanonicalHost(%q) = %q, %v: not itself", got, again, err)
		}
	}
	for _, in := range []string{
		"", "  ", "dbc-1.cloud.databricks.com", "dbc-1.cloud.databricks.com:443", "//dbc-1.cloud.databricks.com", "https://", "https://:443",
		"https:dbc-1", "https://dbc-1.cloud.databricks.com/sql", "http://dbc-1.cloud.databricks.com", "http://127.0.0.1.evil.example",
		"ftp://dbc-1.cloud.databricks.com", "https://user:canary@dbc-1.cloud.databricks.com", "https://dbc 1", "https://%zz", "dapi-canary-1234",
	} {
		got, err := workspace.CanonicalHost(in)
		if err == nil {
			t.Errorf("CanonicalHost(%q) = %q, want an error", in, got)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("a secret in: %v", err)
		}
		if _, err := workspace.New(workspace.Config{Host: in}); err == nil {
			t.Errorf("New takes the host %q", in)
		}
	}
}
