package guard

import (
	"sync"
	"time"
)

// LogQuota lets a burst of a log's lines through, then one a minute. Its zero
// value is ready, for several goroutines.
type LogQuota struct {
	mu       sync.Mutex
	used     int
	refilled time.Time // when used was last lowered
	unlogged uint64
}

const (
	logBurst = 10
	logEvery = time.Minute
)

// Take reports whether a line may be logged now, and how many weren't since
// the last one.
func (q *LogQuota) Take(now time.Time) (unlogged uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if refill := int(now.Sub(q.refilled) / logEvery); refill > 0 {
		q.used = max(0, q.used-refill)
		q.refilled = now
	}
	if q.used >= logBurst {
		q.unlogged++
		return 0, false
	}
	q.used++
	unlogged, q.unlogged = q.unlogged, 0
	return unlogged, true
}
