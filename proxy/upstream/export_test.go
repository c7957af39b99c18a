package upstream

// Idle returns how many connections are kept for the next requests.
func (h *Host) Idle() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.idle)
}

// What the tests of the limits need.
const (
	MostIdle    = mostIdle
	MostHead    = mostHead
	MostFields  = mostFields
	MostInterim = mostInterim
	IdleFor     = idleFor
)
