package proxy

import (
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patrol/rotator/pat"
)

func handover() pat.Handover {
	return pat.Handover{Installed: make(chan struct{}), Drained: make(chan struct{})}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestTokensDrainInOrder(t *testing.T) {
	ts := newTokens()
	install := func(value string) pat.Handover {
		h := handover()
		ts.install(h, pat.New(value, "h"))
		if !closed(h.Installed) {
			t.Fatalf("%s: not installed", value)
		}
		return h
	}
	one := install("1")
	if !closed(one.Drained) {
		t.Error("nobody holds an older token, but Drained is open")
	}
	first := ts.acquire()
	two := install("2")
	second := ts.acquire()
	three := install("3")
	four := install("4") // nobody ever held 3
	if closed(two.Drained) || closed(three.Drained) || closed(four.Drained) {
		t.Error("drained although 1 and 2 are held")
	}
	ts.release(second)
	if closed(two.Drained) || closed(three.Drained) || closed(four.Drained) {
		t.Error("drained although 1, which is older than all, is held")
	}
	ts.release(first)
	if !closed(two.Drained) || !closed(three.Drained) || !closed(four.Drained) {
		t.Error("nobody holds an older token, but a Drained is open")
	}
	if g := ts.acquire(); g.token.Expose() != "4" || !closed(first.superseded) || closed(g.superseded) {
		t.Errorf("current is %q", g.token.Expose())
	}
	if len(ts.retired) != 0 {
		t.Errorf("%d generations are kept", len(ts.retired))
	}
}

// TestTokensPromises has many holders meet many handovers, several of them
// outstanding at once, and checks both promises from outside at each. More
// threads than cores make the kernel stop holders between any two steps.
func TestTokensPromises(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(12))
	const handovers, holders = 20_000, 12
	ts := newTokens()
	ts.install(handover(), pat.Token{ID: "0"})
	var installed, drained atomic.Int64 // the latest handover of which that is so
	stop := make(chan struct{})
	var acquiring, draining sync.WaitGroup
	for range holders {
		acquiring.Go(func() {
			for !closed(stop) {
				least := installed.Load()
				g := ts.acquire()
				n, err := strconv.ParseInt(g.token.ID, 10, 64)
				if err != nil || n < least {
					t.Errorf("acquired token %q after %d was installed", g.token.ID, least)
				}
				if d := drained.Load(); n < d {
					t.Errorf("holding token %d although handover %d has drained", n, d)
				}
				ts.release(g)
			}
		})
	}
	outstanding := make(chan pat.Handover, 64)
	draining.Go(func() {
		var n int64
		for h := range outstanding {
			<-h.Drained // each closes, even while others go on acquiring
			n++
			drained.Store(n)
		}
	})
	begin := time.Now()
	for n := int64(0); n < handovers && time.Since(begin) < 2*time.Second; n++ {
		h := handover()
		ts.install(h, pat.Token{ID: strconv.FormatInt(n+1, 10)})
		if !closed(h.Installed) {
			t.Fatal("not installed")
		}
		installed.Store(n + 1)
		outstanding <- h
	}
	close(outstanding)
	draining.Wait()
	close(stop)
	acquiring.Wait()
}
