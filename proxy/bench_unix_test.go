//go:build unix

package proxy_test

import (
	"syscall"
	"time"
)

// cpuTime returns what the process has used, in user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
