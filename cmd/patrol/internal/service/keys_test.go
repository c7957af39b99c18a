package service

import (
	"testing"
	"time"

	"patrol/proxy/guard"
	"patrol/rotator/ledger"
)

func TestTokenUse(t *testing.T) {
	const old = 24 * time.Hour
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		stage ledger.Stage
		ago   time.Duration
		want  guard.TokenUse
	}{
		{ledger.Minted, 0, guard.TokenLive},
		{ledger.Published, time.Minute, guard.TokenLive},
		{ledger.Current, 100 * time.Hour, guard.TokenLive},
		{ledger.Retiring, time.Minute, guard.TokenReplaced},
		{ledger.Retiring, 100 * time.Hour, guard.TokenReplaced}, // the workspace can't be reached
		{ledger.Revoked, time.Hour, guard.TokenReplaced},
		{ledger.Revoked, old - time.Second, guard.TokenReplaced},
		{ledger.Revoked, old, guard.TokenUseless},
		{ledger.Expired, time.Hour, guard.TokenReplaced},
		{ledger.Expired, 25 * time.Hour, guard.TokenUseless},
		{ledger.Left, time.Hour, guard.TokenReplaced},
		{ledger.Left, 25 * time.Hour, guard.TokenUseless}, // its owner may have revoked it
	} {
		if got := useOf(ledger.Entry{Stage: tt.stage, At: now.Add(-tt.ago)}, old, now); got != tt.want {
			t.Errorf("%s since %v: %d, want %d", tt.stage, tt.ago, got, tt.want)
		}
	}
	if got := useOf(ledger.Entry{Stage: ledger.Revoked, At: now}, 0, now); got != guard.TokenUseless {
		t.Errorf("with --old-tokens 0: %d", got)
	}
}
