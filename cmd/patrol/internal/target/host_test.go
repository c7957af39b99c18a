package target

import (
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	tests := []struct {
		raw, want string
	}{
		{"https://dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com"},
		{" https://DBC-1.Cloud.Databricks.com/ ", "https://dbc-1.cloud.databricks.com"},
		{"dbc-1.cloud.databricks.com", "https://dbc-1.cloud.databricks.com"},
		{"dbc-1.cloud.databricks.com:8443/", "https://dbc-1.cloud.databricks.com:8443"},
		{"https://adb-1.2.azuredatabricks.net/?o=123", "https://adb-1.2.azuredatabricks.net?o=123"},
		{"https://w.example?workspace_id=123&a=4", "https://w.example?o=123"},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080"},
	}
	for _, tt := range tests {
		h, err := parseHost(tt.raw)
		if err != nil {
			t.Errorf("%q: %v", tt.raw, err)
			continue
		}
		if h.String() != tt.want {
			t.Errorf("%q = %s, want %s", tt.raw, h, tt.want)
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
		h, err := parseHost(tt.raw)
		if err == nil {
			t.Errorf("%q is accepted", tt.raw)
			continue
		}
		if !strings.Contains(err.Error(), tt.says) || h.String() != tt.meant {
			t.Errorf("%q: %v, perhaps %q; want %q, perhaps %q", tt.raw, err, h, tt.says, tt.meant)
		}
		if strings.Contains(err.Error()+h.String(), canary) {
			t.Errorf("the secret got out: %v, %s", err, h)
		}
	}
}
