package view

import (
	"strings"
	"testing"
	"time"

	"patrol/cmd/patrol/internal/cli"
	"patrol/rotator"
)

func TestLogout(t *testing.T) {
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	revoked := rotator.LogoutToken{ID: "aaaa", End: rotator.EndRevoked}
	tests := []struct {
		name string
		d    rotator.LogoutResult
		want []string
		fail bool
	}{
		{name: "nothing", want: []string{"nothing to do"}},
		{name: "left only", d: rotator.LogoutResult{Tokens: []rotator.LogoutToken{{Found: []string{"DATABRICKS_TOKEN"}, End: rotator.EndLeft, Why: "it is kept"}}}, want: []string{"left  token id unknown from DATABRICKS_TOKEN: it is kept", "nothing to do"}},
		{name: "all", d: rotator.LogoutResult{Files: []rotator.FileInfo{{Path: "/f", Cleared: true}, {Path: "/g"}}, Tokens: []rotator.LogoutToken{revoked}}, want: []string{"cleared  /f", "revoked  token aaaa", "logged out"}},
		{
			name: "a file", fail: true,
			d:    rotator.LogoutResult{Files: []rotator.FileInfo{{Path: "/f", Error: "it holds dapi0123456789abcdef"}}, Tokens: []rotator.LogoutToken{revoked}},
			want: []string{"NOT CLEARED  /f  it holds dapi…", "revoked      token aaaa"},
		},
		{
			name: "a token", fail: true,
			d:    rotator.LogoutResult{Tokens: []rotator.LogoutToken{revoked, {ID: "bbbb", End: rotator.EndPending, Why: "no network", Expires: now.Add(time.Hour)}}},
			want: []string{"NOT REVOKED  token bbbb, expires in 1h0m0s (2026-11-01T13:00:00Z): no network"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := Logout(cli.Streams{Out: &out}, test.d, now)
			if (err != nil) != test.fail || err != nil && cli.CodeOf(err) != cli.ExitFailed {
				t.Errorf("error %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("printed\n%s, without %q", out.String(), want)
				}
			}
		})
	}
}
