package workspace

import (
	"net/http"
	"sync"
	"time"
)

// agreeWithin is by how much two answers may differ about the workspace's time and
// still be believed.
const agreeWithin = 30 * time.Second

// clock is what the workspace's answers tell about its time. Each is carried on by this
// machine's monotonic clock, which nobody can set.
type clock struct {
	mu     sync.Mutex // guards all below
	date   time.Time  // of the last answer
	at     time.Time  // when that came, with its monotonic reading
	agreed bool       // the answer before it told the same
}

// note takes an answer of the API into account.
func (c *clock) note(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	off := date.Sub(c.date.Add(time.Since(c.at))).Abs()
	c.agreed = !c.date.IsZero() && off <= agreeWithin
	c.date, c.at = date, time.Now()
}

func (c *clock) now() (now time.Time, known, agreed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.date.Add(time.Since(c.at)), !c.date.IsZero(), c.agreed
}

func (c *clock) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.date, c.agreed = time.Time{}, false
}

// Time returns the workspace's time, to the second; false if it isn't certain: it is
// once two answers of the API agree within 30 seconds. A proxy on the way that answers
// itself counts for nothing: it speaks no JSON.
func (c *Client) Time() (time.Time, bool) {
	now, _, agreed := c.clock.now()
	return now, agreed
}

// ForgetTime forgets what the answers told about the workspace's time. It must be called
// when this machine may have slept: its monotonic clock stops then.
func (c *Client) ForgetTime() { c.clock.forget() }

// Skew returns how far the workspace's clock was ahead of ours at its last answer, to
// the second. It reports false if there was none yet.
func (c *Client) Skew() (time.Duration, bool) {
	now, known, _ := c.clock.now()
	return now.Sub(time.Now().Round(0)).Round(time.Second), known
}
