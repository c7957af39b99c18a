package pat_test

import (
	"encoding/json"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"https://dbc-1.cloud.databricks.com":               "https://dbc-1.cloud.databricks.com",
		" https://DBC-1.cloud.databricks.com/ ":            "https://dbc-1.cloud.databricks.com",
		"HTTPS://dbc-1.cloud.databricks.com:443":           "https://dbc-1.cloud.databricks.com",
		"https://dbc-1.cloud.databricks.com.":              "https://dbc-1.cloud.databricks.com",
		"https://dbc-1.cloud.databricks.com:8443":          "https://dbc-1.cloud.databricks.com:8443",
		"dbc-1.cloud.databricks.com":                       "https://dbc-1.cloud.databricks.com",
		"dbc-1.cloud.databricks.com:8443/":                 "https://dbc-1.cloud.databricks.com:8443",
		"https://dbc-1.cloud.databricks.com/sql?o=1":       "https://dbc-1.cloud.databricks.com?o=1",
		"https://one.databricks.com/?o=123&x=y":            "https://one.databricks.com?o=123",
		"https://one.databricks.com?w=123":                 "https://one.databricks.com?o=123",
		"https://one.databricks.com?w=2&o=1":               "https://one.databricks.com?o=1",
		"https://one.databricks.com?workspace_id=3&w=2":    "https://one.databricks.com?o=2",
		"https://one.databricks.com?workspace_id=123#frag": "https://one.databricks.com?o=123",
		"http://127.0.0.1:80":                              "http://127.0.0.1",
		"http://LOCALHOST:8080":                            "http://localhost:8080",
		"http://[::1]:8080":                                "http://[::1]:8080",
		"https://[2001:db8::1]":                            "https://[2001:db8::1]",
		"https://10.0.0.1":                                 "https://10.0.0.1",
	} {
		got, err := pat.ParseHost(in)
		if err != nil || got.String() != want {
			t.Errorf("ParseHost(%q) = %q, %v; want %q", in, got, err, want)
		}
		if again, err := pat.ParseHost(got.String()); err != nil || !again.Same(got) {
			t.Errorf("ParseHost(%q) = %q, %v: not itself", got, again, err)
		}
	}
	for _, in := range []string{
		"", "  ", "//dbc-1.cloud.databricks.com", "https://", "https://:443", "https://.", "https:dbc-1", "https:///path", "https://dbc 1", "https://%zz",
		"ftp://dbc-1.cloud.databricks.com", "https://user:canary@dbc-1.cloud.databricks.com", "https://canary@w.example", canary,
	} {
		got, err := pat.ParseHost(in)
		if err == nil || !got.IsZero() || got.String() != "" {
			t.Errorf("ParseHost(%q) = %q, %v; want an error", in, got, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("a secret in: %v", err)
		}
	}
}

func TestSameHost(t *testing.T) {
	const here = "https://w.example"
	for _, tt := range []struct {
		a, b          string
		same, maySame bool
	}{
		{here, here, true, true},
		{here + "?o=7", here + "/?w=7", true, true},
		{here + "?o=7", here + "?o=9", false, false},
		{here, here + "?o=7", false, true},
		{here, "W.EXAMPLE.:443/x", true, true},
		{here, here + ":8443", false, false},
		{here, "https://v.example", false, false},
		{here, here + ".evil.example", false, false},
		{"https://127.0.0.1", "http://127.0.0.1", false, false},
		{here, "", false, false},
		{"", "", false, false},
	} {
		a, _ := pat.ParseHost(tt.a)
		b, _ := pat.ParseHost(tt.b)
		if a.Same(b) != tt.same || b.Same(a) != tt.same {
			t.Errorf("%q and %q: Same = %v, %v; want %v", tt.a, tt.b, a.Same(b), b.Same(a), tt.same)
		}
		if a.MaySame(b) != tt.maySame || b.MaySame(a) != tt.maySame {
			t.Errorf("%q and %q: MaySame = %v, %v; want %v", tt.a, tt.b, a.MaySame(b), b.MaySame(a), tt.maySame)
		}
	}
}

func TestHostIsPrivate(t *testing.T) {
	for in, want := range map[string]struct{ loopback, private bool }{
		"https://w.example":             {false, true},
		"http://w.example":              {false, false},
		"http://localhost:8080":         {true, true},
		"http://localhost.":             {true, true},
		"http://127.9.9.9":              {true, true},
		"http://[::1]":                  {true, true},
		"http://[::ffff:127.0.0.1]":     {true, true},
		"https://127.0.0.1":             {true, true},
		"http://127.0.0.1.evil.example": {false, false},
		"http://0.0.0.0":                {false, false},
		"http://10.0.0.1":               {false, false},
	} {
		h, err := pat.ParseHost(in)
		if err != nil || h.Loopback() != want.loopback || h.Private() != want.private {
			t.Errorf("%s: Loopback %v, Private %v, %v; want %v", in, h.Loopback(), h.Private(), err, want)
		}
	}
}

// TestHostAsText: the ledger keeps hosts as text, and reads a line whatever its
// host is.
func TestHostAsText(t *testing.T) {
	type line struct {
		Host pat.Host `json:"host,omitzero"`
	}
	for in, want := range map[string]string{
		`{"host":"https://w.example?o=7"}`:  `{"host":"https://w.example?o=7"}`,
		`{"host":"https://W.example/?w=7"}`: `{"host":"https://w.example?o=7"}`,
		`{}`:                                `{}`,
		`{"host":"a b"}`:                    `{}`,
	} {
		var l line
		if err := json.Unmarshal([]byte(in), &l); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(l); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
}

// FuzzParseHost: what is read is read alike when it is read again.
func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"https://w.example:8443/x?o=7", "[::1]:80", "W.example..", "http://a%C3%A4:80?w=%26", canary} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := pat.ParseHost(s)
		if err != nil {
			return
		}
		if again, err := pat.ParseHost(h.String()); err != nil || !again.Same(h) {
			t.Errorf("%q is %#v, and %q is %#v, %v", s, h, h.String(), again, err)
		}
	})
}

func TestDialPort(t *testing.T) {
	for s, want := range map[string]string{"https://h": "443", "https://h:443": "443", "http://h": "80", "https://h:8443": "8443", "http://[::1]:4000": "4000"} {
		h, err := pat.ParseHost(s)
		if err != nil || h.DialPort() != want {
			t.Errorf("%s: %q, want %q (%v)", s, h.DialPort(), want, err)
		}
	}
}
