package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"patrol/rotator/workspacetest"
)

// resident returns the memory of a process that is resident, in bytes: all of
// it, and that which is mapped from files.
func resident(tb testing.TB, pid int) (all, file int) {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range bytes.Lines(status) {
		_, _ = fmt.Sscanf(string(line), "VmRSS: %d kB", &all)
		_, _ = fmt.Sscanf(string(line), "RssFile: %d kB", &file)
	}
	return all << 10, file << 10
}

func TestUnmapProgram(t *testing.T) {
	_, before := resident(t, os.Getpid())
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if _, after := resident(t, os.Getpid()); after > before/2 {
		t.Errorf("%d bytes of the program were resident, still %d are", before, after)
	}
}

func TestUnchangedParts(t *testing.T) {
	const smaps = `00400000-00c88000 r-xp 00000000 fe:00 99 /usr/bin/my patrol
Size:               8736 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
00c88000-01616000 r--p 00888000 fe:00 99 /usr/bin/my patrol
Anonymous:             4 kB
Swap:                  0 kB
01616000-01716000 r--p 01216000 fe:00 99 /usr/bin/my patrol
Anonymous:             0 kB
Swap:                  8 kB
01716000-01816000 rw-p 01316000 fe:00 99 /usr/bin/my patrol
Anonymous:             0 kB
01816000-01916000 r--p 01316000 fe:00 99 /usr/bin/my patrol
Anonymous:             0 kB
01916000-01a16000 r--p 00000000 fe:00 98 /usr/lib/libc.so.6
Anonymous:             0 kB
`
	got, err := unchangedParts(strings.NewReader(smaps), "/usr/bin/my patrol")
	want := []mapping{{0x400000, 0xc88000}, {0x1816000, 0x1916000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
}

// BenchmarkServeIdle tells what the shipped binary takes once it has minted its
// first token and come to rest. The target is 15 MB.
func BenchmarkServeIdle(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "patrol")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	m := newMachine(b, workspacetest.Config{KeepRequests: -1})
	m.binary = binary
	for b.Loop() {
		m.serve(b)
		busy, _ := resident(b, m.cmd.Process.Pid)
		time.Sleep(2 * restAfter)
		idle, _ := resident(b, m.cmd.Process.Pid)
		m.stop(b)
		b.ReportMetric(float64(busy)/1e6, "MB-started")
		b.ReportMetric(float64(idle)/1e6, "MB-idle")
	}
	b.ReportMetric(0, "ns/op")
}
