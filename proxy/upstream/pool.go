package upstream

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"patrol/rotator/pat"
)

const (
	// mostIdle is how many connections a host keeps: for all of an agent's subagents
	// at once, without a new handshake.
	mostIdle = 128

	// idleFor is how long one is kept. An upstream that closes its own earlier is
	// noticed before each use.
	idleFor = 90 * time.Second

	// asleep is how far the wall clock may run ahead of the monotonic one, which
	// stands still while the machine sleeps. Connections don't survive that.
	asleep = 5 * time.Second
)

// Host is an upstream with its connections.
type Host struct {
	client    *Client
	url       *url.URL
	authority string // for the Host field
	addr      string // host:port, to connect to

	// free hands a connection to a request that waits for a dial. Nobody waits to
	// send on it.
	free chan *conn

	mu      sync.Mutex
	idle    []*conn // the youngest is last, and taken first
	sweeper *time.Timer
}

// dialled is what a dial has led to.
type dialled struct {
	conn *conn
	err  error
}

func newHost(c *Client, base *url.URL) *Host {
	addr := net.JoinHostPort(base.Hostname(), pat.HostOf(base).DialPort())
	return &Host{client: c, url: &url.URL{Scheme: base.Scheme, Host: base.Host}, authority: base.Host, addr: addr, free: make(chan *conn)}
}

// get returns a connection: one that is idle and alive, or else a new one or one that
// becomes free before that is there. If fresh, it is a new one.
func (h *Host) get(ctx context.Context, fresh bool) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // what nobody waits for isn't sent
	}
	free := h.free
	if fresh {
		free = nil
	}
	for !fresh {
		c := h.takeIdle()
		if c == nil {
			break
		}
		if c.alive() {
			return c, nil
		}
		c.close()
	}
	got := make(chan dialled, 1)
	go func() {
		// The dial goes on if its request leaves: the next one needs a connection too.
		c, err := h.dial(h.client.ctx)
		got <- dialled{c, err}
	}()
	for {
		select {
		case d := <-got:
			return d.conn, d.err
		case c := <-free:
			if !c.alive() {
				c.close()
				continue
			}
			go h.keep(got)
			return c, nil
		case <-ctx.Done():
			go h.keep(got)
			return nil, ctx.Err()
		}
	}
}

// keep puts a connection that is being dialled among the idle ones.
func (h *Host) keep(got <-chan dialled) {
	if d := <-got; d.conn != nil {
		h.put(d.conn)
	}
}

// takeIdle returns the youngest idle connection, nil if there is none.
func (h *Host) takeIdle() *conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked(false)
	last := len(h.idle) - 1
	if last < 0 {
		return nil
	}
	c := h.idle[last]
	h.idle[last] = nil
	h.idle = h.idle[:last]
	return c
}

// put keeps a connection for a next request.
func (h *Host) put(c *conn) {
	c.in.shrink()
	c.kept, c.idleSince, c.idleWall = true, time.Now(), h.client.cfg.Now().Round(0)
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.trusts != h.client.tls.Load() || h.client.ctx.Err() != nil {
		c.close()
		return
	}
	select {
	case h.free <- c:
		return
	default:
	}
	if len(h.idle) == mostIdle {
		h.idle[0].close()
		h.idle = slices.Delete(h.idle, 0, 1)
	}
	h.idle = append(h.idle, c)
	if h.sweeper == nil {
		h.sweeper = time.AfterFunc(idleFor/3, h.sweep)
	}
}

// expireLocked closes the connections that were idle for too long, or while the machine
// was asleep; and, if look is set, those that have died.
func (h *Host) expireLocked(look bool) {
	now, wall := time.Now(), h.client.cfg.Now().Round(0)
	h.idle = slices.DeleteFunc(h.idle, func(c *conn) bool {
		idle := now.Sub(c.idleSince)
		over := idle >= c.idleFor || wall.Sub(c.idleWall) > idle+asleep || look && !c.alive()
		if over {
			c.close()
		}
		return over
	})
}

// sweep closes what has expired, now and then while something is idle.
func (h *Host) sweep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireLocked(true)
	if h.sweeper = nil; len(h.idle) > 0 {
		h.sweeper = time.AfterFunc(idleFor/3, h.sweep)
	}
}

// drop closes the idle connections.
func (h *Host) drop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.idle {
		c.close()
	}
	h.idle = nil
}
