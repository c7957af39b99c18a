package target

import (
	"errors"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	tests := []struct {
		raw, want string
		noScheme  bool
	}{
		{"https://dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com", false},
		{" https://DBC-1.Cloud.Databricks.com/ ", "https://dbc-1.cloud.databricks.com", false},
		{"dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com", true},
		{"dbc-1.cloud.databricks.com:8443/", "https://dbc-1.cloud.databricks.com:8443", true},
		{"https://adb-1.2.azuredatabricks.net/?o=123", "https://adb-1.2.azuredatabricks.net?o=123", false},
		{"https://w.example?workspace_id=123&a=4", "https://w.example?o=123", false},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080", false},
	}
	for _, tt := range tests {
		w, flaws, err := parseHost(tt.raw)
		if err != nil {
			t.Errorf("%q: %v", tt.raw, err)
			continue
		}
		if w.String() != tt.want || flaws.noScheme != tt.noScheme {
			t.Errorf("%q = %s, %+v; want %s", tt.raw, w, flaws, tt.want)
		}
	}
}

func TestParseHostRefused(t *testing.T) {
	tests := []struct{ raw, says, meant string }{
		{"", "", ""},
		{"https://", "not a URL", ""},
		{"https:///path", "not a URL", ""},
		{"https://a b", "not a URL", ""},
		{"https://${HOST}", "", ""},
		{"https://-x", "name of the host", ""},
		{"https://w.example:", "port is missing", ""},
		{"https://w.example:0", "port", ""},
		{"https://w.example:99999", "port", ""},
		{"https://w.example/login.html?o=5", "no path", "https://w.example?o=5"},
		{"w.example/serving-endpoints", "no path", "https://w.example"},
		{"https://w.example//", "no path", "https://w.example"},
		{"https://w.example#top", "no fragment", "https://w.example"},
		{"https://w.example?x=1", "no query", "https://w.example"},
		{"http://w.example", "clear text", "https://w.example"},
		{"http://127.0.0.1.evil.example", "clear text", "https://127.0.0.1.evil.example"},
		{"ftp://w.example", "scheme must be https", "https://w.example"},
		{"https://me:" + canary + "@w.example", "user or password", "https://w.example"},
		{"https://" + canary + "@w.example", "user or password", "https://w.example"},
		{canary, "looks like a token", ""},
	}
	for _, tt := range tests {
		_, _, err := parseHost(tt.raw)
		if err == nil {
			t.Errorf("%q is accepted", tt.raw)
			continue
		}
		e, ok := errors.AsType[*hostError](err)
		if !ok || !strings.Contains(e.what, tt.says) || e.meant != tt.meant {
			t.Errorf("%q: %q, perhaps %q; want %q, perhaps %q", tt.raw, e.what, e.meant, tt.says, tt.meant)
		}
		if strings.Contains(e.what+e.meant, canary) {
			t.Errorf("the secret got out: %q %q", e.what, e.meant)
		}
	}
}
