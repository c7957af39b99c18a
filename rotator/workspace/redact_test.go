package workspace

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "",
		"connection refused":                     "connection refused",
		"a\nb\t\x00c  d\u202e":                   "a b c d",
		"Bearer abc":                             "[hidden]",
		`{"token_value":"x","a":"b"}`:            `{"token_value":"[hidden]","a":"b"}`,
		`{"token_value":"x`:                      `{"token_value":"[hidden]`,
		"client_secret=x&y=z":                    "client_secret=[hidden]&y=z",
		"Authorization: Basic eA==":              "Authorization: Basic [hidden]",
		"dapi0123456789abcdef is bad":            "dapi… is bad",
		"no such token: eyJhbGciOi.eyJzdWIi.sig": "no such token: [hidden]",
		"lookup adb-1234567890123456.7.azuredatabricks.net: no such host":                        "lookup adb-1234567890123456.7.azuredatabricks.net: no such host",
		"/serving-endpoints/anthropic/v1/messages":                                               "/serving-endpoints/anthropic/v1/messages",
		"Token ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad does not exist.": "Token ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad does not exist.",
		"[ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]":                                          "[ReqId: 145ae51b-da74-40a7-ac56-0ad190834faf]",
		"com.databricks.backend.UnknownWorkerEnvironmentException":                               "com.databricks.backend.UnknownWorkerEnvironmentException",
		"the secret s.1 of theirs":                                                               "the secret [hidden] of theirs",
		"abcdef0123456789abcdef01234567":                                                         "[hidden]",
	} {
		if got := redact(text, []string{"s.1", ""}); got != want {
			t.Errorf("redact(%q) = %q, want %q", text, got, want)
		}
	}
	if got := redact(strings.Repeat("é ", 1000), nil); len(got) > maxText+len("…") || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}

// Whatever surrounds a token, it doesn't get out.
func FuzzRedact(f *testing.F) {
	f.Add(`{"token_value":"`, `"}`)
	f.Add("Bearer ", "\xff")
	f.Add("dapi", "é")
	f.Fuzz(func(t *testing.T, before, after string) {
		const token = "dapi0123456789abcdef0123456789abcdef"
		if got := redact(before+token+after, []string{token}); strings.Contains(got, token[4:30]) {
			t.Errorf("redact(%q) = %q", before+token+after, got)
		}
		if got := redact(before+" "+token+" "+after, nil); strings.Contains(got, token[4:30]) {
			t.Errorf("unknown to us: redact(%q) = %q", before+token+after, got)
		}
	})
}
