package guard

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLog floods the guard with refusals that carry credentials wherever a
// request has room for one.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		g := newGuard(t, Config{Log: slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		flood := func(n int) (lines []string) {
			buf.Reset()
			for i := range n {
				r := httptest.NewRequest(http.MethodGet, "/"+canary+"?key="+canary, nil)
				r.Host = "localhost:4000"
				r.Header = http.Header{
					"Authorization": {"Bearer " + canary}, "X-Api-Key": {canary}, "X-Goog-Api-Key": {canary}, "Cookie": {canary},
					"User-Agent": {canary}, "Referer": {"http://x/" + canary},
				}
				switch i % 3 {
				case 1:
					r.Host = "user:" + canary + "@evil.com"
				case 2:
					r.Header["Origin"] = []string{"http://user:" + canary + "@evil.com"}
				}
				if _, refusal := g.Check(r, Upstream); refusal == nil || strings.Contains(refusal.Message, canary) {
					t.Fatalf("Check = %v", refusal)
				}
			}
			if strings.Contains(buf.String(), canary) {
				t.Fatalf("a credential is in the log:\n%s", buf.String())
			}
			return strings.Split(strings.TrimSpace(buf.String()), "\n")
		}
		if lines := flood(30_000); len(lines) != 3*logBurst {
			t.Errorf("30,000 refusals for 3 reasons made %d lines, want %d", len(lines), 3*logBurst)
		}
		time.Sleep(logEvery)
		lines := flood(300)
		if len(lines) != 3 {
			t.Fatalf("a minute later: %d lines, want 3:\n%s", len(lines), buf.String())
		}
		var line struct {
			Reason    string `json:"reason"`
			NotLogged int    `json:"not_logged"`
		}
		if err := json.Unmarshal([]byte(lines[0]), &line); err != nil || line.Reason == "" || line.NotLogged != 10_000-logBurst {
			t.Errorf("the first line tells %+v (%v), want the number of those not logged: %s", line, err, lines[0])
		}
		time.Sleep(time.Hour)
		if lines := flood(3000); len(lines) != 3*logBurst {
			t.Errorf("after an hour of quiet: %d lines, want %d", len(lines), 3*logBurst)
		}
		if got := g.Counters(); got["host"] != 11_100 || got["origin"] != 11_100 || got["owner_unknown"] != 11_100 || got["remote"] != 0 || len(got) != len(reasons) {
			t.Errorf("Counters() = %v", got)
		}
	})
}

// TestLogNames checks that a refused client's own words reach the log only
// as far as they are a name.
func TestLogNames(t *testing.T) {
	for authority, want := range map[string]string{
		"evil.com:80": "evil.com:80", "": "(none)", "a\nb": "(malformed)", "x@y": "(malformed)", "\x1b[31m": "(malformed)",
		strings.Repeat("a", 300): "(malformed)",
	} {
		if got := displayAuthority(authority); got != want {
			t.Errorf("displayAuthority(%q) = %q, want %q", authority, got, want)
		}
	}
}
