package proxy

import (
	"sync"
	"sync/atomic"
	"time"

	"patrol/rotator/pat"
)

// tokens holds the token in use and counts the requests that carry it. To a Handover's
// sender it promises, where the atomic operations of Go are sequentially consistent:
//
//  1. Once Installed is closed, acquire returns no older token. install swaps the
//     pointer before it closes Installed, and acquire returns a generation only if the
//     pointer named it after the request was counted, so before the swap.
//
//  2. Once Drained is closed, nobody holds an older token, and nobody will. Holders were
//     counted before the swap (1), and only then is a generation in the queue: at a count
//     of zero there it has none left. An acquire that finds it replaced may lift the
//     count for a moment; whoever brings it back to zero looks at the queue, so that no
//     Drained stays open. Handovers drain in the order in which they came, since a
//     request that carries any older token holds a Drained back.
//
// The current generation counts one more, which install gives up: its requests never
// find zero, and the lock stays out of their way.
type tokens struct {
	current atomic.Pointer[generation] // never nil

	mu      sync.Mutex
	retired []retired // oldest first
}

// generation is one token's time as the current one.
type generation struct {
	token      pat.Token     // zero: no token that may be used
	superseded chan struct{} // closed once another one is current
	count      atomic.Int64
}

// usable reports whether requests may carry its token.
func (g *generation) usable() bool { return !g.token.IsZero() && !g.token.Expired(time.Now()) }

// retired is a generation whose last holders Drained waits for.
type retired struct {
	*generation
	drained chan<- struct{}
}

func newTokens() *tokens {
	t := new(tokens)
	t.current.Store(newGeneration(pat.Token{}))
	return t
}

func newGeneration(tok pat.Token) *generation {
	g := &generation{token: tok, superseded: make(chan struct{})}
	g.count.Store(1)
	return g
}

// acquire returns the current generation and counts the caller among its
// holders until release.
func (t *tokens) acquire() *generation {
	for {
		g := t.current.Load()
		g.count.Add(1)
		if t.current.Load() == g {
			return g
		}
		t.release(g)
	}
}

// release ends an acquire.
func (t *tokens) release(g *generation) {
	if g.count.Add(-1) == 0 {
		t.settle()
	}
}

// install makes tok the current token and closes h's channels when it may.
func (t *tokens) install(h pat.Handover, tok pat.Token) {
	g := newGeneration(tok)
	t.mu.Lock()
	old := t.current.Swap(g)
	t.retired = append(t.retired, retired{old, h.Drained})
	t.mu.Unlock()
	close(h.Installed)
	close(old.superseded)
	t.release(old)
}

// settle closes what has drained. Only the swap puts a generation in the
// queue, so a count of zero in it is past the swap.
func (t *tokens) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.retired) > 0 && t.retired[0].count.Load() == 0 {
		close(t.retired[0].drained)
		t.retired[0] = retired{}
		t.retired = t.retired[1:]
	}
}
