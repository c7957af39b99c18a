package upstream

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// mostIdle is how many connections a host keeps for the next requests: all of
	// an agent's subagents at once, without a new handshake.
	mostIdle = 128

	// idleFor is how long one is kept, if the upstream doesn't say less. Many
	// balancers close theirs after 60 s or more; the check before each use finds
	// those.
	idleFor = 90 * time.Second

	// sleep is how far the wall clock may run ahead of the monotonic one, which
	// stands still while the machine sleeps: beyond, connections are taken for
	// dead.
	sleep = 5 * time.Second
)

// Host is an upstream with its connections.
type Host struct {
	client    *Client
	url       *url.URL // scheme and host
	authority string   // for the Host field
	addr      string   // host:port, to connect to

	mu         sync.Mutex
	generation int     // connections of an older one aren't used again
	idle       []*conn // oldest first; the youngest is taken first
	waiting    []*waiter
	sweeper    *time.Timer // nil while nothing is idle
}

// waiter is a request that waits for a connection: the one that is dialled for it, or
// another that becomes free before.
type waiter struct {
	got chan dialled // of capacity 1
}

type dialled struct {
	conn *conn
	err  error
}

func newHost(c *Client, base *url.URL) *Host {
	port := base.Port()
	if port == "" {
		port = "80"
		if base.Scheme == "https" {
			port = "443"
		}
	}
	u := &url.URL{Scheme: base.Scheme, Host: base.Host}
	return &Host{client: c, url: u, authority: base.Host, addr: net.JoinHostPort(base.Hostname(), port)}
}

// get returns a connection: an idle one that is alive, or a new one, if fresh always
// that.
func (h *Host) get(ctx context.Context, fresh bool) (*conn, error) {
	for !fresh {
		c := h.takeIdle()
		if c == nil {
			break
		}
		if c.alive() {
			c.used = true
			return c, nil
		}
		c.close()
	}
	w := &waiter{got: make(chan dialled, 1)}
	h.mu.Lock()
	generation := h.generation
	if !fresh {
		h.waiting = append(h.waiting, w)
	}
	h.mu.Unlock()
	go h.dialFor(w, fresh, generation)
	select {
	case d := <-w.got:
		return d.conn, d.err
	case <-ctx.Done():
		h.giveUp(w)
		return nil, ctx.Err()
	}
}

// takeIdle returns the youngest idle connection, nil if there is none.
func (h *Host) takeIdle() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	if len(h.idle) == 0 {
		return nil
	}
	last := len(h.idle) - 1
	c := h.idle[last]
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return c
}

// put keeps a connection for a next request, or gives it to one that waits.
func (h *Host) put(c *conn) {
	c.idleSince, c.idleWall = time.Now(), h.client.now().Round(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.generation != h.generation || h.client.dialing.Err() != nil {
		c.close()
		return
	}
	if len(h.waiting) > 0 {
		c.used = true
		h.waiting[0].got <- dialled{conn: c}
		h.waiting = slices.Delete(h.waiting, 0, 1)
		return
	}
	if len(h.idle) == mostIdle {
		h.idle[0].close()
		h.idle = slices.Delete(h.idle, 0, 1)
	}
	h.idle = append(h.idle, c)
	if h.sweeper == nil {
		h.sweeper = time.AfterFunc(idleFor, h.sweep)
	}
}

// dialFor connects for w. A connection that w no longer needs is kept.
func (h *Host) dialFor(w *waiter, fresh bool, generation int) {
	c, err := h.dial(h.client.dialing)
	if c != nil {
		c.generation = generation
	}
	h.mu.Lock()
	at := slices.Index(h.waiting, w)
	if at >= 0 {
		h.waiting = slices.Delete(h.waiting, at, at+1)
	}
	if fresh || at >= 0 {
		w.got <- dialled{c, err}
		c = nil
	}
	h.mu.Unlock()
	if c != nil {
		h.put(c)
	}
}

// giveUp takes w out of those that wait, and keeps what it may have got.
func (h *Host) giveUp(w *waiter) {
	h.mu.Lock()
	at := slices.Index(h.waiting, w)
	if at >= 0 {
		h.waiting = slices.Delete(h.waiting, at, at+1)
	}
	h.mu.Unlock()
	if at >= 0 {
		return
	}
	go func() {
		if d := <-w.got; d.conn != nil {
			h.put(d.conn)
		}
	}()
}

// expireLocked closes the connections that were idle for too long, and all if the
// machine has slept.
func (h *Host) expireLocked() {
	now, wall := time.Now(), h.client.now().Round(0)
	h.idle = slices.DeleteFunc(h.idle, func(c *conn) bool {
		idle := now.Sub(c.idleSince)
		slept := wall.Sub(c.idleWall)-idle > sleep
		if idle < c.idleFor && !slept {
			return false
		}
		c.close()
		return true
	})
}

// sweep runs now and then while something is idle.
func (h *Host) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked()
	h.sweeper = nil
	if len(h.idle) > 0 {
		h.sweeper = time.AfterFunc(idleFor/3, h.sweep)
	}
}

// drop closes idle connections, and keeps no more of those that there are.
func (h *Host) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.generation++
	for _, c := range h.idle {
		c.close()
	}
	h.idle = nil
	if h.sweeper != nil {
		h.sweeper.Stop()
		h.sweeper = nil
	}
}
