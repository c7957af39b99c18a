package proxy_test

import (
	"crypto/sha256"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"patrol/proxy"
	"patrol/proxy/guard"
	"patrol/rotator/pat"
)

// sampleLine is one of the text format's, as far as it is used here.
var sampleLine = regexp.MustCompile(`^(patrol_[a-z0-9_]+)(\{(?:reason|client)="[A-Za-z0-9_.-]+"\})? ([0-9]+)$`)

// scrape returns /metrics by name and labels, after it has checked the form:
// each name is introduced once, before its values.
func scrape(t *testing.T, h *fixture, header ...string) map[string]uint64 {
	t.Helper()
	got := h.do(t, "GET", "/metrics", "", header...)
	if got.StatusCode != http.StatusOK || got.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("/metrics: %d %v %s", got.StatusCode, got.Header, got.body)
	}
	if strings.Contains(got.body, canary) {
		t.Error("/metrics holds a token")
	}
	values, kinds, helped := map[string]uint64{}, map[string]string{}, map[string]bool{}
	for line := range strings.Lines(got.body) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		switch {
		case words[0] == "#" && words[1] == "HELP" && !helped[words[2]] && words[3] != "":
			helped[words[2]] = true
		case words[0] == "#" && words[1] == "TYPE" && kinds[words[2]] == "" && helped[words[2]]:
			kinds[words[2]] = words[3]
		default:
			m := sampleLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
			if m == nil || kinds[m[1]] == "" || strings.HasSuffix(m[1], "_total") != (kinds[m[1]] == "counter") {
				t.Errorf("/metrics has the line %q", line)
				continue
			}
			values[m[1]+m[2]], _ = strconv.ParseUint(m[3], 10, 64)
		}
	}
	return values
}

func TestMetrics(t *testing.T) {
	up := upstream(t, func(http.ResponseWriter, *http.Request) {})
	key := strings.Repeat("k", 32) // for systems that can't tell a socket's owner
	auth := []string{"X-Api-Key", key}
	warnings := []string{"a file can't be written"}
	g, err := guard.New(guard.Config{})
	if err != nil {
		t.Fatal(err)
	}
	g.SetKeys([]guard.ClientKey{{Name: "laptop", Hash: sha256.Sum256([]byte(key))}}, nil)
	defer func() { _ = g.Close() }()
	h := open(t, proxy.Config{
		Host: up.URL, Wait: -1, Guard: g,
		Warnings: func() []string { return warnings },
	})
	h.do(t, "POST", "/v1/messages", "{}", auth...)
	h.do(t, "POST", "/v1/messages", "{}", "Origin", "https://evil.example", "X-Api-Key", key)
	got := scrape(t, h, auth...)
	for name, want := range map[string]uint64{
		"patrol_requests_total": 3, "patrol_answered_503_total": 1, "patrol_ready": 0, "patrol_warnings": 1,
		`patrol_client_requests_total{client="laptop"}`: 2, `patrol_client_requests_total{client="unknown"}`: 0,
		`patrol_turned_away_total{reason="origin"}`: 1, `patrol_turned_away_total{reason="host"}`: 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d, want %d", name, v, want)
		}
	}
	const expiry = "patrol_token_expiry_timestamp_seconds"
	if _, ok := got[expiry]; ok {
		t.Error("the expiry of no token is told")
	}

	tok := pat.New(canary, up.URL)
	tok.Expiry = time.Now().Add(time.Hour)
	h.publish(t, tok)
	warnings = nil
	h.do(t, "POST", "/v1/messages", "{}", auth...)
	got = scrape(t, h, auth...)
	for name, want := range map[string]uint64{
		"patrol_requests_total": 5, "patrol_answered_503_total": 1, "patrol_ready": 1, "patrol_warnings": 0,
		expiry: uint64(tok.Expiry.Unix()),
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d, want %d", name, v, want)
		}
	}
}
