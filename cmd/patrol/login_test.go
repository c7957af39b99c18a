package main

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
	a := newApp(t)
	a.stdin = stdin
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if value, err := a.askToken(ctx, hostA); value != "" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", value, err)
	}
}
