package pat_test

import (
	"strings"
	"testing"

	"patrol/rotator/pat"
)

func TestRedact(t *testing.T) {
	for s, want := range map[string]string{
		"":                                   "",
		"dapi":                               "dapi",
		"the scheme is missing":              "the scheme is missing",
		"dapi0123456789abcdef is bad":        "dapi… is bad",
		"x dapi0123-2":                       "x dapi…",
		"DAPI0123456789ABCDEF":               "DAPI…",
		"https://me:dkea01234567@w.example":  "https://me:dkea…@w.example",
		`"dose0123_4567", "dsapi-0123456-x"`: `"dose…", "dsapi…"`,
		"xdapi0123456789":                    "xdapi…",
	} {
		if got := pat.Redact(s); got != want || pat.Redact(got) != got {
			t.Errorf("Redact(%q) = %q, want %q", s, got, want)
		}
	}
	if got := pat.Redact("profile " + canary); strings.Contains(got, "canary") {
		t.Errorf("the value got out: %s", got)
	}
}
