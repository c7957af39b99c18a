package workspace

import (
	"net/http"
	"time"
)

// agreeWithin is by how much two answers may differ about the workspace's time and
// still be believed.
const agreeWithin = 30 * time.Second

// reading is what an answer told about the workspace's time.
type reading struct {
	date   time.Time
	at     time.Time // when the answer came, with its monotonic reading
	agreed bool      // the answer before it told the same
}

// now carries the reading on by this machine's monotonic clock, which nobody can set.
func (r *reading) now() time.Time { return r.date.Add(time.Since(r.at)) }

// learnTime takes an answer of the API into account.
func (c *Client) learnTime(h http.Header) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	last := c.clock.Load()
	agreed := last != nil && date.Sub(last.now()).Abs() <= agreeWithin
	// If something came between, this answer may be older: the next one tells.
	c.clock.CompareAndSwap(last, &reading{date, time.Now(), agreed})
}

// Time returns the workspace's time, to the second; false if it isn't certain: it is
// once two answers of the API agree within 30 seconds. A proxy on the way that answers
// itself counts for nothing: it speaks no JSON.
func (c *Client) Time() (time.Time, bool) {
	if r := c.clock.Load(); r != nil && r.agreed {
		return r.now(), true
	}
	return time.Time{}, false
}

// ForgetTime forgets what the answers told about the workspace's time. It must be called
// when this machine may have slept: its monotonic clock stops then.
func (c *Client) ForgetTime() { c.clock.Store(nil) }

// Skew returns how far the workspace's clock was ahead of ours at its last answer, to
// the second. It reports false if there was none yet.
func (c *Client) Skew() (time.Duration, bool) {
	r := c.clock.Load()
	if r == nil {
		return 0, false
	}
	return r.now().Sub(time.Now().Round(0)).Round(time.Second), true
}
