package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// resident returns the memory of a process that is resident, in bytes.
func resident(tb testing.TB, pid int) (n int) {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		_, _ = fmt.Sscanf(string(line), "VmRSS: %d kB", &n)
	}
	return n << 10
}

// BenchmarkServeIdle tells what the shipped binary takes once it has minted its
// first token and come to rest. The target is 25 MB.
func BenchmarkServeIdle(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "patrol")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	const settled = 6 * time.Second
	svc := newTestService(b, workspacetest.Config{NoRecord: true})
	svc.binary = binary
	for b.Loop() {
		svc.serve(b)
		busy := resident(b, svc.cmd.Process.Pid)
		time.Sleep(settled)
		idle := resident(b, svc.cmd.Process.Pid)
		svc.stop(b)
		b.ReportMetric(float64(busy)/1e6, "MB-started")
		b.ReportMetric(float64(idle)/1e6, "MB-idle")
	}
	b.ReportMetric(0, "ns/op")
}
