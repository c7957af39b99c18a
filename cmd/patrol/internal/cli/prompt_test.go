package cli

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// A pipe that stays open and silent doesn't outlast a signal.
func TestAskTokenCancelled(t *testing.T) {
	stdin, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	streams := Streams{In: stdin, Err: t.Output()}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if value, err := streams.AskToken(ctx, "https://a.cloud.databricks.com"); value != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", value, err)
	}
}
