package guard

import (
	"sync"
	"time"
)

// LogQuota limits how often one kind of line is logged: ten at once, then one a
// minute. The zero LogQuota is ready for use, by several goroutines at once.
type LogQuota struct {
	mu       sync.Mutex
	used     int       // lines of the burst that are used up
	refilled time.Time // when used was last lowered
	unlogged uint64    // lines refused since the last one that was logged
}

const (
	logBurst = 10
	logEvery = time.Minute
)

// Take reports whether a line may be logged now, and how many lines were refused
// since the last one that was.
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
