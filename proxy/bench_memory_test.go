package proxy_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// compareMemory holds streams open, and tells how much larger a fresh proxy's process is
// for each of them. What patrol takes without any stream is BenchmarkServeIdle's.
func compareMemory(b *testing.B, s setup) (c comparison) {
	const streams = 1000
	all := load{clients: streams, request: benchRequest("?events=2&every=10m", longMessage(20<<10, true))}
	for range turns / 2 {
		peers := []*peer{startPeer(b, "bare", s.upstream.url, s.cert), startPeer(b, "filtered", s.upstream.url, s.cert)}
		grown := all.memoryTurn(b, peers)
		c.bare, c.filtered = append(c.bare, grown[0]/streams), append(c.filtered, grown[1]/streams)
	}
	return c
}

// memoryTurn returns by how many KiB each peer grows. They hold their streams at the
// same time, so that it waits once.
func (l load) memoryTurn(b *testing.B, peers []*peer) (grown [2]float64) {
	var idle [2]usage
	for i, p := range peers {
		idle[i] = p.account(b, "/memory")
		defer p.awaitEnd(b, idle[i].goroutines)
		defer l.openStreams(b, p)()
	}
	time.Sleep(2500 * time.Millisecond) // what is kept for a next burst is no stream's
	for i, p := range peers {
		grown[i] = float64(p.account(b, "/memory").rss-idle[i].rss) / 1024
	}
	return grown
}

// awaitEnd waits until the peer, which had as many goroutines before, has ended its
// streams.
func (p *peer) awaitEnd(b *testing.B, before int) {
	const few = 20 // those of the accounts and of idle connections
	deadline := time.Now().Add(10 * time.Second)
	for p.account(b, "/").goroutines > before+few {
		if time.Now().After(deadline) {
			b.Error("the proxy has not ended its streams 10 s after their clients left")
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// openStreams opens the load's streams, each as far as its first event. closeAll ends
// them.
func (l load) openStreams(b *testing.B, p *peer) (closeAll func()) {
	b.Helper()
	clients := make([]*benchClient, l.clients)
	slots := make(chan struct{}, 64)
	var asking sync.WaitGroup
	for i := range clients {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			c, err := dialBench(p.addr)
			if err == nil {
				clients[i] = c
				var first int
				if first, err = c.start(l.request); err == nil && first != len(modelEvent) {
					err = fmt.Errorf("the first event has %d bytes, want %d", first, len(modelEvent))
				}
			}
			if err != nil {
				b.Error(err)
			}
		})
	}
	asking.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	}
}
