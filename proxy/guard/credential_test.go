package guard

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"patrol/rotator/pat"
)

// TestCredential checks requests whose connection is unknown to the guard: as
// on a system that doesn't tell who owns a socket.
func TestCredential(t *testing.T) {
	retired := pat.New(canary, "https://w.example")
	tooLong := pat.New(strings.Repeat("x", 1<<20), "https://w.example")
	keys := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, keys, "first-client-key-0001\nsecond-client-key-002\n")
	g := newGuard(t, Config{
		KeyFile: keys,
		Known:   func(hash string) bool { return hash == retired.Hash() || hash == tooLong.Hash() },
	})
	type headers map[string][]string
	tests := []struct {
		headers headers
		in      bool
	}{
		{headers{"Authorization": {"Bearer " + canary}}, true},
		{headers{"Authorization": {"bearer   " + canary + " "}}, true},
		{headers{"X-Api-Key": {canary}}, true},
		{headers{"X-Goog-Api-Key": {canary}}, true},
		{headers{"Authorization": {"Bearer first-client-key-0001"}}, true},
		{headers{"X-Api-Key": {"second-client-key-002"}}, true},
		{headers{"Authorization": {"Bearer dummy"}, "X-Api-Key": {canary}}, true}, // Claude Code with a helper
		{headers{"Authorization": {"Bearer dummy", "Bearer " + canary}}, true},

		{nil, false},
		{headers{"Authorization": {canary}}, false},
		{headers{"Authorization": {"Basic " + canary}}, false},
		{headers{"Authorization": {"Bearer"}}, false},
		{headers{"Authorization": {"Bearer "}}, false},
		{headers{"Authorization": {"Bearer " + canary + "x"}}, false},
		{headers{"Authorization": {"Bearer " + canary[1:]}}, false},
		{headers{"Authorization": {"Bearer " + retired.Hash()}}, false}, // the ledger is no list of credentials
		{headers{"X-Api-Key": {""}}, false},
		{headers{"X-Api-Key": {"first-client-key-0002"}}, false},
		{headers{"X-Api-Key": {"first-client-key-000"}}, false},
		{headers{"X-Api-Key": {tooLong.Expose()}}, false},
		{headers{"X-Api-Key": {"1", "2", "3", "4", "5", "6", "7", "8", canary}}, false},
		{headers{"Cookie": {canary}}, false},
		{headers{"Proxy-Authorization": {"Bearer " + canary}}, false},
	}
	for _, test := range tests {
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
		r.Host = "localhost:4000"
		maps.Copy(r.Header, http.Header(test.headers))
		refusal := g.Check(r)
		switch {
		case test.in && refusal != nil:
			t.Errorf("%v: refused: %v", test.headers, refusal)
		case !test.in && (refusal == nil || refusal.Status != 401 || refusal.Reason != "owner_unknown"):
			t.Errorf("%v: %v, want 401 owner_unknown", test.headers, refusal)
		case !test.in && (!strings.Contains(refusal.Message, "patrol token") || !strings.Contains(refusal.Message, "--client-key-file")):
			t.Errorf("the message doesn't say how to be let in: %s", refusal.Message)
		}
	}
	if got := g.Counters()["owner_unknown"]; got != 15 {
		t.Errorf("counted %d refusals, want 15", got)
	}
	// A credential mends nothing else.
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "evil.com"
	r.Header.Set("X-Api-Key", canary)
	if refusal := g.Check(r); refusal == nil || refusal.Reason != "host" {
		t.Errorf("a credential let in a foreign Host: %v", refusal)
	}
}
