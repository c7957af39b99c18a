package service

import (
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	mostForBodies = 256 << 20

	// leastMemoryLimit is a limit below which the garbage collector would do little
	// else than keep it.
	leastMemoryLimit = 64 << 20

	// gcPercent is how much the heap may grow before it is collected: it is small, and
	// twice the usual costs some MB and saves a tenth of the work.
	gcPercent = 200
)

// limitMemory keeps the process in the memory that it has, by GOMEMLIMIT or its cgroup:
// a kernel ends a process that takes more. It returns how much of that is for requests'
// bodies, in bytes.
func (s *Service) limitMemory() (forBodies int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	limit := debug.SetMemoryLimit(-1) // which GOMEMLIMIT has set, or nobody
	if granted, err := memlimit.FromCgroup(); err == nil && granted < uint64(limit) {
		limit = int64(granted)
		if ours := limit / 10 * 9; os.Getenv("GOMEMLIMIT") == "" && ours >= leastMemoryLimit {
			debug.SetMemoryLimit(ours)
		}
		s.log.Info("memory is limited", "cgroup", granted, "bodies", min(mostForBodies, limit/4))
	}
	return int(min(mostForBodies, limit/4))
}
