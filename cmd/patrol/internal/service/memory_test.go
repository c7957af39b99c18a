package service

import (
	"log/slog"
	"math"
	"runtime/debug"
	"testing"
)

// TestLimitMemory: a quarter of GOMEMLIMIT, where it is the lower limit, is for bodies.
func TestLimitMemory(t *testing.T) {
	percent := debug.SetGCPercent(100)
	t.Cleanup(func() {
		debug.SetMemoryLimit(math.MaxInt64)
		debug.SetGCPercent(percent)
	})
	s := &Service{log: slog.New(slog.DiscardHandler)}
	most := s.limitMemory()
	if most > mostForBodies || most < 1<<20 {
		t.Fatalf("%d bytes without GOMEMLIMIT", most)
	}
	t.Setenv("GOMEMLIMIT", "40MiB")
	debug.SetMemoryLimit(40 << 20)
	if got := s.limitMemory(); got != 10<<20 || debug.SetMemoryLimit(-1) != 40<<20 {
		t.Errorf("%d bytes of 40 MiB", got)
	}
}
